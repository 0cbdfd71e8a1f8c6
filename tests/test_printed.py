"""What results say when they are printed."""

import numpy as np
import pytest

from dynsys import DiagnosticWarning
from dynsys.models.classics import LinearMap
from dynsys.results.printing import with_error

STEADY = LinearMap(np.diag([2.0, 1.0, 0.5])).tangent()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.0, 0.0, "1"),
        (0.1236, 0.0199, "0.124 ± 0.020"),
        (123.4, 20.0, "123 ± 20"),
        (np.nan, np.nan, "nan"),
        (1.0, 1e-15, "1 ± 1.0e-15"),
        (1e300, 1.0, "1e+300 ± 1.0e+00"),
    ],
)
def test_a_number_has_the_digits_that_its_error_lets_one_know(value, error, text):
    assert with_error(value, error) == text


def test_a_spectrum_prints_exponents_with_errors_and_its_checks():
    lines = str(STEADY.benettin(np.zeros(3), intervals=100, warmup=50)).splitlines()
    assert lines[0].startswith(
        "At rest: the state no longer moves; logarithms of the moduli of the eigenvalues there: 0.6931, 0, -0.6"
    )
    assert lines[1] == "Lyapunov exponents (per step), 100 rates from t = 51 to 150"
    assert [line.split()[0] for line in lines[2:5]] == ["1", "2", "3"]
    assert float(lines[2].split()[1]) == pytest.approx(np.log(2), abs=1e-5)
    assert lines[5].startswith("Checks: derivative: jacobian; drift")


def test_what_is_undecided_is_said():
    text = str(STEADY.benettin(np.array([1.0, 0.0, 0.0]), intervals=2, warmup=0))
    assert text.startswith("Regime undecided: the record is too short for error bars")


def test_an_ensemble_prints_means_over_the_members_that_finished():
    x0 = np.zeros((3, 3))
    spectrum = STEADY.benettin(x0, intervals=100, warmup=50)
    assert ", means over 3 of 3 members, " in str(spectrum)
    exploding = STEADY.benettin(np.array([[0.0, 0.0, 0.0], [1e308, 0.0, 0.0]]), intervals=20, warmup=1)
    assert ", means over 1 of 2 members, " in str(exploding)


def test_vectors_say_in_words_which_of_them_are_reliable():
    twice = LinearMap(np.diag([2.0, 1.0, 1.0])).tangent()
    with pytest.warns(DiagnosticWarning, match="subspace"):
        text = str(twice.ginelli(np.zeros(3), intervals=5, warmup=80, tail=80))
    assert "1  0.693147; its vector: reliable" in text
    assert "only its span with 3 is reliable" in text
    assert "only its span with 2 is reliable" in text


def test_a_long_table_shows_its_first_and_last_rows():
    rates = np.linspace(2.0, 0.5, 30)
    lines = str(LinearMap(np.diag(rates)).tangent().benettin(np.zeros(30), intervals=10, warmup=600)).splitlines()
    assert len(lines) == 2 + 15 + 1 + 5 + 1
    assert lines[-2].split()[0] == "30"
