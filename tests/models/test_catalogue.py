"""The catalogue of classic systems: contracts, exact identities, and published values on both sides."""

import math
import re
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

import dynsys.models.classics
from dynsys import RK4, InvalidInputError, Map
from dynsys.models import cli
from dynsys.models.classics import (
    CatMap,
    CoupledMapLattice,
    Duffing,
    FitzHughNagumo,
    Henon,
    HenonHeiles,
    HyperchaoticRoessler,
    JosephsonJunction,
    Known,
    KuramotoSivashinsky,
    Logistic,
    Lorenz63,
    Lorenz96,
    Lozi,
    Roessler,
    StandardMap,
)
from dynsys.models.classics.catalogue import (
    SYSTEMS,
    Comparison,
    Entry,
    Identity,
    Spectrum,
    identities,
    measure,
    tangent_of,
)
from dynsys.models.classics.henon_heiles import energy
from dynsys.models.classics.report import _documentation, table, write
from dynsys.testing import check_system, check_tangent

RNG = np.random.default_rng(0)
every_system = pytest.mark.parametrize("kind", SYSTEMS)
KNOWN = [(kind, known) for kind in SYSTEMS for known in kind.reference.known]
PAGE = Path(dynsys.models.classics.__file__).parent / "CATALOGUE.md"


def varied(kind):
    """The system with parameters other than the defaults."""
    system = kind()
    fields = {f.name: getattr(system, f.name) for f in attrs.fields(kind)}
    numbers = {name: 1.07 * value for name, value in fields.items() if isinstance(value, float)}
    return attrs.evolve(system, **numbers)


@every_system
def test_contract_is_kept_at_the_start(kind):
    check_system(kind(), kind.reference.state(kind()))


@pytest.mark.parametrize("system", [Lorenz96(sites=4), Lorenz96(sites=5, forcing=3.0), CoupledMapLattice(sites=3)])
def test_lattices_of_any_size_keep_the_contract(system):
    check_system(system, RNG.uniform(0.1, 0.9, size=system.sites))


@every_system
def test_volume_rate_is_the_trace_or_the_log_determinant_of_the_jacobian(kind):
    system = varied(kind)
    states = RNG.uniform(0.05, 0.45, size=(10, system.dimension))
    jacobians = [system.jacobian(0.0, x) for x in states]
    exact = [np.linalg.slogdet(J).logabsdet if isinstance(system, Map) else np.trace(J) for J in jacobians]
    np.testing.assert_allclose(kind.reference.volume_rate(system, states), exact, rtol=1e-12, atol=1e-12)


@every_system
def test_what_holds_exactly_is_kept_to_rounding_or_to_the_order_of_the_stepper(kind):
    for identity in identities(kind(), steps=200):
        if issubclass(kind, Map):
            assert identity.defect < 1e-13
        else:
            assert identity.defect < 1e-2
            small = identity.defect < 1e-10  # where the leading error may cancel over a short run
            order = kind.reference.stepper.order  # of an integral, or one more where it is that of a single step
            assert small or order - 0.5 < identity.order < order + 1.5, identity


def test_identities_are_told_of_the_systems_that_have_them():
    kinds = (HenonHeiles, Duffing, StandardMap)
    names = {kind.__name__: {i.name for i in identities(kind(), steps=16)} for kind in kinds}
    flow, symplectic = "the tangent step carries f(x) to f(x')", "the tangent step is symplectic"
    assert {flow, symplectic, "H is conserved"} < names["HenonHeiles"]
    assert flow not in names["Duffing"]
    assert symplectic in names["StandardMap"]


def test_order_is_log2_of_the_defects():
    assert Identity("", 3.2e-5, 1e-6).order == pytest.approx(5.0)
    assert Identity("", 9e-12, 1e-12).order is None
    assert Identity("", 1e-5).order is None


def test_cat_map_has_one_spectrum_and_orthogonal_covariant_vectors():
    tangent = CatMap().tangent(backend="numpy")
    spectrum = tangent.benettin([0.3, 0.1], intervals=200, warmup=50)
    exact = math.log((3 + math.sqrt(5)) / 2)
    np.testing.assert_allclose(spectrum.exponents, [exact, -exact], rtol=1e-13)
    clvs = tangent.ginelli([0.3, 0.1], intervals=20, warmup=50, tail=50)
    np.testing.assert_allclose(clvs.angles[:, 0, 1], np.pi / 2, rtol=1e-12)


