"""Functions of equations, beside the elementary ones, in the language that is compiled: only what is called is."""

from __future__ import annotations

FUNCTIONS = """
def maximum(a, b):
    return a if a > b or a != a else b  # as NumPy: NaN of either is passed on


def minimum(a, b):
    return a if a < b or a != a else b


def sign(a):
    return 1.0 if a > 0.0 else (-1.0 if a < 0.0 else (0.0 if a == 0.0 else a))  # NaN is passed on


def _log1p(a):
    return log1p(a)


def _floor(a):
    return floor(a)


def _ceiling(a):
    return ceil(a)


def _mod(a, b):
    return a % b


"""

NUMBA_SOURCES = {
    "_log1p": "from math import log1p as _log1p\n",
    "_floor": "\n\n@njit\ndef _floor(a):\n    return np.floor(a)\n",
    "_ceiling": "\n\n@njit\ndef _ceiling(a):\n    return np.ceil(a)\n",
    "_mod": "\n\n@njit\ndef _mod(a, b):\n    return a % b\n",
}


def called_functions(source: str) -> str:
    """Source for Numba of those that some source calls."""
    return "".join(text for name, text in NUMBA_SOURCES.items() if f"{name}(" in source)
