import importlib.util
import os

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")  # figures are drawn to files

settings.register_profile("same examples every time", derandomize=True, deadline=None)
settings.load_profile("same examples every time")

WITH_NUMBA = importlib.util.find_spec("numba") is not None


def pytest_runtest_setup(item):
    """Without Numba all tests run but those of compiled kernels: `numba` marks, and the parameter "compiled"."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if not WITH_NUMBA and (
        item.get_closest_marker("numba") or any(isinstance(value, str) and value == "compiled" for value in parameters)
    ):
        pytest.skip("needs Numba")
