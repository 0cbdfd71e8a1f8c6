"""The tutorials: each runs without a warning, leaves no file, and ends in an assertion."""

import ast
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("*.py"))
each_tutorial = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
QUICK = ("01_", "03_", "08_")  # of which the default run executes all cells
TORCH = ("10_",)  # which need PyTorch


def test_there_are_tutorials():
    assert [path.name[:3] for path in TUTORIALS] == [
        "01_",
        "02_",
        "03_",
        "04_",
        "05_",
        "06_",
        "07_",
        "08_",
        "09_",
        "10_",
        "11_",
    ]


@each_tutorial
def test_tutorial_is_a_percent_script_that_ends_with_an_assertion(path):
    text = path.read_text()
    cells = [line for line in text.splitlines() if line.startswith("# %%")]
    assert text.startswith("# %% [markdown]\n# # ")
    assert set(cells) == {"# %%", "# %% [markdown]"}
    assert isinstance(ast.parse(text).body[-1], ast.Assert)
    parts = [text.index(f"\n# ## {title}\n") for title in ("Exercises", "Answers", "The headline")]
    assert parts == sorted(parts)
    for cell in text.split("\n# %%\n"):  # a figure is complete in the cell that shows it: it is a page of the site, too
        assert cell.count("plt.subplots(") == cell.count("plt.show()")


def check_figure(figure):
    """Axes are labelled with their units, and lines can be told apart without colour."""
    for axes in figure.axes:
        assert "(" in axes.get_ylabel(), f"no unit: {axes.get_ylabel()!r}"
        place = axes.get_subplotspec()  # a colour bar has none
        if place is not None and place.is_last_row():
            assert "(" in axes.get_xlabel(), f"no unit: {axes.get_xlabel()!r}"
        for line in axes.get_lines():
            red, green, blue = to_rgb(line.get_color())
            assert red == green == blue, f"{line.get_label()} needs its colour"
        named = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
        looks = {(x.get_linestyle(), x.get_linewidth(), x.get_color(), x.get_marker()) for x in named}
        assert len(looks) == len(named)


@pytest.mark.numba
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            p,
            id=p.stem,
            marks=[pytest.mark.slow] * (not p.stem.startswith(QUICK)) + [pytest.mark.torch] * p.stem.startswith(TORCH),
        )
        for p in TUTORIALS
    ],
)
def test_tutorial_runs_without_a_warning_and_leaves_no_file(path, monkeypatch, tmp_path):
    if path.stem.startswith(TORCH):
        pytest.importorskip("torch")
    shown = []

    def show():
        for number in plt.get_fignums():
            check_figure(plt.figure(number))
            shown.append(number)
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert shown
    assert not plt.get_fignums()
    assert not list(tmp_path.iterdir())


@pytest.mark.numba
def test_first_tutorial_runs_where_matplotlib_is_not_installed(monkeypatch, tmp_path):
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # importing it fails from here on
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(TUTORIALS[0]), run_name="__main__")
    assert not names["pictures"]
    assert abs(names["best"] - names["literature"]) < 4 * names["best_error"]  # it has come to its end
