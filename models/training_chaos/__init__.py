"""Dynamical stability and chaos in artificial neural network trajectories along training (arXiv:2404.05782).

Gradient descent of a classifier as a map of its weights (a `DeepNetworkFlow` under Euler steps), and how nearby
networks part (`orbits`, `growth`, `series`), at learning rates from regular to chaotic (`experiments`); `findings` are
numbers, `claims` compare them with the paper and its sequel, `protocol` runs all of it and writes REPORT.md. Exponents
are those per step here, the learning rate times those of the flow's time.
"""

from dynsys.models.networks.tasks import digits, iris
from dynsys.models.training_chaos.experiments import (
    Bifurcations,
    Chaotic,
    Edge,
    LearningRates,
    SmallRate,
    TrainingTime,
)

__all__ = ["Bifurcations", "Chaotic", "Edge", "LearningRates", "SmallRate", "TrainingTime", "digits", "iris"]
