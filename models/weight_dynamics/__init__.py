"""On the weight dynamics of learning networks (N. Sharafi, C. Martin, S. Hallerberg, Phys. Rev. E 111, 054208, 2025).

The weights of a three-layer network under gradient descent, seen as a dynamical system: its vector field (`network`),
its Jacobian in independent ways (`network`, `jacobian`, `loss`, held against each other by `check`), the regression
task (`task`), the ensemble of training runs (`study`, what is computed of a run in `runs`, `summary`, `figures`). The
claims of the paper, one by one, are in `paper`.
"""

from dynsys.models.networks.three_layer.network import ThreeLayerGradientFlow
from dynsys.models.weight_dynamics.runs import TrainingRuns
from dynsys.models.weight_dynamics.study import Study
from dynsys.models.weight_dynamics.table import read_table
from dynsys.models.weight_dynamics.task import regression_task

__all__ = ["Study", "ThreeLayerGradientFlow", "TrainingRuns", "read_table", "regression_task"]
