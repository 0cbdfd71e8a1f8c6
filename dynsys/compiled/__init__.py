"""From source to cached Numba kernels. `kernel` says what a system gives, `build` makes the pass of it."""
