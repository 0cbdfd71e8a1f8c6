"""Whatever dynsys reads, drawn at random: texts, tables, stores, results, caches, monitors; see tests/fuzz."""

import os
import random
import sys
import time

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis import target as towards

from fuzz.caches import Caches
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
