# %% [markdown]
# # Your own system
#
# You have equations on paper, or a script that integrates them, and a question: is this chaos, how sure is that, and
# where in parameters and initial states does it begin? Between the equations and a number fit to print there are
# three errors that nobody sees by looking: a derivative that is not that of the equations, a run that is too short
# for its last digit, and one parameter value that happens to be special. This tutorial goes from paper to a spectrum
# that has been checked for each of them, and then to the two things that you will want next: a sweep and a map.
#
# Needed from before: exponents, their errors and diagnostics (tutorial 1), and nothing of learning networks.
#
# Run it with `python tutorials/06_your_own_system.py`, or cell by cell in an editor that knows `# %%`.

# %%
import tempfile
import warnings
from pathlib import Path

import attrs
import matplotlib.pyplot as plt
import numpy as np
from sympy import cos, symbols

from dynsys import RK4, ContractError, FallbackWarning, FunctionFlow, SymbolicFlow, ftle_field, sweep
from dynsys.plotting import convergence_figure, exponents_figure, field_figure, save_figure
from dynsys.testing import check_system, check_tangent

# %% [markdown]
# ## From paper to a system
#
# A steel beam between two magnets, shaken by a periodic force, is Duffing's oscillator:
#
#     x'' + δ x' − x + x³ = F cos(1.2 t)
#
# A system is of first order, so the velocity becomes a second component. Then the equations can be typed as they
# stand: the name of each component with its right-hand side, the parameters with their values, and `t` for the time.

# %%
beam = SymbolicFlow.of(
    {"x": "v", "v": "x - x**3 - damping*v + force*cos(1.2*t)"},
    {"damping": 0.3, "force": 0.45},
)
print(beam, "\n", beam.jacobian(0.0, np.array([1.0, 0.0])))

# %% [markdown]
# Or with SymPy, if the equations come out of a derivation. It is the same system, to the last bit. In both cases
# SymPy finds the Jacobian, so that the most common error of all cannot be made, and Numba compiles value and Jacobian
# together.

# %%
x, v, damping, force, t = symbols("x v damping force t")
same = SymbolicFlow.of({x: v, v: x - x**3 - damping * v + force * cos(1.2 * t)}, {damping: 0.3, force: 0.45})
state = np.array([0.3, -0.2])
assert np.array_equal(same.vector_field(0.7, state), beam.vector_field(0.7, state))

# %% [markdown]
# ## From a script to a system
#
# Perhaps the equations exist as a function for `scipy.integrate.solve_ivp`. It can stay as it is. The Jacobian, if you
# have one, has the same arguments.


# %%
def duffing(t, state, damping, force):
    x, v = state
    return [v, x - x**3 - damping * v + force * np.cos(1.2 * t)]


def duffing_jacobian(t, state, damping, force):
    x = state[0]
    return [[0.0, 1.0], [1.0 - 3.0 * x**2, -damping]]


script = FunctionFlow(duffing, 2, duffing_jacobian, args=(0.3, 0.45))

# %% [markdown]
# A stepper turns the flow into a map. Its step is a hundredth of the period of the force: then times at which the
# force is the same are whole numbers of steps. Both systems, over a short run (a long one is chaotic, and rounding
# would drive them apart):

# %%
period = 2 * np.pi / 1.2
stepper = RK4(dt=period / 100)
short = {"intervals": 60, "steps_per_interval": 20, "warmup": 10}
from_equations = beam.tangent(stepper).benettin([0.5, 0.0], **short)
from_script = script.tangent(stepper).benettin([0.5, 0.0], **short)
print(f"script and equations differ by {np.abs(from_script.rates - from_equations.rates).max():.0e}")
assert np.allclose(from_script.rates, from_equations.rates, atol=1e-9)

# %% [markdown]
# It also runs without a Jacobian. The function is *traced*: called once with symbols in the place of numbers, it writes
# down its own equations, which are held against it at random states, differentiated, and compiled. These are the
# equations above again:

