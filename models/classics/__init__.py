"""Classic systems, one small file each, with their references and exact answers; `catalogue` computes them all."""

from models.classics.cat_map import CatMap
from models.classics.cocycle import LinearCocycle
from models.classics.coupled_map_lattice import CoupledMapLattice
from models.classics.duffing import Duffing
from models.classics.fitzhugh_nagumo import FitzHughNagumo
from models.classics.henon import Henon
from models.classics.henon_heiles import HenonHeiles
from models.classics.hindmarsh_rose import HindmarshRose
from models.classics.hyperchaotic_roessler import HyperchaoticRoessler
from models.classics.josephson_junction import JosephsonJunction
from models.classics.kuramoto_sivashinsky import KuramotoSivashinsky
from models.classics.linear import LinearFlow, LinearMap
from models.classics.logistic import Logistic
from models.classics.lorenz63 import Lorenz63
from models.classics.lorenz96 import Lorenz96
from models.classics.lozi import Lozi
from models.classics.reference import Known, Reference
from models.classics.roessler import Roessler
from models.classics.standard_map import StandardMap

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
