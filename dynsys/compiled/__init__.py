"""From source to cached Numba kernels: one trajectory, or blocks of members side by side.

`kernel` says what a system gives and what becomes of it, `build` makes a compiled pass of that. How equations are
written out depends on how many there are: `unrolled`, `lattice`, `samples`; `lanes` puts members side by side.
`backward` and `shuffle` are kernels of their own.
"""
