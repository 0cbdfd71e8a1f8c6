"""What 0.1.0 called things: its stores in the words of today, so that they can be read and continued.

Until then a definition named the files in which classes stood, and looked at the code of `models`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

Json = Any

CODE_OF_MODELS = {
    "dynsys.models.classics.CatMap": "5d20f5aaa1af02ec",
    "dynsys.models.classics.LinearCocycle": "0bf20ec3cc012ed2",
    "dynsys.models.classics.CoupledMapLattice": "4fa3f90f9b73747e",
    "dynsys.models.classics.Duffing": "66992a79f1968105",
    "dynsys.models.classics.FitzHughNagumo": "4c13afaa00593fd1",
    "dynsys.models.classics.Henon": "d7dbc07e96dfbd26",
    "dynsys.models.classics.HenonHeiles": "6ef4a99fe60387d2",
    "dynsys.models.classics.HindmarshRose": "833d0e25afc3c619",
    "dynsys.models.classics.HyperchaoticRoessler": "1bc2ad53a4949a27",
    "dynsys.models.classics.JosephsonJunction": "60ae3a8ac252b4f9",
    "dynsys.models.classics.KuramotoSivashinsky": "6a7e5a71d2923b7c",
    "dynsys.models.classics.LinearFlow": "fae6bb6c0f6c12fb",
    "dynsys.models.classics.LinearMap": "6ec73b2f9f6d6bad",
    "dynsys.models.classics.Logistic": "da0ce73c12c37d08",
    "dynsys.models.classics.Lorenz63": "ab7c9015d1524aa0",
    "dynsys.models.classics.Lorenz96": "b69ffad7c0994d84",
    "dynsys.models.classics.Lozi": "4bd4f3c8a7bcdecb",
    "dynsys.models.classics.Roessler": "0482fff365afc848",
    "dynsys.models.classics.StandardMap": "d785127368369e39",
    "dynsys.models.activations.Activation": "580a44d220bdf649",
    "dynsys.models.activations.Linear": "cbf311b4e3a728aa",
    "dynsys.models.activations.ReLU": "cd28bdcded017881",
    "dynsys.models.activations.LeakyReLU": "a1b5d947495ec180",
    "dynsys.models.activations.Tanh": "4d7673c8c237d2ee",
    "dynsys.models.activations.Sigmoid": "590823c9dda8f3da",
    "dynsys.models.activations.GELU": "bc346da5efb5648c",
    "dynsys.models.networks.DeepNetworkFlow": "1726f66ff9dce2b5",
    "dynsys.models.networks.ThreeLayerGradientFlow": "49394246db6617e3",
}
"""What 0.1.0 took of classes of models into the digest of a class of the user that is derived of them."""

RUN, VARIED = "dynsys.ensemble.AlgorithmRun", "dynsys.varied.Varied"
BACKENDS = {"dynsys.tangent.CompiledTangent": "numba", "dynsys.tangent.NumpyTangent": "numpy"}

FOLDERS = "classics|weight_dynamics|training_chaos|training_response|layer_dynamics"
NAMES = (  # of classes, by the first pattern that fits
    (r"dynsys\.equations\.sample_loss\.(\w+)", r"dynsys.equations.\1"),
    (r"dynsys\.minibatches\.(\w+)", r"dynsys.systems.\1"),
    (r"dynsys\.\w+\.(\w+)", r"dynsys.\1"),
    (r"models\.activations\.(\w+)", r"dynsys.models.activations.\1"),
    (r"models\.(?:deep_network|losses|perceptron|weight_dynamics\.network)\.(\w+)", r"dynsys.models.networks.\1"),
    (rf"models\.({FOLDERS})\.\w+\.(\w+)", r"dynsys.models.\1.\2"),
)
VALUES = {  # of fields and options
    "biases": {"drawn": "random"},
    "variant": {"recycled": "periodic window"},
}


def in_todays_words(definition: Json) -> Json:
    """A definition that 0.1.0 wrote, as it is written today."""
    if isinstance(definition, list):
        return [in_todays_words(part) for part in definition]
    if not isinstance(definition, dict):
        return definition
    if definition.get("class") == RUN:
        return _run(definition)
    said = {name: in_todays_words(part) for name, part in definition.items()}
    ours = _named(said, "class", "def")
    if ours or said.get("class") == "abc.FromExpression":
        said.pop("its code", None)
    if said.get("class") == "dynsys.models.networks.DeepNetworkFlow":
        said.setdefault("kind_of_loss", {"class": "dynsys.models.networks.HalfSquares"})
    return _valued(said) if said.get("class") == "dynsys.models.weight_dynamics.Study" else said


def _named(said: dict[str, Json], *keys: str) -> bool:
    """Rename classes and functions of dynsys and models; whether there was one."""
    found = False
    for key in keys:
        for pattern, name in NAMES:
            if isinstance(said.get(key), str) and (match := re.fullmatch(pattern, said[key])):
                said[key], found = match.expand(name), True
                break
    return found


def _valued(said: Mapping[str, Json]) -> dict[str, Json]:
    return {
        name: VALUES[name].get(value, value) if name in VALUES and isinstance(value, str) else value
        for name, value in said.items()
    }


def _run(said: Mapping[str, Json]) -> dict[str, Json]:
    """The run of an algorithm: a step in the place of system, stepper and time."""
    tangent, options = said["tangent"], dict(said["options"])
    if "reading" in options:
        options["variant"] = options.pop("reading")
    system = tangent["system"]
    varied = system.get("class") == VARIED
    step = in_todays_words(system["system"] if varied else system)
    of_a_map = tangent["stepper"] is None
    if not of_a_map:
        stepper = in_todays_words(tangent["stepper"])
        step = {"class": "dynsys.FlowStep", "flow": step, "stepper": stepper, "t0": tangent["t0"]}
    if varied:
        step = {"class": "dynsys.ensembles.Varied", "time_step": step, "values": system["values"]}
    return {
        "algorithm": said["algorithm"],
        "step": step,
        "shift": tangent["t0"] if of_a_map else 0.0,
        "backend": BACKENDS.get(tangent["class"], tangent["class"]),
        "x0": said["x0"],
        "options": _valued(options),
    }


RESULTS = {"AlignmentIndices": "GALI"}


def result_in_todays_words(name: str) -> str:
    """The public name of the class of a saved result, which 0.1.0 called by its own name alone."""
    return name if "." in name else f"dynsys.{RESULTS.get(name, name)}"


TRAINING_RUNS = "models.weight_dynamics.runs.TrainingRuns"  # whose data have other names since
DIMENSIONS = {"reading": "variant", "ending": "ending"}
LABELS = {"recycled": "periodic window"}  # in these


def data_in_todays_words(data: xarray.Dataset, definition: Json) -> xarray.Dataset:
    """The data of a store with this definition as they would be called today."""
    if not _of_training_runs(definition):
        return data
    biases = data.attrs.get("biases")
    data = data.assign_attrs(biases=VALUES["biases"].get(str(biases), biases))
    return _relabelled(data, DIMENSIONS, LABELS)


def data_as_begun(data: xarray.Dataset, definition: Json) -> xarray.Dataset:
    """The data of today as they were called when a store with this definition was begun."""
    if not _of_training_runs(definition):
        return data
    return _relabelled(data, _reversed(DIMENSIONS), _reversed(LABELS))


def _of_training_runs(definition: Json) -> bool:
    compute = definition.get("compute")
    return isinstance(compute, dict) and compute.get("class") == TRAINING_RUNS


def _reversed(names: Mapping[str, str]) -> dict[str, str]:
    return {today: name for name, today in names.items()}


def _relabelled(data: xarray.Dataset, dimensions: Mapping[str, str], labels: Mapping[str, str]) -> xarray.Dataset:
    for name, other in dimensions.items():
        if name in data.variables:
            called = np.array([labels.get(label, label) for label in data[name].values.tolist()])
            data = data.rename({name: other} if name != other else {}).assign_coords({other: (other, called)})
    return data
