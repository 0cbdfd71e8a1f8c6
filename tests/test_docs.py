"""The code on the pages of the documentation runs as printed."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from dynsys import open_store

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE, VARIED, OWN, CLUSTER = re.findall(r"```python\n(.*?)```", (DOCS / "ensembles.md").read_text(), flags=re.DOTALL)


# their blocks run one after the other, and assert what they claim
PAGES = (
    "benettin",
    "trust",
    "ginelli",
    pytest.param("derivatives", marks=pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")),
    pytest.param("extending", marks=pytest.mark.slow),
    pytest.param(
        "pytorch", marks=[pytest.mark.torch, pytest.mark.skipif(not find_spec("torch"), reason="needs torch")]
    ),
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.numba
def test_the_first_example_of_ensembles_runs(capsys):
    exec(compile(EXAMPLE, "ensembles.md", "exec"), {})
    mean, error = map(float, capsys.readouterr().out.splitlines()[-1].split(" +- "))
    assert abs(mean - 0.9056) < 5 * error < 0.02


@pytest.mark.numba
@pytest.mark.filterwarnings("ignore:the rates drift between the halves:dynsys.DiagnosticWarning")  # a long transient
def test_the_example_of_members_with_parameters_of_their_own_runs(capsys):
    exec(compile(VARIED, "ensembles.md", "exec"), {})
    assert capsys.readouterr().out.splitlines() == ["{'a': 50, 'b': 2, 'exponent': 2}", "100"]


def test_the_example_of_ones_own_computation_runs():
    names = {"__name__": "page"}
    exec(compile(OWN, "ensembles.md", "exec"), names)
    x = names["runs"].x
    np.testing.assert_allclose(x[:, -1], x[:, 0] * np.exp(-2.0))
    assert (open_store("decay.zarr").status == 0).all()


@pytest.mark.numba
@pytest.mark.slow
def test_the_script_for_slurm_runs_on_a_cluster_of_this_machine(monkeypatch):
    from distributed import LocalCluster

    class SLURMCluster(LocalCluster):
        def __init__(self, *, queue, cores, processes, memory, walltime):
            super().__init__(n_workers=0, threads_per_worker=1, dashboard_address=":0")

        def scale(self, n=0, *, jobs=0):
            return super().scale(max(n, jobs and 1))

    jobqueue = ModuleType("dask_jobqueue")
    jobqueue.SLURMCluster = SLURMCluster
    monkeypatch.setitem(sys.modules, "dask_jobqueue", jobqueue)
    monkeypatch.setattr(sys, "argv", ["study.py", "runs.zarr", "200"])
    exec(compile(CLUSTER, "study.py", "exec"), {"__name__": "__main__"})
    runs = open_store("runs.zarr")
    assert (runs.status == 0).all()
    assert runs.sizes["member"] == 200


@pytest.mark.numba
@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs(name, capsys, tmp_path):
    """Each block as a file, in which the source of its functions is found."""
    names: dict = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), flags=re.DOTALL)
    for i, block in enumerate(blocks):
        needed = re.findall(r"^import (torch|jax)$", block, flags=re.MULTILINE)
        if any(find_spec(library) is None for library in needed):
            continue
        script = tmp_path / f"{name}_{i}.py"
        script.write_text(block, encoding="utf-8")
        exec(compile(block, script, "exec"), names)
    assert capsys.readouterr().out
    assert (
        len(blocks) == {"benettin": 1, "trust": 1, "ginelli": 2, "extending": 11, "derivatives": 4, "pytorch": 4}[name]
    )
