"""The soak test in a minute; and that it would see what it looks for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ensemble_studies import failing, values

pytest.importorskip("zarr")

from benchmarks.soak.log import Log, show, slope, summary
from benchmarks.soak.store import block_of, committed, content, differences, wrong_blocks
from dynsys import DiagnosticWarning, Ensemble

ROOT = Path(__file__).parents[1]


@pytest.mark.numba
@pytest.mark.slow
def test_an_ensemble_that_is_harmed_for_a_minute_is_the_same_in_the_end(tmp_path):
    pytest.importorskip("numba")
    log = tmp_path / "soak.jsonl"
    options = ["--minutes", "1", "--every", "4", "--members", "200", "--seed", "5", "--out", str(log)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == show(log) + "\n"
    found = summary(log)
    assert found["differences"] == found["errors not ours"] == []
    assert found["ensembles"] >= 1
    assert found["finished blocks compared"] >= 50
    assert sum(found["events"].values()) >= 2  # many more where the machine has nothing else to do
    (resident,) = found["residents"]
    assert resident["other bits"] == 0
    assert resident["ensembles"] >= 1
    assert resident["descriptors"]["most"] < 20
    assert resident["threads"]["most"] < 20


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two finished stores of the same ensemble."""
    paths = [tmp_path_factory.mktemp("stores") / "runs.zarr" for _ in range(2)]
    for path in paths:
        with pytest.warns(DiagnosticWarning, match="1 members failed"):
            Ensemble(failing, 12).run(path, block=4, workers=1)
    return paths


def test_stores_that_are_the_same_are_said_to_be(stores):
    assert differences(*stores) == []
    right = content(stores[0])
    assert committed(right) == {"0", "1", "2"}
    assert wrong_blocks(content(stores[1]), right) == set()


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("wave/c/1/0", "1"),
        ("status/c/2", "2"),
        ("status/block.1.json", "1"),
        ("time/c/0", ""),
        ("wave/zarr.json", ""),
    ],
)
@pytest.mark.parametrize("how", ["a byte", "deleted", "more"])
def test_every_difference_is_seen(name, block, how, stores, tmp_path):
    path = tmp_path / "runs.zarr"
    shutil.copytree(stores[0], path)
    right = content(stores[1])
    data = bytearray((path / name).read_bytes())
    data[0] ^= 1
    if how == "deleted":
        (path / name).unlink()
    else:
        (path / name).write_bytes(data if how == "a byte" else right[name] + b"x")
    assert f"file {name}" in differences(path, stores[1])
    assert block_of(name, right) == block
    gone = name.startswith("status/c") and how == "deleted"  # the block is not finished, then
    assert wrong_blocks(content(path), right) == ({block} - {""} if not gone else set())


def test_other_numbers_and_other_files_are_seen(stores, tmp_path):
    other = tmp_path / "other.zarr"
    Ensemble(lambda members: values(members)[["wave"]] + 1e-16, 12).run(other, block=4, workers=1)
    assert "array wave" in differences(other, stores[0])
    path = tmp_path / "runs.zarr"
    shutil.copytree(stores[0], path)
    (path / "wave" / "c" / "0" / "x.partial").write_bytes(b"")
    assert differences(path, stores[0]) == ["file wave/c/0/x.partial"]


def test_the_slope_of_a_process_that_grows_is_found_and_no_other():
    rng = np.random.default_rng(0)
    seconds = np.arange(2000.0)
    found, error = slope(seconds, 300 + 0.5 * rng.normal(size=2000))
    assert abs(found) < 3 * error
    found, error = slope(seconds, 300 + 10 * seconds / 3600 + 0.5 * rng.normal(size=2000))
    assert abs(found - 10) < 3 * error < 1


def test_a_log_is_summed_up_though_its_last_line_was_cut(tmp_path):
    log = Log(tmp_path / "soak.jsonl")
    log("start", seed=1)
    log("disturbed", seed=1000, what="SIGKILL", end="signal 9")
    log("checked", seed=1000, blocks=7, differ=[])
    log("compared", seed=1000, files=20, differ=["file wave/c/0"])
    log("error", what="SIGKILL", end="RuntimeError", text="oh")
    with log.path.open("a") as file:
        file.write(json.dumps({"event": "compared"})[:-4])
    found = summary(log.path)
    assert found["events"] == {"SIGKILL": 1}
    assert (found["comparisons"], found["files compared"], found["finished blocks compared"]) == (2, 20, 7)
    assert [line["differ"] for line in found["differences"]] == [["file wave/c/0"]]
    assert "errors not ours: 1" in show(log.path)
