"""What moves, how it is defined, and its linearised step.

`system` has the contracts of maps and flows, `time_step` that of one step, `tangent` the front door of the algorithms.
Systems come from equations (`symbolic`), functions (`functions`) or a loss (`gradient_flow`, on `minibatches`); maps are
made of flows by `stroboscopic` and `poincare`.
"""
