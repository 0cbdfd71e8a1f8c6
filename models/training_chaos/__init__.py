"""Dynamical stability and chaos in artificial neural network trajectories along training (arXiv:2404.05782)."""

from models.tasks import digits, iris
from models.training_chaos.descent import GradientDescent

__all__ = ["GradientDescent", "digits", "iris"]