# %%
traced = FunctionFlow(duffing, 2, args=(0.3, 0.45))
print(traced.derivative, traced.equations.right_sides)
from_trace = traced.tangent(stepper).benettin([0.5, 0.0], **short)
print(f"trace and equations differ by {np.abs(from_trace.rates - from_equations.rates).max():.0e}")
assert traced.derivative == "traced"
assert np.allclose(from_trace.rates, from_equations.rates, atol=1e-9)

# %% [markdown]
# A function that branches on its state, or calls a solver, cannot be traced. Then derivatives are finite differences,
# with a step for each direction, and `tangent` warns: you should know where the derivatives come from, and many
# evaluations are slow. Left alone the warning would appear on the screen; here it is caught, to print it.


# %%
def branching(t, state, damping, force):
    x, v = state
    return [v, (x - x**3 if abs(x) < 2 else -6 - 11 * (x - 2)) - damping * v + force * np.cos(1.2 * t)]


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    differences = FunctionFlow(branching, 2, args=(0.3, 0.45)).tangent(stepper)
assert [w.category for w in caught] == [FallbackWarning]
print("warning:", caught[0].message)
from_differences = differences.benettin([0.5, 0.0], **short)
print(f"differences and equations differ by {np.abs(from_differences.rates - from_equations.rates).max():.0e}")
assert np.allclose(from_differences.rates, from_equations.rates, atol=1e-7)

# %% [markdown]
# ## Check before you believe
#
# `check_system` checks near a state that a system keeps its contract: it keeps shapes, it is a pure function, and its
# Jacobian is the derivative of its equations. `check_tangent` does the same for the numerical step. They say nothing
# if all is well, and belong in the tests of your system.

# %%
for system in (beam, script):
    check_system(system, state, t=0.7)
    check_tangent(system.tangent(stepper), state)

# %% [markdown]
# What they are for: here is the Jacobian again, with the factor of a derivative forgotten.


# %%
def wrong_jacobian(t, state, damping, force):
    x = state[0]
    return [[0.0, 1.0], [1.0 - x**2, -damping]]  # d(x³)/dx is not x²


wrong = FunctionFlow(duffing, 2, wrong_jacobian, args=(0.3, 0.45))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    untrue = wrong.tangent(stepper).benettin([0.5, 0.0], **short)
print("with the wrong Jacobian", untrue.exponents.round(3), "sum", untrue.exponents.sum().round(6))
print("with the right one     ", from_script.exponents.round(3), "sum", from_script.exponents.sum().round(6))
print("determinant defect     ", untrue.diagnostics.determinant_defect)

# %% [markdown]
# The numbers do not look wrong: two exponents of plausible size, whose sum is right, because the error is not on the
# diagonal of the Jacobian; and the determinants agree, because both sides use the same wrong derivative. Only the
# function itself can tell, and so every run asks it, by one finite difference near its start:

# %%
print("warning:", caught[0].message)
print("derivative defect      ", untrue.diagnostics.derivative_defect, "and of the right one", end=" ")
print(from_script.diagnostics.derivative_defect)
assert untrue.diagnostics.derivative_defect > 0.01
assert from_script.diagnostics.derivative_defect == 0.0

# %% [markdown]
# Where the error is, `check_system` says.

# %%
assert abs(untrue.exponents.sum() + 0.3) < 1e-3
assert untrue.diagnostics.determinant_defect < 1e-12
try:
    check_system(wrong, state)
except ContractError as problem:
    print("check_system:", problem)
    refused = True
assert refused

# %% [markdown]
# ## The spectrum, with its error, and what must be true
#
# Two exponents, from a long run. A driven flow has no zero exponent: one moment differs from the next, so a shift
# along the trajectory is no symmetry. But areas shrink at the constant rate −δ, the trace of the Jacobian, so the
# exponents must sum to −δ: exactly, up to the error of the stepper, which falls with the fourth power of its step.

# %%
tangent = beam.tangent(stepper)
spectrum = tangent.benettin([0.5, 0.0], intervals=15_000, steps_per_interval=20, warmup=1_000)
for exponent, error in zip(spectrum.exponents, spectrum.standard_error, strict=True):
    print(f"{exponent:9.4f} ± {error:.4f} per unit of time")
