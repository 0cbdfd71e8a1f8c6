"""The README: its code runs as printed, beside anybody's files, and its links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import setuptools

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
*BLOCKS, WATCHED = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["own_ode", "own_network"])
def test_code_of_the_readme_runs(block, capsys):
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert capsys.readouterr().out
    if "pendulum" in names:  # the README claims that the exponents add up to minus the damping
        spectrum = names["spectrum"]
        np.testing.assert_allclose(spectrum.exponents.sum(), -0.5, atol=1e-6)
        assert spectrum.exponents[0] > 6 * spectrum.standard_error[0] > 0
    else:
        assert names["runs"].exponents.shape == (8, 4 * 3 + 4 + 4 + 1)


@pytest.mark.torch
def test_the_lines_for_a_training_loop_run(capsys):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    batches = [(torch.randn(16, 4), torch.randint(3, (16,))) for _ in range(20)]
    criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters())
    names = {"model": model, "optimizer": optimizer, "loader": batches, "criterion": criterion}
    exec(compile(WATCHED, "README.md", "exec"), names)
    assert names["monitor"].spectrum().rates.shape == (2, 5)
    assert "Lyapunov exponents (per step)" in capsys.readouterr().out


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment where the wheel of dynsys is installed: one folder, without the link, and no path to this one."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "dynsys", site / "dynsys", ignore=shutil.ignore_patterns("__pycache__", "*.png", "*.csv"))
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(site), *sysconfig.get_paths().values()])}


@pytest.mark.parametrize(
    "name",
    [
        "models.py",
        *(pytest.param(f"models/{n}.py", marks=pytest.mark.slow) for n in ("__init__", "mine", "train/models")),
    ],
)
def test_ones_own_models_beside_a_script_are_ones_own(name, installed, tmp_path):
    """As people who train networks have them: a file, a package, a folder without __init__.py, both."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("MINE = 1\n")
    folder = (tmp_path / name).parent if name.count("/") > 1 else tmp_path  # in a folder of that name, too
    module = (tmp_path / name).relative_to(folder).with_suffix("").as_posix().removesuffix("/__init__")
    network = BLOCKS[1].replace("members=8", "members=1").replace("intervals=100", "intervals=2")
    network = network.replace("tangent(Euler(dt=1e-2))", "tangent(Euler(dt=1e-2), backend='numpy')")
    code = f"import {module.replace('/', '.')} as mine\n{network}\nassert mine.MINE == 1\n"
    (folder / "train.py").write_text(code)
    for call in (["train.py"], ["-c", code], ["-m", "train"]):
        done = subprocess.run([sys.executable, "-S", *call], cwd=folder, capture_output=True, text=True, env=installed)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("[")


def test_the_distribution_holds_one_top_level_name():
    include = re.search(r'include = \["(.*?)"\]', (ROOT / "pyproject.toml").read_text())[1]
    packages = setuptools.find_packages(str(ROOT), include=[include])
    assert {name.split(".")[0] for name in packages} == {"dynsys"}
    assert {"dynsys.systems", "dynsys.models.classics", "dynsys.models.networks.three_layer"} <= set(packages)
    assert os.readlink(ROOT / "dynsys" / "models") == os.path.join("..", "models")


def test_links_of_the_readme_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
