"""The page of the main job: what it holds, and what a browser shows when a run is picked."""

import importlib.util
import re
import shutil
from html.parser import HTMLParser
from itertools import combinations

import attrs
import numpy as np
import pytest
import xarray

from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.figures import draw_all
from dynsys.models.weight_dynamics.page.data import MISSING, PARTS, SEEDED, PageData
from dynsys.models.weight_dynamics.page.page import page, write_page
from dynsys.models.weight_dynamics.runs import SAME_SPAN, TrainingRuns
from dynsys.models.weight_dynamics.study import Study
from dynsys.models.weight_dynamics.summary import summary
from dynsys.passes.status import FAILED

STUDY = Study(members=6, steps=3000, learning_rate=1e-3, seed=5, outputs=40, angles=True)
TASK = regression_task(samples=100, seed=STUDY.seeds["data"])
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
with_browser = pytest.mark.skipif(
    BROWSER is None or importlib.util.find_spec("playwright") is None, reason="needs playwright and Chromium"
)
PAIRS = list(zip(*np.triu_indices(9, 1), strict=True))


@pytest.fixture(scope="module")
def runs() -> xarray.Dataset:
    """Twelve runs, of which one is marked as stopped half-way."""
    data = TrainingRuns(STUDY, *TASK, "A task <b>& more</b>.").ensemble().run()
    for name, first in {"loss": 20, "exponent": 20, "angle": 0, "frame_distance": 0}.items():
        data[name].values[0, 4, first:] = np.nan
    data.status.values[0, 4], data.stopped.values[0, 4] = 1, 1500
    return data


def decoded(data: xarray.Dataset, activation: int, member: int) -> dict[str, np.ndarray]:
    """Degrees between covariant vectors of a run, by pair: those that a seed decides, and the others."""
    run = data.isel(activation=activation, member=member)
    seeded = run.frame_distance.values > SAME_SPAN
    angle = np.degrees(run.angle.values)
    by_seed = np.array([seeded[:, i] | seeded[:, j] for i, j in PAIRS]).T
    return {"seeded": np.where(by_seed, angle, np.nan).T, "known": np.where(by_seed, np.nan, angle).T}


