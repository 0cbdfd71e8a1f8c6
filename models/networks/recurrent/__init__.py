"""Recurrent networks as maps of their state: plain ones, echo states, GRU and LSTM, random or taken from PyTorch.

RNN.random(200, gain=1.5, seed=0)                                # h' = tanh(g J h)
RNN.echo_state(300, 0.9, seed=0, leak=0.3, inputs=u)             # driven by a series
GRU.of(module, inputs=u)                                         # the weights of a trained torch.nn.GRU

What moves is the state h, not the weights. Exponents say whether a network forgets its past (all negative: the state
follows the inputs alone) or is chaotic. Tangents are exact. What is known of random ones is in `mean_field`.
"""

from dynsys.models.networks.recurrent.gated import GRU, LSTM
from dynsys.models.networks.recurrent.inputs import InputSeries
from dynsys.models.networks.recurrent.mean_field import mean_field_exponent, mean_field_variance
from dynsys.models.networks.recurrent.network import RecurrentNetwork
from dynsys.models.networks.recurrent.plain import RNN

__all__ = ["GRU", "LSTM", "RNN", "InputSeries", "RecurrentNetwork", "mean_field_exponent", "mean_field_variance"]
