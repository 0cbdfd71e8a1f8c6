"""Functions of generated source beyond those of every kernel: written into a kernel only where it calls them."""

from __future__ import annotations

SOURCES = {
    "_log1p": "from math import log1p as _log1p\n",
    "_floor": "\n\n@njit\ndef _floor(a):\n    return np.floor(a)\n",
    "_ceiling": "\n\n@njit\ndef _ceiling(a):\n    return np.ceil(a)\n",
    "_mod": "\n\n@njit\ndef _mod(a, b):\n    return a % b\n",
}


def called_functions(source: str) -> str:
    """Source of those that some source calls."""
    return "".join(text for name, text in SOURCES.items() if f"{name}(" in source)