def test_the_page_holds_the_numbers_of_the_study(runs):
    document = page(runs)
    record = document.get_model_by_name("record").data
    assert [name for name in record if name.startswith("angle")] == [f"angle_{i + 1}–{j + 1}" for i, j in PAIRS]
    times = runs.sizes["time"]
    for a, m in ((0, 0), (1, 5), (0, 4)):
        rows = slice((6 * a + m) * times, (6 * a + m + 1) * times)
        np.testing.assert_allclose(record["loss"][rows], runs.loss[a, m], rtol=1e-6)
        for q in range(9):
            np.testing.assert_allclose(record[f"exponent_{q + 1}"][rows], runs.exponent[a, m, :, q], rtol=1e-6)
    for name, column in document.get_model_by_name("table").data.items():
        assert len(column) == 12, name
    assert document.get_model_by_name("number").value == int(np.argsort(runs.loss.values[0, :, -1])[5 // 2])


def test_markers_stand_at_shares_of_final_losses(runs):
    table = PageData(runs).table()
    final = runs.loss.values[..., -1]
    for a in range(2):
        rows = slice(6 * a, 6 * a + 6)
        expected = [np.mean(final[a] <= value) if np.isfinite(value) else 1.0 for value in final[a]]
        np.testing.assert_allclose(table["share"][rows], expected)
    assert table["status"][4] == "diverged by step 1500"
    assert table["x"][4] > np.nanmax(final)  # at the edge
    assert set(table["status"]) == {"finished", "diverged by step 1500"}


class Addresses(HTMLParser):
    """Tags of a page, and what they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[tuple] = []

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.add(tag)
        self.addresses += [each for each in attributes if each[0] in ("src", "href")]


def test_of_an_activation_that_always_diverged_there_is_no_median(runs):
    data = runs.copy(deep=True)
    data.loss.values[0, :, -1] = np.nan
    data.loss.values[0, 1, 1] = 1e300  # not a number in single precision
    document = page(data)
    assert document.get_model_by_name("activation").value == "tanh"
    assert document.get_model_by_name("number").value == int(np.argsort(data.loss.values[1, :, -1])[3])
    assert document.get_model_by_name("record").data["loss"][data.sizes["time"] + 1] == np.inf
    assert document.get_model_by_name("loss").y_range.end < 1e4  # the others are seen


def test_the_file_asks_for_nothing_and_says_how_it_was_made(runs, tmp_path):
    text = write_page(runs, tmp_path / "runs.html", "Made by `dynsys <x>`.").read_text()
    page_of = Addresses()
    page_of.feed(text)
    assert "main" in page_of.tags
    assert page_of.addresses == []
    body = text[text.index("<header>") :]
    assert "Made by `dynsys &lt;x&gt;`." in body
    assert "A task &lt;b&gt;&amp; more&lt;/b&gt;." in body
    assert "1 of 12 runs stopped or failed before the end" in body
    assert [path.name for path in tmp_path.iterdir()] == ["runs.html"]


def test_the_summary_counts_the_angles_that_the_run_decides(runs):
    text = summary(runs, paper_task=False)
    finished = runs.status.values[1] == 0
    at = int(np.abs(runs.time.values - 0.5 * runs.time.values[-1]).argmin())
    known = np.concatenate([decoded(runs, 1, m)["known"][:, at] for m in np.flatnonzero(finished)])
    share, known = np.isfinite(known).mean(), known[np.isfinite(known)]
    assert 0.0 < share < 1.0
    low, few, middle = np.quantile(known, [0.0, 0.05, 0.5])
    row = f"{100 * share:.0f} %: {low:.2g}°, {few:.3g}°, {middle:.4g}° |"
    assert any(line.startswith(f"| {runs.time.values[at]:.3g} |") and line.endswith(row) for line in text.split("\n"))
    assert "`runs.html`" in text


def test_names_are_text_in_every_output(runs, tmp_path):
    """A task names the columns of a table; names of activations may come from a store of somebody else."""
    names = ["<script>alert(1)</script>", "a|b `c` $x_$"]
    task = "Task: $\\frac{$ from <img src=x onerror=alert(1)>, =cmd(), **t** of t.csv."
    data = runs.assign_coords(activation=names).assign_attrs(task=task)
    text = summary(data, paper_task=False)
    assert not {"<script", "<img", "`c`"} & {*re.findall("<script|<img|`c`", text)}
    assert "from &lt;img src=x onerror=alert(1)&gt;, =cmd(), \\*\\*t\\*\\* of t.csv." in text
    assert "| a&#124;b &#96;c&#96; \\$x\\_\\$ | 6 | 0 | 0 | 0 |" in text
    page_of = Addresses()
    page_of.feed(write_page(data, tmp_path / "runs.html", "Made by `a` <script>").read_text())
    assert "img" not in page_of.tags
    assert "<script>alert" not in (tmp_path / "runs.html").read_text()
    draw_all(data, tmp_path / "figures")
    assert "'<script" not in (tmp_path / "figures" / "exponents.csv").read_text()  # no formula: nothing is changed
    assert data.attrs["task"] == task


@pytest.mark.slow
def test_of_large_networks_nine_exponents_are_shown_and_without_angles_none(tmp_path):
    large = Study(activations=("tanh",), members=2, steps=3000, outputs=9, hidden=4, learning_rate=1e-3, angles=True)
    data = TrainingRuns(large, *TASK).ensemble().run()
    kept = PageData(data)
    assert (len(kept.shown), len(kept.pairs), len(kept.record())) == (9, 36, 1 + 9 + 36)
    assert kept.shown == [1, 2, 3, 8, 9, 10, 15, 16, 17]
    pairs = list(combinations(kept.shown, 2))
    codes = np.array([kept.record()[f"angle_{i}–{j}"] for i, j in pairs])
    degrees = np.degrees([data.angle.sel(pair=f"{i} {j}").values.ravel() for i, j in pairs])
    np.testing.assert_array_equal(codes == MISSING, np.isnan(degrees))
    known = np.isfinite(degrees)
    assert 0.02 < known.mean() < 0.98
    np.testing.assert_allclose((codes[known].astype(int) & ~SEEDED) / PARTS, degrees[known], atol=0.51 / PARTS)
    text = write_page(data, tmp_path / "large.html", "").read_text()
    assert "Of 17 exponents and their vectors 9 are shown" in text
    bare = TrainingRuns(attrs.evolve(large, angles=False), *TASK).ensemble().run()
    assert page(bare).get_model_by_name("angles") is None
    assert (
        "No angles between covariant vectors were recorded" in write_page(bare, tmp_path / "bare.html", "").read_text()
    )


SHOWN = """() => {
    const [document] = Bokeh.documents, data = (name) => document.get_model_by_name(name).data
    const text = (value) => Array.isArray(value) ? value.map(text) : String(value)  // NaN is nothing in JSON
    const columns = (name) => Object.fromEntries(Object.entries(data(name)).map(([key, value]) => [key, text(value)]))
    return {curves: columns("curves"), pairs: columns("pairs"), picked: columns("picked"),
            heading: document.get_model_by_name("heading").text}
}"""
PLACE = """([x, y]) => {
    const [document] = Bokeh.documents, plot = document.get_model_by_name("losses")
    const view = Bokeh.index.find_one_by_id(plot.id), box = view.canvas_view.el.getBoundingClientRect()
    const screen = [view.frame.x_scale.compute(x), view.frame.y_scale.compute(y)]
    return [box.left + screen[0], box.top + screen[1]]
}"""


def same(shown: list, expected: np.ndarray, **tolerance: float) -> None:
    np.testing.assert_allclose(np.array(shown, dtype=float), np.asarray(expected, dtype=float), **tolerance)


def assert_shown(data: xarray.Dataset, shown: dict, activation: int, member: int) -> None:
    """That the three panels hold the numbers of this run and the heading says so."""
    run = data.isel(activation=activation, member=member)
    curves = shown["curves"]
    same(curves["time"], run.time, rtol=1e-12)
    same(curves["loss"], run.loss, rtol=1e-6)
    for q in range(9):
        same(curves[f"exponent_{q + 1}"], run.exponent[:, q], rtol=1e-6)
    expected = decoded(data, activation, member)
    for kind in ("known", "seeded"):
        same(shown["pairs"][kind], expected[kind], atol=0.51 / PARTS)
    known = np.where(np.isnan(expected["known"]), np.inf, expected["known"])
    smallest = known.min(axis=0)
    same(curves["smallest"], np.where(np.isinf(smallest), np.nan, smallest), atol=0.51 / PARTS)
    for n in np.flatnonzero(np.isfinite(smallest)):
        i, j = PAIRS[shown["pairs"]["pair"].index(curves["closest"][n])]
        assert known[PAIRS.index((i, j)), n] < smallest[n] + 1 / PARTS
    assert f"<b>{data.activation.values[activation]}, run {member}</b>" in shown["heading"]
    finished = bool(np.isfinite(run.loss[-1]))
    assert (f"final loss {float(run.loss[-1]):.4g}" if finished else "diverged by step 1500") in shown["heading"]


@with_browser
def test_a_click_and_the_keyboard_pick_a_run(runs, tmp_path):
    from playwright.sync_api import sync_playwright

    file = write_page(runs, tmp_path / "runs.html", "Made by a test.")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=options)
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        tab.on(
            "console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None
        )
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url))
        tab.goto(file.as_uri())
        tab.wait_for_function("Bokeh.documents[0]?.get_model_by_name('heading').text")

        table = PageData(runs).table()
        assert_shown(runs, tab.evaluate(SHOWN), *PageData(runs).median)
        for row in (9, 4, 2):  # a tanh run, the one that stopped, a ReLU run
            tab.mouse.click(*tab.evaluate(PLACE, [float(table["x"][row]), float(table["share"][row])]))
            activation, member = divmod(row, 6)
            tab.wait_for_function(f"Bokeh.documents[0].get_model_by_name('number').value == {member}", timeout=5000)
            assert_shown(runs, tab.evaluate(SHOWN), activation, member)
            same(tab.evaluate(SHOWN)["picked"]["x"], [table["x"][row]], rtol=1e-12)

        tab.get_by_label("Activation").select_option("tanh")
        tab.get_by_label("Run", exact=True).fill("3")
        tab.keyboard.press("Enter")
        assert_shown(runs, tab.evaluate(SHOWN), 1, 3)
        tab.get_by_role("button", name="highest").press("Enter")
        highest, second = PageData(runs).order[1, [-1, -2]]
        assert_shown(runs, tab.evaluate(SHOWN), 1, highest)
        tab.get_by_role("button", name="lower").press("Enter")
        assert_shown(runs, tab.evaluate(SHOWN), 1, second)
        tab.get_by_label("Pair").select_option("2–5")
        same(
            tab.evaluate(SHOWN)["curves"]["chosen"],
            np.degrees(runs.angle.values[1, second, :, PAIRS.index((1, 4))]),
            atol=0.51 / PARTS,
        )
        tab.set_viewport_size({"width": 390, "height": 844})
        tab.wait_for_function("document.documentElement.scrollWidth == 390")  # nothing to be scrolled sideways
        browser.close()
    assert problems == []


def test_a_run_that_failed_is_said_to_have_failed(runs):
    data = runs.copy(deep=True)
    data.status.values[0, 4], data.stopped.values[0, 4] = FAILED, -1
    assert PageData(data).table()["status"][4] == "failed"
    assert "| relu | 5 | 0 | 0 | 1 |" in summary(data, paper_task=True)


@pytest.mark.parametrize("losses", ["some", "all"])
@pytest.mark.slow
def test_a_final_loss_of_zero_is_a_finished_run(runs, losses, tmp_path):
    data = runs.copy(deep=True)
    data.loss.values[:, 1 if losses == "some" else slice(None), -1] = 0.0
    kept = PageData(data)
    assert np.count_nonzero(~kept.finished) == (losses == "some")  # the one that stopped
    table = kept.table()
    assert np.all(np.array(table["x"]) > 0)
    assert table["final"][1] == 0.0
    write_page(data, tmp_path / "runs.html", "made")
    draw_all(data, tmp_path / "figures")