@pytest.mark.parametrize("system", [StandardMap(2.3), CatMap()])
def test_maps_of_the_torus_forget_whole_turns(system):
    turn = 2 * np.pi if isinstance(system, StandardMap) else 1.0
    x = RNG.uniform(0.0, turn, size=(50, 2))
    shifted = x + turn * RNG.integers(-3, 4, size=x.shape)
    apart = system.step(0, shifted) - system.step(0, x)
    np.testing.assert_allclose(apart - turn * np.round(apart / turn), 0.0, atol=1e-13 * turn)
    after = system.step(0, shifted)
    assert (after >= 0).all()
    assert (after < turn).all()


def test_standard_map_without_kicks_is_a_shear():
    np.testing.assert_allclose(StandardMap(0.0).step(0, np.array([1.0, 2.0])), [3.0, 2.0], rtol=1e-15)


def test_lattice_with_equal_sites_is_the_logistic_map_times_the_modes_of_the_coupling():
    lattice, x = CoupledMapLattice(sites=8, coupling=0.3, r=3.7), 0.31
    modes = 1 - 0.3 + 0.3 * np.cos(2 * np.pi * np.arange(8) / 8)
    eigenvalues = np.sort(np.linalg.eigvals(lattice.jacobian(0, np.full(8, x))).real)
    np.testing.assert_allclose(eigenvalues, np.sort(3.7 * (1 - 2 * x) * modes), rtol=1e-12)
    np.testing.assert_allclose(lattice.step(0, np.full(8, x)), Logistic(3.7).step(0, np.array([x]))[0], rtol=1e-15)


def test_lorenz96_advects_without_gain():
    """sum x_i dx_i/dt = -sum x_i^2 + forcing sum x_i."""
    x = RNG.normal(size=(7, 9))
    f = Lorenz96(sites=9, forcing=6.0).vector_field(0.0, x)
    np.testing.assert_allclose((x * f).sum(axis=-1), (6.0 * x - x**2).sum(axis=-1), rtol=1e-12)
    turned = Lorenz96(sites=9, forcing=6.0).vector_field(0.0, np.roll(x, 2, axis=-1))
    np.testing.assert_allclose(turned, np.roll(f, 2, axis=-1), rtol=1e-14)


def test_henon_heiles_moves_by_its_hamiltonian():
    system = HenonHeiles(coupling=0.8)
    for x in RNG.normal(scale=0.4, size=(10, 4)):
        h = 1e-5
        gradient = [(energy(system, x + h * e) - energy(system, x - h * e)) / (2 * h) for e in np.eye(4)]
        np.testing.assert_allclose(system.vector_field(0.0, x), [*gradient[2:], *(-g for g in gradient[:2])], atol=1e-9)


def test_growth_of_henon_heiles_pairs():
    """Singular values of a symplectic matrix come in pairs s, 1/s; here up to the error of the stepper."""
    system = HenonHeiles()
    tangent, x, M = system.tangent(RK4(0.02), backend="numpy"), system.reference.state(system), np.eye(4)
    for n in range(1000):
        x, M = tangent.step(n, x, M)
    values = np.linalg.svd(M, compute_uv=False)
    assert values[0] > 3.0
    np.testing.assert_allclose(values * values[::-1], 1.0, rtol=0, atol=1e-6)
    assert energy(system, x) == pytest.approx(0.125, abs=1e-7)  # 1/8, as the start was chosen by Sprott


def test_fitzhugh_nagumo_is_the_system_of_the_tests_of_jitcode():
    """Their state and its velocity, to the digits they print."""
    x = [-0.00338158, -0.00223185, 0.01524253, -0.00613449]
    f = [0.0045396904008868, 0.00002265673, 0.0043665702488807, 0.000328463955]
    np.testing.assert_allclose(FitzHughNagumo().vector_field(0.0, np.array(x)), f, rtol=1e-12)


def test_duffing_gains_by_its_drive_and_loses_by_its_damping():
    """dE/dt = v (gamma cos(omega t) - delta v)."""
    system = Duffing(alpha=-0.7, beta=1.3, delta=0.2, gamma=0.5, omega=1.4)
    for t, (x, v) in zip(RNG.uniform(0, 9, size=10), RNG.normal(size=(10, 2)), strict=True):
        slope, force = system.vector_field(t, np.array([x, v]))
        gain = (-0.7 * x + 1.3 * x**3) * slope + v * force
        assert gain == pytest.approx(v * (0.5 * math.cos(1.4 * t) - 0.2 * v), rel=1e-12, abs=1e-12)


