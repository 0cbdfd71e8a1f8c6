"""Classic systems, one small file each, with their references and exact answers."""

from models.classics.cocycle import LinearCocycle
from models.classics.henon import Henon
from models.classics.hindmarsh_rose import HindmarshRose
from models.classics.kuramoto_sivashinsky import KuramotoSivashinsky
from models.classics.linear import LinearFlow, LinearMap
from models.classics.logistic import Logistic
from models.classics.lorenz63 import Lorenz63
from models.classics.lozi import Lozi

__all__ = [
    "Henon",
    "HindmarshRose",
    "KuramotoSivashinsky",
    "LinearCocycle",
    "LinearFlow",
    "LinearMap",
    "Logistic",
    "Lorenz63",
    "Lozi",
]
