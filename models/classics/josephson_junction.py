"""A Josephson junction with a resistive, capacitive and inductive shunt."""

import attrs

from dynsys import RK4, SymbolicFlow, parameter
from dynsys.models.classics.reference import OURS, Known, Reference


@attrs.frozen(eq=False)
class JosephsonJunction(SymbolicFlow):
    """Phase, voltage and shunt current of a junction under a constant current.

        dphi/dt = v,   beta_c dv/dt = current - conductance v - sin(phi) - shunt,   beta_l dshunt/dt = v - shunt

    phi is the difference of the phases of the superconductors, v the voltage in units of (critical current) x (shunt
    resistance R_s), and currents are in units of the critical one; a unit of time is hbar / (2 e I_c R_s). beta_c and
    beta_l are capacitance and inductance, `conductance` is R_s / R, with R the resistance of the junction below its gap
    voltage. (Above it, here at |v| = 6.9, R drops; the orbit stays below, and the jump is left out: across it the
    Jacobian would not be the derivative of the flow.) The trace of the Jacobian is -conductance / beta_c - 1 / beta_l.

    phi grows without bound and is not wrapped: after a run of t = 10^6 its rounding is 10^-10, and nothing but sin(phi)
    depends on it.

    Sharafi, Timme and Hallerberg studied covariant vectors of models for Josephson junctions; which of the known models
    they took, and with which parameters, we could not read. This one has a slow variable, the shunt current, as beta_l
    grows. beta_c, the conductance and the gap are those of published code (github.com/aikarimov/lyapspectrum), where
    beta_l = 29.215 and current = 1.25: here a limit cycle with the exponents 0, -0.030 and -0.072. For its other
    value, beta_l = 2.6, and a current of 1.2 there is chaos.

    References
    ----------
    C. B. Whan, C. J. Lobb, Phys. Rev. E 53, 405 (1996); N. Sharafi, M. Timme, S. Hallerberg, Phys. Rev. E 96, 032220
    (2017).
    """

    beta_c: float = parameter(0.707)
    beta_l: float = parameter(2.6)
    conductance: float = parameter(0.0478)
    current: float = parameter(1.2)

    equations = {
        "phi": "v",
        "v": "(current - conductance*v - sin(phi) - shunt)/beta_c",
        "shunt": "(v - shunt)/beta_l",
    }
    vanishing_exponents = 1

    reference = Reference(
        start=(0.0, 0.5, 0.5),
        stepper=RK4(0.02),
        steps_per_interval=50,
        intervals=4_000_000,
        warmup=1_000,
        axes=(1, 2),
        sampling=6,
        volume_rate=lambda system, x: -system.conductance / system.beta_c - 1 / system.beta_l + 0.0 * x[..., 0],
        known=(Known.printed("0.05885(10) 0 -0.51107(10)", OURS),),
    )
