"""The project against hand-written loops and against other packages: `python -m benchmarks`."""
