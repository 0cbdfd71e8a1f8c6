"""Dynamical stability and chaos in artificial neural network trajectories along training (arXiv:2404.05782).

Gradient descent of a classifier as a map of its weights (`descent`), and how nearby networks part (`orbits`, `growth`,
`series`), at learning rates from regular to chaotic (`experiments`); `findings` are numbers, `claims` compare them with
the paper and its sequel, `protocol` runs all of it and writes REPORT.md.
"""

from dynsys.models.networks.tasks import digits, iris
from dynsys.models.training_chaos.descent import GradientDescent

__all__ = ["GradientDescent", "digits", "iris"]
