"""What the flows of a public database show is what the documentation says, and within the bounds that it states."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.flows_database import flows_database, measured
from benchmarks.flows_table import FILE, Row, Spectrum, read, report, written

ROWS = read(FILE.read_text())
FIVE = ("Lorenz", "BelousovZhabotinsky", "MacArthur", "CellularNeuralNetwork", "HastingsPowell")


def test_the_page_shows_the_results_that_are_kept():
    assert report(ROWS) in (Path(__file__).parents[1] / "docs" / "flows_database.md").read_text()
    assert written(ROWS) == FILE.read_text()


def test_results_are_within_the_bounds():
    done = [row for row in ROWS if not row.skipped]
    assert len(done) == 129
    assert not any(row.traced for row in done)
    assert max(row.apart for row in done) < 1e-12
    assert sum(row.silent for row in done) == 0
    assert sum(row.alarmed for row in done) <= 0.05 * len(done)
    assert sum(max(row.wrong, 0) for row in done) <= 0.01 * sum(max(row.called, 0) for row in done)


def test_what_is_silent_and_what_is_an_alarm():
    one = Spectrum(1.0, 0.01, 0.0, "chaotic")
    assert Row("", coarse=one, fine=Spectrum(0.9, 0.01)).silent
    assert not Row("", coarse=Spectrum(1.0, 0.01, 0.0, "", "drift"), fine=Spectrum(0.9, 0.01)).silent
    assert not Row("", coarse=Spectrum(1.0, 0.01, -0.02), fine=Spectrum(0.9, 0.01)).silent  # the step error says it
    assert Row("", coarse=Spectrum(1.0, 0.01, 0.0, "", "drift"), fine=Spectrum(0.99, 0.01)).alarmed
    assert not Row("", coarse=one, fine=Spectrum(0.99, 0.01)).alarmed
    assert not Row("", coarse=Spectrum(), fine=one).silent  # a run that stops says so


def test_without_the_database_it_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dysts", None)
    flows_database(1, quick=True)
    assert capsys.readouterr().out.startswith("Skipped the flows of the database: ")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.numba
@pytest.mark.filterwarnings("ignore")  # of the database, and of what it imports
@pytest.mark.parametrize("name", FIVE)
def test_results_are_found_again(name):
    pytest.importorskip("dysts")
    found, kept = measured(name), next(row for row in ROWS if row.name == name)
    assert found.traced == ""
    assert found.apart < 1e-12
    assert (found.coarse.regime, found.coarse.warnings) == (kept.coarse.regime, kept.coarse.warnings)
    for one, other in ((found.coarse, kept.coarse), (found.fine, kept.fine)):
        assert np.isnan(one.exponent) == np.isnan(other.exponent)  # a run that stops has none
        assert not abs(one.exponent - other.exponent) > 4 * np.hypot(one.error, other.error) + 1e-9
    assert found.wrong == kept.wrong <= 0