def test_roessler_systems_rest_where_their_quadratics_vanish():
    s = Roessler()
    for sign in (-1, 1):
        y = (-s.c + sign * math.sqrt(s.c**2 - 4 * s.a * s.b)) / (2 * s.a)
        np.testing.assert_allclose(s.vector_field(0.0, np.array([-s.a * y, y, -y])), 0.0, atol=1e-12)
    h = HyperchaoticRoessler()  # z = d w / c, y = -z, x = a z - w, and x z = -b
    w = math.sqrt(h.b / ((1 - h.a * h.d / h.c) * h.d / h.c))
    z = h.d * w / h.c
    np.testing.assert_allclose(h.vector_field(0.0, np.array([h.a * z - w, -z, z, w])), 0.0, atol=1e-12)


def test_josephson_junction_without_inductance_current_turns_at_a_steady_voltage():
    """At rest v = shunt = 0 and sin(phi) = current, if the current is below the critical one."""
    junction = JosephsonJunction(current=0.6)
    np.testing.assert_allclose(junction.vector_field(0.0, np.array([math.asin(0.6), 0.0, 0.0])), 0.0, atol=1e-15)


def test_printed_numbers_carry_half_a_unit_of_their_last_digit():
    known = Known.printed("0.9056 0 -14.57(3) ?", "a table")
    np.testing.assert_array_equal(known.exponents, [0.9056, 0.0, -14.57, math.nan])
    np.testing.assert_allclose(known.error, [5e-5, 0.0, 0.03, math.nan], rtol=1e-15)
    with pytest.raises(InvalidInputError, match=r"looks like .* got 'about'"):
        Known.printed("about 1", "hearsay")
    with pytest.raises(InvalidInputError, match="2 exponents need as many errors, got 1"):
        Known((1.0, 2.0), (0.1,), "a table")


def spectrum_of(exponents, error, sum_error=1e-9):
    return Spectrum(np.array(exponents), np.array(error), sum_error, time=1e6, member_time=1e5)


def test_verdict_is_by_combined_errors_on_both_sides_and_by_the_sum():
    ours = spectrum_of([0.90, -1.60], [0.003, 0.003])

    def agrees(text):
        return Comparison(Known.printed(text, ""), ours).agrees

    assert agrees("0.904(4) ?")
    assert agrees("0.919(4) ?")  # 3.8 errors
    assert not agrees("0.921(4) ?")
    assert not agrees("0.879(4) ?")
    assert agrees("0.901(1) -1.601(1)")
    assert not agrees("0.901(1) -1.593(1)")  # each within 2.3 errors, the sum 5.7
    zero = spectrum_of([1e-4, -1.0], [1e-7, 1e-7])
    assert Comparison(Known.printed("0 ?", ""), zero).agrees  # the remainder ln T / T of a finite run
    assert not Comparison(Known.printed("0 ?", ""), attrs.evolve(zero, exponents=np.array([1e-3, -1.0]))).agrees


def entries():
    made = [
        (Lozi(), spectrum_of([0.470, -1.163], [0.001, 0.001]), Lozi.reference.known),
        (Lorenz63(), spectrum_of([0.91, 0.0, -14.57], [0.001, 1e-4, 0.001]), Lorenz63.reference.known[:1]),
        (CoupledMapLattice(), spectrum_of(np.linspace(0.4, 0.1, 20), [0.001] * 20), ()),
    ]
    return [
        Entry(system, spectrum, (Identity("x = x", 1e-5, 1e-6),), tuple(Comparison(k, spectrum) for k in known),
              RNG.normal(size=(30, 2)))
        for system, spectrum, known in made
    ]  # fmt: skip


