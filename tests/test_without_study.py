"""Where the extra `study` is not installed: numbers are had, and what needs it says how to get it."""

import subprocess
import sys

CODE = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("xarray", "zarr") else found(name, *rest)
import sys
sys.modules["xarray"] = sys.modules["zarr"] = None
import numpy as np
from dynsys import Ensemble, ftle_field, open_store, sweep
from dynsys.models.classics import Henon
tangent = Henon().tangent(backend="numpy")
spectrum = tangent.benettin([0.1, 0.1], intervals=40)
calls = [
    lambda: Ensemble.of(tangent.benettin, np.zeros((2, 2)), intervals=3).run(),
    lambda: sweep(tangent.benettin, {"a": [1.0]}, [0.1, 0.1], intervals=3),
    lambda: ftle_field(tangent, {"x": [0.1]}, at=[0.0, 0.0], steps=3),
    lambda: open_store("nowhere"),
    spectrum.to_xarray,
]
for call in calls:
    try:
        call()
    except ModuleNotFoundError as problem:
        assert "need xarray" in str(problem) and "pip install 'dynsys-clv[study]'" in str(problem), problem
    else:
        raise AssertionError(call)
"""


def test_what_needs_xarray_says_how_to_get_it():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
