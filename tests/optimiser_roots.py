"""Optimisers where they rest: moduli of the roots of the characteristic polynomials, from the tables of the books."""

import numpy as np

from dynsys import Adam, AdamW, HeavyBall, Nesterov, RMSprop


def moduli(stepper, h):
    """Factors of growth in a step of displacements along an eigenvector of the Hessian, whose eigenvalue is h."""
    dt = stepper.dt
    match stepper:
        case HeavyBall(momentum=mu, weight_decay=decay):
            return _roots(1.0, -(1 + mu - dt * (h + decay)), mu)
        case Nesterov(momentum=mu, weight_decay=decay):
            return _roots(1.0, -(1 + mu) * (1 - dt * (h + decay)), mu * (1 - dt * (h + decay)))
        case Adam(beta1=b1, beta2=b2, eps=eps, weight_decay=decay):
            return [*_roots(1.0, -(1 + b1 - (1 - b1) * dt * (h + decay) / eps), b1), b2]
        case AdamW(beta1=b1, beta2=b2, eps=eps, weight_decay=decay):
            c = 1 - dt * decay
            return [*_roots(1.0, -(c + b1 - (1 - b1) * dt * h / eps), c * b1), b2]
        case RMSprop(alpha=alpha, eps=eps, weight_decay=decay):
            return [abs(1 - dt * (h + decay) / eps), alpha]


def exponents(stepper, curvatures):
    """All exponents at a minimum whose Hessian has these eigenvalues, descending, 1/time."""
    factors = np.concatenate([moduli(stepper, h) for h in curvatures])
    return np.sort(np.log(factors) / stepper.dt)[::-1]


def largest_rate(stepper):
    """The learning rate up to which a minimum with h = 1 is stable, decay of weights apart."""
    match stepper:
        case HeavyBall(momentum=mu):
            return 2 + 2 * mu
        case Nesterov(momentum=mu):
            return (2 + 2 * mu) / (1 + 2 * mu)
        case Adam(beta1=b1, eps=eps) | AdamW(beta1=b1, eps=eps):
            return eps * 2 * (1 + b1) / (1 - b1)
        case RMSprop(eps=eps):
            return 2 * eps


def _roots(*polynomial):
    return np.abs(np.roots(polynomial))
