import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")  # figures are drawn to files

settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")
