"""A small typed part of Python, and what it becomes: instructions of LLVM (`translate`), code in memory (`machine`)."""