excess = []
for steps in (100, 200, 400):  # in a period
    run = beam.tangent(RK4(period / steps)).benettin([0.5, 0.0], intervals=2_000, steps_per_interval=steps // 5)
    excess.append(run.exponents.sum() + beam.damping)
print("sum + damping for ever shorter steps:", " ".join(f"{value:.1e}" for value in excess))
orders = np.log2(np.abs(excess[:-1]) / np.abs(excess[1:]))
print("observed order", orders.round(1))
assert np.all(np.abs(orders - 4) < 0.5)

# %% [markdown]
# Is the run long enough? `convergence_figure` shows the mean as it was known at each time, with the error bar that
# could have been given *then*, from the record up to that time alone. If the curve ended several widths outside an
# early band, that band would have been a false claim.

# %%
figure, axes = plt.subplots(2, figsize=(6.4, 4.6), sharex=True, layout="constrained")
convergence_figure(spectrum, axes=axes)
plt.show()

# %% [markdown]
# ## A sweep: is this parameter special?
#
# One value of the force is one point on a line along which chaos and periodic motion alternate. `sweep` runs the same
# algorithm at every point, on all cores. The points are members of an ensemble, each with its own force: sixteen of
# them share the vector registers of a core, and their numbers are the same bits on any number of cores. Nothing is
# compiled again, because parameters are passed to the kernel as numbers. The result is labelled, and `status` marks
# points that stopped.
#
# A check that fails would warn once, with the number of points. None does, also where motion is periodic and nothing
# scatters at all. There a record that ends within a period is off by what the growth has gained or lost since the
# last whole one, and the error is of that size: it falls with the length of the record, not with its root. (What no
# record shows is what comes after it: a chaotic transient that outlives it looks like chaos.)

# %%
forces = np.linspace(0.2, 0.65, 181)
runs = sweep(
    tangent.benettin, {"force": forces}, [0.5, 0.0], intervals=1_000, steps_per_interval=20, warmup=400, seed=0
)
print(dict(runs.exponent_mean.sizes), "units:", runs.exponent_mean.units)
assert (runs.status == 0).all()

alone = attrs.evolve(beam, force=forces[100]).tangent(stepper)
alone = alone.benettin([0.5, 0.0], intervals=1_000, steps_per_interval=20, warmup=400, seed=0)
apart = abs(alone.exponents[0] - float(runs.exponent_mean[100, 0]))  # another arrangement: chaos amplifies rounding
assert apart < 4 * np.hypot(alone.standard_error[0], float(runs.standard_error[100, 0]))

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
figure, data = exponents_figure(runs, axes)
axes.set_title("Where the beam is chaotic")
with tempfile.TemporaryDirectory() as folder:
    print("saved", save_figure(figure, Path(folder) / "forces", data).name, "and, beside it, the numbers that it shows")
plt.show()

# %% [markdown]
# The figure has the sum rule in it: the curves are mirror images about −δ/2. On a plateau at −δ/2 both exponents are
# equal: neighbours spiral into a periodic orbit. Where λ₁ touches zero from below, the orbit doubles its period;
# where it stays above, the motion is chaotic, with windows of order in between, more of them than there are points.
# "Chaotic" needs the error bar: λ₁ must be above zero by several standard errors.

# %%
first = runs.exponent_mean.sel(exponent=1)
chaotic = first > 4 * runs.standard_error.sel(exponent=1)
print(f"chaotic, beyond four standard errors: {int(chaotic.sum())} of {len(forces)} forces")
np.testing.assert_allclose(runs.exponent_mean.sum("exponent"), -beam.damping, atol=1e-5)
calm, error = (float(values.sel(force=0.2, exponent=1)) for values in (runs.exponent_mean, runs.standard_error))
print(f"on the first plateau {calm:.4f} ± {error:.4f}, and it is {-beam.damping / 2} exactly")
assert abs(calm + beam.damping / 2) < 2 * error < 0.01
assert chaotic.sel(force=beam.force, method="nearest")
assert not chaotic.sel(force=0.2)

# %% [markdown]
# ## A map: which initial states are sensitive?
#
# At a weak force there is no chaos: in the end the beam swings about one magnet, or about the other. But which? States
# near the border between the two are sensitive for a while, although every exponent in the long run is negative. What
# is asked here is the growth over a *finite* time, from every state of a grid: the logarithm of the largest singular
# value of the tangent map over six periods. Its ridges are the borders.

# %%
weak = attrs.evolve(beam, force=0.2).tangent(stepper)
plane = {"x": np.linspace(-2, 2, 160), "v": np.linspace(-2, 2, 160)}
field = ftle_field(weak, plane, at=[0.0, 0.0], steps=600)
print(f"largest on the grid {float(field.largest_exponent.max()):.2f}, in the long run {float(first[0]):.2f} per time")

figure, axes = plt.subplots(figsize=(6.4, 4.8), layout="constrained")
field_figure(field, axes)
axes.set_title("Sensitive for six periods, though nothing is chaotic")
plt.show()

# %% [markdown]
# Is a ridge a border? Follow all states until they have settled, look around which magnet they swing (the sign of the
# mean position over a period), and ask how large the growth is at states that have a neighbour with another end.

# %%
starts = np.stack(np.meshgrid(*plane.values(), indexing="ij"), axis=-1).reshape(-1, 2)[::4]
settled = weak.trajectory(starts, intervals=10, steps_per_interval=10, warmup=600)
side = np.sign(settled.states[..., 0].mean(axis=1)).reshape(160, 40)  # every fourth v
at_border = side[1:] != side[:-1]
growth = field.largest_exponent.values[:, ::4]
growth = np.maximum(growth[1:], growth[:-1])
print(f"mean exponent at the border {growth[at_border].mean():.2f}, elsewhere {growth[~at_border].mean():.2f} per time")
assert growth[at_border].mean() > growth[~at_border].mean() + 0.1

# %% [markdown]
# ## Exercises
#
# 1. Forget a sign on the *diagonal* of the Jacobian. Which check finds it now, besides `check_system`?
# 2. Areas shrink by exp(−δT) from every state, whatever happens. What does that say about `smallest_exponent`?
# 3. Sweep force *and* damping. What changes in the call, and in the figure?
# 4. Start the sweep from another state, and compare. Where do the curves differ, and is that an error?
#
# ## Answers
#
# 1. The sum rule. (Not the determinants of the diagnostics: they are those of the same wrong Jacobian.)
# 2. It is −δ minus the largest, at every state; the next cell looks.
# 3. `values` has two entries, and the result two dimensions; `exponents_figure` draws a map of the largest exponent,
#    in colours centred on zero.
# 4. Where two attractors coexist the start decides which is seen: λ belongs to an attractor, not to a parameter. Where
#    there is one, the curves differ by their errors.

# %%
np.testing.assert_allclose(field.largest_exponent + field.smallest_exponent, -beam.damping, atol=1e-5)
two = sweep(tangent.benettin, {"force": [0.2, 0.45], "damping": [0.3, 0.6]}, [0.5, 0.0], intervals=400, seed=0)
print(two.exponent_mean.dims, two.exponent_mean.sum("exponent").values.round(3))

# %% [markdown]
# ## The headline
#
# The largest exponent of the beam: from one run with its error, and from many independent starts with their
# scatter. They know nothing of each other and agree within their errors; and it is far above zero.

# %%
members = 24
x0 = np.random.default_rng(0).normal(size=(members, 2))
repeat = tangent.benettin(x0, intervals=3_000, steps_per_interval=20, warmup=500)
best, best_error = repeat.exponents[:, 0].mean(), repeat.exponents[:, 0].std(ddof=1) / np.sqrt(members)
print(f"one run   λ1 = {spectrum.exponents[0]:.4f} ± {spectrum.standard_error[0]:.4f}")
print(f"{members} runs   λ1 = {best:.4f} ± {best_error:.4f}")
assert spectrum.exponents[0] > 20 * spectrum.standard_error[0]
assert abs(spectrum.exponents[0] - best) < 4 * np.hypot(spectrum.standard_error[0], best_error)
