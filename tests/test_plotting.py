"""Figures: what is drawn is what is saved, labelled with units, and told apart without colour."""

import csv

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dynsys import InvalidInputError, ftle_field, sweep
from dynsys.indicators import batch_means_error
from dynsys.models.classics import Henon
from dynsys.plotting import convergence_figure, exponents_figure, field_figure, save_figure, signed_colours

HENON = Henon().tangent(backend="numpy")
X0, RUN = [0.1, 0.2], {"intervals": 64, "warmup": 10}


@pytest.fixture(scope="module")
def line():
    return sweep(HENON.benettin, {"a": [1.4, 3.0, 1.0, 1.2]}, X0, k=2, **RUN)


@pytest.fixture(scope="module")
def plane():
    return sweep(HENON.benettin, {"a": [0.5, 1.0, 1.4, 3.0], "b": [0.1, 0.2, 0.3]}, X0, **RUN)


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def test_sweep_of_one_parameter_shows_every_exponent_with_its_band(line, tmp_path):
    figure, data = exponents_figure(line)
    (axes,) = figure.axes
    assert labels(axes) == ("a (model units)", "Lyapunov exponents (1/time)")
    first, second, zero = axes.get_lines()
    assert zero.get_ydata() == [0.0, 0.0]
    assert first.get_linestyle() != second.get_linestyle()
    ordered = line.sortby("a")
    for j, shown in enumerate((first, second)):
        np.testing.assert_array_equal(shown.get_xdata(), [1.0, 1.2, 1.4, 3.0])
        np.testing.assert_array_equal(shown.get_ydata(), ordered.exponent_mean[:, j])
        corners = axes.collections[j].get_paths()[0].vertices[:, 1]
        value, band = ordered.exponent_mean[:3, j], ordered.standard_error[:3, j]
        assert np.isin(np.concatenate([value - band, value + band]), corners).all()
    with save_figure(figure, tmp_path / "sweep", data).with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["exponent"] for row in rows] == ["1"] * 4 + ["2"] * 4
    assert float(rows[2]["exponent_mean"]) == ordered.exponent_mean[2, 0]
    assert [row["status"] for row in rows[:4]] == [str(code) for code in ordered.status.values]


def test_units_of_a_parameter_are_those_that_it_is_given(line):
    runs = line.assign_coords(a=line.a.assign_attrs(long_name="force", units="N"))
    assert exponents_figure(runs)[0].axes[0].get_xlabel() == "force (N)"


def test_sweep_of_two_parameters_is_a_map_centred_on_zero(plane, tmp_path):
    figure, data = exponents_figure(plane)
    axes, bar = figure.axes
    assert labels(axes) == ("a (model units)", "b (model units)")
    assert bar.get_ylabel() == "largest exponent (1/time)"
    mesh = axes.collections[0]
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), plane.exponent_mean.max("exponent").values.T)
    assert mesh.norm.vmin == -mesh.norm.vmax < 0
    at = (data["a"] == 1.4) & (data["b"] == 0.3)
    assert data["largest_exponent"][at] == float(plane.exponent_mean.sel(a=1.4, b=0.3)[0])
    assert data["standard_error"][at] == float(plane.standard_error.sel(a=1.4, b=0.3)[0])
    assert np.isnan(data["largest_exponent"][data["a"] == 3.0]).all()
    save_figure(figure, tmp_path / "map", data)


def test_signed_colours_grow_lighter_all_the_way_and_are_grey_at_zero():
    shades = signed_colours()(np.linspace(0, 1, 256))[:, :3]
    luminance = shades @ [0.299, 0.587, 0.114]
    assert (np.diff(luminance) > 0).all()
    middle = signed_colours()(0.5)[:3]
    assert max(middle) - min(middle) < 0.02


def test_field_is_a_map_or_a_line():
    grid = {"y": [0.0, 0.1, 0.2], "x": [0.1, 0.2]}
    field = ftle_field(HENON, grid, at=X0, steps=5)
    figure, data = field_figure(field)
    axes, bar = figure.axes
    assert labels(axes) == ("y (model units)", "x (model units)")
    assert bar.get_ylabel() == "exponent over T = 5 (1/time)"
    np.testing.assert_array_equal(axes.collections[0].get_array(), field.largest_exponent.T)
    np.testing.assert_array_equal(data["largest_exponent"], field.largest_exponent.values.ravel())
    np.testing.assert_array_equal(data["x"], [0.1, 0.2] * 3)
    figure, data = field_figure(field.isel(x=0))
    (curve,) = figure.axes[0].get_lines()
    np.testing.assert_array_equal(curve.get_ydata(), field.largest_exponent[:, 0])
    assert len({len(column) for column in data.values()}) == 1


def test_convergence_shows_what_was_known_by_then():
    spectrum = HENON.benettin(X0, intervals=400)
    figure, data = convergence_figure(spectrum, known=[0.419217, np.nan])
    first, second = figure.axes
    assert second.get_xlabel() == "time since the warm-up (model units)"
    assert first.get_ylabel() == r"$\lambda_{1}$ (1/time)"
    assert [len(panel.get_lines()) for panel in (first, second)] == [2, 1]
    assert first.get_lines()[1].get_ydata() == [0.419217] * 2
    mine = data["exponent"] == 2
    time, mean, error = (data[name][mine] for name in ("time", "running_mean", "standard_error"))
    assert time[0] == 32
    assert time[-1] == 400
    assert abs(mean[-1] - spectrum.exponents[1]) < 1e-14
    assert error[-1] == spectrum.standard_error[1]
    for place in (0, 17):
        n = int(time[place])
        np.testing.assert_allclose(mean[place], spectrum.rates[:n, 1].mean(), rtol=1e-13)
        assert error[place] == batch_means_error(spectrum.rates[:n])[1]


def test_convergence_of_a_member_and_of_a_short_run():
    runs = HENON.benettin([X0, [0.0, 0.1]], intervals=12, k=1)
    _, data = convergence_figure(runs, member=1)
    np.testing.assert_allclose(data["running_mean"], runs.running_mean[1, :, 0], rtol=1e-13)
    assert np.isnan(data["standard_error"]).all()
    for wrong in ({}, {"member": 2}, {"member": 0, "known": [1.0, 2.0]}):
        with pytest.raises(InvalidInputError):
            convergence_figure(runs, **wrong)


def test_figures_draw_into_axes_of_ones_own(line):
    figure, (left, right) = plt.subplots(1, 2)
    assert exponents_figure(line, left)[0] is figure
    assert convergence_figure(HENON.benettin(X0, intervals=40, k=1), axes=right)[0] is figure
    with pytest.raises(InvalidInputError, match="2 axes"):
        convergence_figure(HENON.benettin(X0, intervals=40), axes=left)
    for shown in (*left.get_lines(), *right.get_lines()):
        red, green, blue = to_rgb(shown.get_color())
        assert red == green == blue
    plt.close(figure)


@pytest.mark.parametrize("draw", [exponents_figure, field_figure])
def test_other_datasets_are_refused(draw, line):
    with pytest.raises(InvalidInputError, match="draws what"):
        draw(line[["status"]])


def test_three_parameters_are_refused_with_the_remedy(plane):
    with pytest.raises(InvalidInputError, match="isel"):
        exponents_figure(plane.expand_dims(c=[1.0, 2.0]))
