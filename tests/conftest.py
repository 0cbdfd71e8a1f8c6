import os

os.environ.setdefault("MPLBACKEND", "Agg")  # figures are drawn to files
