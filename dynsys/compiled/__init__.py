"""From source to compiled passes: one trajectory, or members side by side.

`kernel` says what a system gives and what becomes of it. What is generated is written in the language of `llvm`, and
moved by one driver, `driver` and `forward`; what people write is compiled by Numba, `build`. How equations are written
out depends on what they are: few (`unrolled`), a lattice (`tiles`), `networks`, `vectors`, the loss of a sample
(`sample_rates`); `rates` and `staged` give any of them to steppers. `tile_factor` is V = QR. `backward` and `shuffle`
are passes of their own.
"""
