"""What is public is on the pages of the documentation site; that these can be built, `.ci/run` checks."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from dynsys.models.cli import app

DOCS = Path(__file__).parents[1] / "docs"
API = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.rst"))


@pytest.mark.parametrize(
    "module",
    [
        "dynsys",
        "dynsys.models.classics",
        "dynsys.models.weight_dynamics",
        "dynsys.models.training_chaos",
        "dynsys.models.training_response",
        "dynsys.models.layer_dynamics",
        pytest.param("dynsys.torch", marks=pytest.mark.torch),
    ],
)
def test_every_public_name_is_documented_once(module):
    if module == "dynsys.torch":
        pytest.importorskip("torch")
    documented = re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", API, flags=re.MULTILINE)
    for names in re.findall(r"^   :members: (.*)$", API, flags=re.MULTILINE):
        documented += names.split(", ")
    elsewhere = {"digits", "iris"}  # of dynsys.models.networks.tasks, which is on a page as a whole
    assert "automodule:: dynsys.models.networks.tasks\n   :members:\n" in API
    counts = {name: documented.count(name) for name in import_module(module).__all__ if name not in elsewhere}
    assert set(counts.values()) == {1}, counts


def test_every_command_is_on_its_page():
    listed = re.findall(r"^\| `dynsys ([\w-]+)", (DOCS / "command-line.md").read_text(), flags=re.MULTILINE)
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert listed == commands
