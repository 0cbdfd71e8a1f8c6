"""Classic systems, one small file each, with their references and exact answers; `catalogue` computes them all."""

from dynsys.models.classics.cat_map import CatMap
from dynsys.models.classics.cocycle import LinearCocycle
from dynsys.models.classics.coupled_map_lattice import CoupledMapLattice
from dynsys.models.classics.duffing import Duffing
from dynsys.models.classics.fitzhugh_nagumo import FitzHughNagumo
from dynsys.models.classics.henon import Henon
from dynsys.models.classics.henon_heiles import HenonHeiles
from dynsys.models.classics.hindmarsh_rose import HindmarshRose
from dynsys.models.classics.hyperchaotic_roessler import HyperchaoticRoessler
from dynsys.models.classics.josephson_junction import JosephsonJunction
from dynsys.models.classics.kuramoto_sivashinsky import KuramotoSivashinsky
from dynsys.models.classics.linear import LinearFlow, LinearMap
from dynsys.models.classics.logistic import Logistic
from dynsys.models.classics.lorenz63 import Lorenz63
from dynsys.models.classics.lorenz96 import Lorenz96
from dynsys.models.classics.lozi import Lozi
from dynsys.models.classics.reference import Known, Reference
from dynsys.models.classics.roessler import Roessler
from dynsys.models.classics.standard_map import StandardMap

__all__ = [
    "CatMap",
    "CoupledMapLattice",
    "Duffing",
    "FitzHughNagumo",
    "Henon",
    "HenonHeiles",
    "HindmarshRose",
    "HyperchaoticRoessler",
    "JosephsonJunction",
    "Known",
    "KuramotoSivashinsky",
    "LinearCocycle",
    "LinearFlow",
    "LinearMap",
    "Logistic",
    "Lorenz63",
    "Lorenz96",
    "Lozi",
    "Reference",
    "Roessler",
    "StandardMap",
]
