"""The README: its code runs as printed, and its links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


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


def test_links_of_the_readme_exist():
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target
