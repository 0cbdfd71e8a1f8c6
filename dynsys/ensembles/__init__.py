"""Many members: parameters and initial states of their own, in blocks over any executor, streamed to a store."""

from dynsys.ensembles.ensemble import Ensemble
from dynsys.ensembles.field import ftle_field
from dynsys.ensembles.parameters import Varied, vary
from dynsys.ensembles.sweep import sweep

__all__ = ["Ensemble", "Varied", "ftle_field", "sweep", "vary"]
