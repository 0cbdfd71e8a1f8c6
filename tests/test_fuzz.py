"""Whatever dynsys reads, drawn at random: texts, tables, stores, results, caches, monitors; see tests/fuzz."""

import os
import random
import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis import target as towards

from fuzz.caches import Caches
from fuzz.damages import damage
from fuzz.stores import Stores
from fuzz.targets import NAMES, OF_FILES, target

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes, links and limits of a process are those of POSIX")
pytestmark = [posix, pytest.mark.slow]

SECONDS = float(os.environ.get("DYNSYS_FUZZ_SECONDS", "5"))  # for each target
LONGEST = 30.0  # seconds of this thread for one input


def fuzzed(name, folder, seconds):
    """Let Hypothesis look for an input that breaks the target, other ones every time, and make it small."""
    run, end = target(name, folder), time.monotonic() + seconds
    phases = (Phase.generate, Phase.target, Phase.shrink)

    @settings(max_examples=20, derandomize=False, database=None, suppress_health_check=list(HealthCheck), phases=phases)
    @given(draw=st.randoms(use_true_random=False))
    def look(draw):
        started = time.thread_time()
        run(draw)
        taken = time.thread_time() - started
        assert taken < LONGEST
        towards(taken, label="seconds for one input")

    while time.monotonic() < end:
        look()


each = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.torch] if name == "checkpoints" else []) for name in NAMES]
)


@each
def test_nothing_that_is_read_does_harm_or_becomes_something_else(name, tmp_path):
    fuzzed(name, tmp_path, SECONDS)


@pytest.mark.long
@pytest.mark.timeout(1200)
@each
def test_the_same_for_ten_minutes_together(name, tmp_path):
    fuzzed(name, tmp_path, 600.0 / len(NAMES))


def test_a_thousand_damages_to_a_cache(tmp_path):
    caches = Caches(tmp_path)
    found = {caches.target(random.Random(seed)) for seed in range(1000)}
    assert found == {"0 found", "2 found", "4 found", "6 found", "8 found"}


KERNEL = """
import warnings
from dynsys import FallbackWarning, SymbolicMap
warnings.filterwarnings("ignore", "what is derived and compiled cannot be kept", FallbackWarning)  # a folder in its way
henon = SymbolicMap.of({"x": "1 - a*x^2 + y", "y": "b*x"}, {"a": 1.4, "b": 0.3})
print(henon.tangent(backend="numba").benettin([0.1, 0.1], intervals=200).exponents.tobytes().hex())
"""


def computed(folder):
    """What a process computes with its cache there."""
    environment = os.environ | {
        "DYNSYS_CACHE": "",
        "XDG_CACHE_HOME": str(folder),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KERNEL], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.numba
def test_processes_with_damaged_caches_compute_the_same(tmp_path):
    whole, other, outside = (tmp_path / name for name in ("whole", "other", "outside"))
    right = computed(whole)
    assert computed(other) == right  # with another key
    outside.mkdir()
    for seed in range(5):
        path, draw = tmp_path / f"damaged {seed}", random.Random(seed)
        shutil.copytree(whole, path)
        for _ in range(8):
            damage(draw, path / "dynsys", other / "dynsys", outside)
        assert computed(path) == right
    assert not list(outside.iterdir())


@pytest.mark.timeout(1800)
def test_a_thousand_damages_to_a_store(tmp_path):
    stores = Stores(tmp_path)
    found = {stores.target(random.Random(seed), all_ways=seed % 8 == 0) for seed in range(1000)}
    assert {"right", "refused", "checksum", "refused, right", "right, right", "checksum, right"} <= found


@pytest.mark.parametrize("name", sorted(OF_FILES.keys() - {"tables", "checkpoints"}))
def test_the_targets_see_what_is_wrong(name, tmp_path, monkeypatch):
    """A reader that does not look is found out within some inputs."""
    from dynsys.results import result
    from dynsys.storage.cache import Cache
    from dynsys.storage.record import Record

    run = target(name, tmp_path)
    monkeypatch.setattr(Record, "holds", lambda *_: True)
    monkeypatch.setattr(Cache, "_right", lambda *_: True)
    monkeypatch.setattr(result, "check_axes", lambda *_: None)
    with pytest.raises((AssertionError, ValueError, TypeError, LookupError)):
        [run(random.Random(seed)) for seed in range(400)]
