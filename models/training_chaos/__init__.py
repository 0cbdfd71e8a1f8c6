"""Dynamical stability and chaos in artificial neural network trajectories along training (arXiv:2404.05782)."""

from models.training_chaos.descent import GradientDescent
from models.training_chaos.task import digits, iris

__all__ = ["GradientDescent", "digits", "iris"]
