"""Layer dynamics of linearised neural nets (arXiv:1904.10689): what layers conserve, and how they grow together.

The network is `dynsys.models.networks.DeepNetworkFlow`; `closed_form` has the modes of a linear one, `study` measures,
`claims` compare, `report` writes REPORT.md.
"""

from dynsys.models.networks.deep_network import DeepNetworkFlow

__all__ = ["DeepNetworkFlow"]
