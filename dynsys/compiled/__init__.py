"""From source to cached Numba kernels: one trajectory, or blocks of members side by side.

`kernel` says what a system gives, `build` makes the pass of it, around the text of `driver`. How equations are written
out depends on how many there are: `straight`, `sites`, `samples`; `lanes` puts members side by side. `sweep` and
`shuffle` are kernels of their own.
"""
