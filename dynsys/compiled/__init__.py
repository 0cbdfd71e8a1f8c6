"""From source to compiled passes: one trajectory, or members side by side.

`kernel` says what a system gives and what becomes of it. What is generated is written in the language of `llvm`, and
moved by one driver, `driver` and `forward`; what people write is compiled by Numba, `build`. How equations are written
out depends on how many there are: `unrolled`, `lattice`, `samples`; `lanes` puts members side by side. `backward` and
`shuffle` are kernels of their own.
"""