def test_page_tells_what_agrees_and_what_does_not(tmp_path):
    page = write(entries(), tmp_path, "Made by hand.")
    text = page.read_text()
    assert "3 systems, 2 sets of published or exact exponents: 1 agree with ours" in text
    assert "- **Lorenz63**, J. C. Sprott" in text
    assert r"\dot{x} &= \sigma" in text
    assert r"x' &= " in text
    assert r"\dot{y} &= x\,\left(\rho - z\right) - y" in text
    assert "0.4000 ± 0.0010, 0.3842 ± 0.0010, 0.3684 ± 0.0010, 0.3526 ± 0.0010, …, 0.1000 ± 0.0010" in text
    assert text.endswith("Made by hand.\n")
    files = {p.name for p in (tmp_path / "figures").iterdir()}
    assert files == {f"{name}.{end}" for name in ("Lozi", "Lorenz63", "CoupledMapLattice") for end in ("png", "csv")}
    (tmp_path / "figures" / "mine.png").touch()
    assert write(entries()[:2], tmp_path, "Made again.").read_text().endswith("Made again.\n")  # what is its own: anew
    kept = {name for name in files if not name.startswith("CoupledMapLattice")}
    assert {p.name for p in (tmp_path / "figures").iterdir()} == {*kept, "mine.png"}
    assert "disagrees" in table(entries())


def test_page_is_not_written_over_figures_of_others(tmp_path):
    (tmp_path / "figures").mkdir()
    with pytest.raises(InvalidInputError, match="choose another folder"):
        write(entries(), tmp_path, "")


def test_page_that_is_kept_tells_of_every_system_and_gives_the_verdicts_that_are_expected():
    text = PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S))
    for kind in SYSTEMS:
        section = sections[kind.__name__]
        for known in kind.reference.known:
            lines = [line for line in section.splitlines() if line.startswith(f"| {known.source} |")]
            (row,) = [line for line in lines if "agrees**" in line]  # long lists stand one by one as well
            assert ("**agrees**" in row) == known.agrees, row
            assert known.note in row
        for end in ("png", "csv"):
            file = PAGE.parent / "figures" / f"{kind.__name__}.{end}"
            assert 0 < file.stat().st_size < (60_000 if end == "png" else 40_000)


def test_command_prints_the_table(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dynsys", "classics", "CatMap", "--length", "quick"])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    assert not leave.value.code
    assert re.search(r"CatMap +0.962424 +-0.962424\n +agrees .*exact", capsys.readouterr().out)


def test_command_refuses_unknown_systems(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dynsys", "classics", "Lorenz64"])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    assert leave.value.code == cli.USAGE
    assert "unknown system 'Lorenz64': choose among Logistic" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.numba
@every_system
def test_kernel_is_the_system(kind):
    system = kind()
    check_tangent(tangent_of(system, backend="numba"), kind.reference.state(system))


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.filterwarnings("ignore:.*rates drift:dynsys.DiagnosticWarning")  # orbits that stick to islands
@pytest.mark.parametrize(("kind", "known"), KNOWN, ids=[f"{kind.__name__}-{known.source}" for kind, known in KNOWN])
def test_known_exponents_agree_or_disagree_as_the_record_says(kind, known):
    """Another seed than that of the page, half its length."""
    spectrum = measure(kind(**known.parameters), known.start, effort=0.5, seed=1)
    comparison = Comparison(known, spectrum)
    assert comparison.agrees == known.agrees, (comparison.deviations, comparison.sums)


@pytest.mark.slow
@pytest.mark.numba
@pytest.mark.filterwarnings("ignore:.*drift between the halves:dynsys.DiagnosticWarning")  # some stick to islands
def test_exponents_of_henon_heiles_pair_and_vanish():
    spectrum = measure(HenonHeiles(), effort=0.1, seed=2)
    remainder = math.log(spectrum.member_time) / spectrum.member_time
    np.testing.assert_allclose(spectrum.exponents + spectrum.exponents[::-1], 0.0, rtol=0, atol=1e-9 + remainder / 10)
    assert np.abs(spectrum.exponents[1:3]).max() < 4 * remainder
    assert spectrum.exponents[0] > 20 * spectrum.error[0] / 4


def test_same_seed_gives_the_same_bits():
    first, second = (measure(Henon(), effort=0.0, members=2, seed=3, backend="numpy") for _ in range(2))
    assert (first.exponents == second.exponents).all()
    other = measure(Henon(), effort=0.0, members=2, seed=4, backend="numpy")
    assert (first.exponents != other.exponents).all()
    assert abs(other.exponents.sum() - math.log(0.3)) < 1e-12


def test_prose_keeps_the_equation_that_a_sentence_leads_to():
    """The catalogue once went from "m = 1, ..., M:" straight to "(with the mean ...)"."""
    prose, _ = _documentation(KuramotoSivashinsky)
    assert "M:\n\n```text\ndu_m/dt = " in prose
    assert "dx/dt" not in _documentation(Lorenz63)[0]  # shown as formulas
