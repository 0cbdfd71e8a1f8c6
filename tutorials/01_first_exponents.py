# %% [markdown]
# # First exponents
#
# Start a system twice, from two states that differ by almost nothing. Do the two runs stay together, or do they drift
# apart, and how fast? The answer decides how long a forecast can be trusted, and a Lyapunov exponent is that answer
# in one number: the rate at which a tiny separation grows, as a natural logarithm per unit of time. A number without
# an error bar is a rumour, so this tutorial asks two things: what is an exponent, and how well do we know it?
#
# Needed: Python, NumPy, and what a differential equation is.
#
# Run it with `python tutorials/01_first_exponents.py`, or cell by cell in an editor that knows `# %%`. Its figures need
# Matplotlib, its numbers do not; the later tutorials need the extra `study` (`pip install '.[study]'`).

# %%
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import attrs
import numpy as np

from dynsys import RK4, DiagnosticWarning, Flow, LyapunovSpectrum, SymbolicFlow
from dynsys.indicators import batch_means_error
from dynsys.models.classics import Lorenz63
from dynsys.testing import check_system

pictures = find_spec("matplotlib") is not None  # where it is missing there are the numbers alone
if pictures:
    import matplotlib.pyplot as plt

lorenz = Lorenz63()
stepper = RK4(dt=0.01)
print(lorenz)

# %% [markdown]
# ## Two trajectories that part
#
# Before any theory, look. A system is a frozen record of its parameters; states are arguments. So many runs are simply
# many rows of one array, and a stepper moves them all at once. We let a crowd of states settle on the attractor, give
# each of them a neighbour at a tiny distance, and follow the distances.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(400, 3))
for n in range(3000):
    x = stepper.step(lorenz, n, n * stepper.dt, x)

separation = 1e-10
offset = rng.normal(size=x.shape)
neighbour = x + separation * offset / np.linalg.norm(offset, axis=1, keepdims=True)
distances = [np.linalg.norm(neighbour - x, axis=1)]
for n in range(3500):
    x, neighbour = (stepper.step(lorenz, n, n * stepper.dt, state) for state in (x, neighbour))
    distances.append(np.linalg.norm(neighbour - x, axis=1))
log_distance = np.log(distances)  # (time, pair)
pair_times = stepper.dt * np.arange(len(log_distance))

# %% [markdown]
# Each pair has good and bad times, but the logarithm of its distance climbs along a straight line until it feels the
# size of the attractor. The slope is the largest exponent. We read it where the separations have turned into the
# direction of fastest growth and are still tiny, one slope per pair; the scatter of the pairs gives the error bar.

# %%
early, late = 500, 1500  # steps
slopes = (log_distance[late] - log_distance[early]) / (pair_times[late] - pair_times[early])
slope, slope_error = slopes.mean(), slopes.std(ddof=1) / np.sqrt(len(slopes))
print(f"from pairs: {slope:.4f} ± {slope_error:.4f} per unit of time")

# %%
if pictures:
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    axes.semilogy(pair_times, np.exp(log_distance[:, 0]), color="0.65", lw=1.0, label="one pair")
    axes.semilogy(pair_times, np.exp(log_distance.mean(axis=1)), color="black", lw=1.5, label="all pairs, mean of ln")
    middle = slice(early, late + 700)
    line = log_distance[early].mean() + slope * (pair_times[middle] - pair_times[early])
    above = 100.0  # drawn above the data, or it would hide under them
    axes.semilogy(pair_times[middle], above * np.exp(line), "k--", label=r"slope of $\exp(\lambda t)$")
    axes.set(xlabel="time $t$ (model units)", ylabel="distance (model units)", title="Neighbours part exponentially")
    axes.legend()
    plt.show()

# %% [markdown]
# This method has its limits. The growth must be read before it saturates, so every run is short; and only the fastest
# direction can be seen, because every separation turns into it.
#
# ## Tangent vectors and Benettin's algorithm
#
# Both limits go away if the separation is made infinitely small: then it obeys the *linearised* equations, may grow
# for ever, and can be rescaled whenever we like. `tangent` is the system under a stepper together with the exact
# derivative of its step. Benettin's algorithm pushes a whole frame of tangent vectors and, at the end of every
# interval, makes it orthonormal again, V = QR. The logarithms of the diagonal of R say how much each direction grew
# in that interval; divided by the length of the interval they are the *rates*, and their mean over time is the
# spectrum.
#
# The frame starts at random and needs a while to align. That is what the warm-up is for: its intervals do not count.

# %%
tangent = lorenz.tangent(stepper)
run = {"intervals": 20_000, "steps_per_interval": 10, "warmup": 1_000, "seed": 0}
spectrum = tangent.benettin([1.0, 1.0, 1.0], **run)

for exponent, error in zip(spectrum.exponents, spectrum.standard_error, strict=True):
    print(f"{exponent:10.4f} ± {error:.4f}")
assert abs(spectrum.exponents[0] - slope) < 4 * np.hypot(spectrum.standard_error[0], slope_error)

# %% [markdown]
# Three exponents, in the order of the frame: one positive (neighbours part: chaos), one close to zero, one strongly
# negative (the flow squeezes volumes flat). The first agrees with the slope of the pairs, which knows nothing of
# tangent vectors.
#
# ## Where the error bar comes from
#
# An exponent is a mean over a long run, and the run ends. The textbook error of a mean is the standard deviation over
# the square root of the number of terms, but that holds for *independent* terms, and successive rates are not: the
# trajectory circles, and a stretch of fast growth is followed by one of slow growth. The remedy is to look at *slow
# waves*: weight the rates with cosines of half a period in the record, of one, and so on to sixteen. As long as a wave
# is slow compared with the memory of the system, the weighted mean scatters just as the mean itself does, and 32 of
# them show how much. The sharp ends of the record are counted too (`batch_means_error` has the formulas, and
# docs/benettin.md says why they hold).

# %%
naive = spectrum.rates.std(axis=0, ddof=1) / np.sqrt(len(spectrum.rates))
print("naive error       ", naive.round(4))
print("from slow waves   ", spectrum.standard_error.round(4))

# %% [markdown]
# They differ by a large factor. Which one is true? Ask the system: repeat the experiment from many starts and look at
# how much the results really scatter. States of shape (members, dim) run side by side, and every array of the result
# gets a member axis in front. `k=2` follows the two leading exponents only, which is cheaper.

# %%
members, intervals = 48, 20_000
repeat = tangent.benettin(x[:members], intervals=intervals, steps_per_interval=10, warmup=200, k=2, seed=1)
rates = repeat.rates[..., 0]  # (member, interval)
lengths = np.geomspace(500, intervals, 7).round().astype(int)  # the same question to shorter records
scatter, waves, independent = np.array(
    [
        (
            rates[:, :n].mean(axis=1).std(ddof=1),
            np.sqrt(np.mean(batch_means_error(rates[:, :n, None]) ** 2)),
            np.sqrt(np.mean(rates[:, :n].var(axis=1, ddof=1)) / n),
        )
        for n in lengths
    ]
).T
length = repeat.dt * repeat.steps_per_interval  # of an interval, in units of time
doubt = 1 / np.sqrt(2 * (members - 1))  # relative error of a standard deviation from so many members
print(f"error / scatter (± {doubt:.0%})    slow waves   naive")
for n, wave_ratio, naive_ratio in zip(lengths, waves / scatter, independent / scatter, strict=True):
    print(f"T = {length * n:<6.0f} {wave_ratio:30.1f} {naive_ratio:9.1f}")

# %%
if pictures:
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    axes.loglog(length * lengths, independent, "k:o", mfc="white", label="naive error")
    axes.loglog(length * lengths, waves, "k--s", label="slow waves")
    axes.errorbar(
        length * lengths, scatter, doubt * scatter, fmt="k-", capsize=3, label="scatter of the runs (the truth)"
    )
    axes.set(
        xlabel="length of the run (model units)",
        ylabel=r"error of $\lambda_1$ (1/time)",
        title="What an error is worth",
    )
    axes.legend()
    plt.show()

# %% [markdown]
# The naive error stays wrong by a large factor however long the run. That of slow waves approaches the truth from
# above, and reaches it: in a short record the waves are not yet slow, and the claim is too cautious here. (Where rates
# wander slowly, both err on the other side.) If you can afford independent runs, their scatter is the best
# error bar of all; it is the one that the end of this tutorial uses.

# %%
assert abs(waves[-1] / scatter[-1] - 1) < 4 * doubt  # the truth, in the long run
assert waves[0] / scatter[0] > 1 + 4 * doubt  # too cautious in a short one
assert np.all(independent / scatter > 1 + 4 * doubt)  # the naive error misses at every length

# %% [markdown]
# ## Has it converged?
#
# The running mean shows the estimate as it was known at each time; with its error bar it shows what could have been
# said then. In the long run the band narrows like one over the square root of time, so every further digit is
# expensive.

# %%
counts = np.geomspace(500, len(spectrum.times), 60).astype(int)
mean = spectrum.running_mean[counts - 1, 0]
band = np.array([batch_means_error(spectrum.rates[:count])[0] for count in counts])
elapsed = counts * spectrum.steps_per_interval * spectrum.dt

# %%
if pictures:
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    axes.fill_between(elapsed, mean - band, mean + band, color="0.8", label="± standard error")
    axes.semilogx(elapsed, mean, color="black", label="running mean")
    axes.axhline(spectrum.exponents[0], color="black", ls="--", lw=1, label="whole record")
    axes.set(xlabel="time since the warm-up (model units)", ylabel=r"$\lambda_1$ (1/time)", title="How sure, and when")
    axes.legend()
    plt.show()

# %% [markdown]
# ## What must be true, whatever the statistics
#
# Two facts about this system hold exactly and make good alarms.
#
# *The sum.* Volumes in phase space change at the rate of the trace of the Jacobian, which for Lorenz' equations is
# the constant −(σ + 1 + β). So the exponents must sum to it. There is no scatter in that sum, and yet it is not exact
# to the last digit: the numerical step squeezes volumes a little differently from the flow. That difference belongs
# to the stepper and must fall with the fourth power of dt, Runge-Kutta's order.

# %%
trace = -(lorenz.sigma + 1 + lorenz.beta)
defects = []
for dt in (0.02, 0.01, 0.005):
    steps = round(0.1 / dt)
    same = lorenz.tangent(RK4(dt)).benettin([1.0, 1.0, 1.0], intervals=2_000, steps_per_interval=steps, warmup=200)
    defects.append(same.exponents.sum() - trace)
    print(f"dt = {dt:<6} sum − trace = {defects[-1]:.3e}")
orders = np.log2(np.abs(defects[:-1]) / np.abs(defects[1:]))
print("observed order", orders.round(2))
assert np.all(np.abs(orders - 4) < 0.2)

# %% [markdown]
# *The zero.* A shift along the trajectory is the same trajectory a moment later: it neither grows nor shrinks, so one
# exponent of a flow that does not come to rest vanishes. Every spectrum of an autonomous flow is checked against it
# (`vanishing_exponents`).

# %%
print(f"second exponent {spectrum.exponents[1]:.5f} ± {spectrum.standard_error[1]:.5f}")
assert abs(spectrum.exponents[1]) < 4 * spectrum.standard_error[1]

# %% [markdown]
# ## The diagnostics
#
# These checks, and more, come with every result. `drift`: do the two halves of the record agree, in standard
# errors? `determinant_defect`: do the growths of the first interval add up to log|det| of the same steps, found
# another way? `vanishing`: how far from zero, in errors, is what should vanish? `derivative` says where the
# Jacobian came from. The tangent is the exact derivative of the *step*, and whether the step represents the flow is
# another question: `step_error` takes some intervals from all over the run again, in steps half as long, and says by
# how much each exponent changes; `divergence_defect` compares volumes with the trace of the Jacobian. When a check
# fails, one warning says so, with the remedy.

# %%
print(spectrum.diagnostics)
assert spectrum.diagnostics.determinant_defect < 1e-12
assert np.all(np.abs(spectrum.diagnostics.step_error) < spectrum.standard_error)

# %% [markdown]
# To see one fail, take steps that are five times as long. We catch the warning here to print it; left alone it would
# appear on the screen.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    coarse = lorenz.tangent(RK4(dt=0.05)).benettin([1.0, 1.0, 1.0], **run)
assert [type(w.message) for w in caught] == [DiagnosticWarning]
print("warning:", caught[0].message)

# %% [markdown]
# ## What kind of motion
#
# `regime` reads it off the exponents and all of their error, with the reason; `print` begins with it. With a smaller ρ
# the flow spirals into a fixed point: nothing moves along the trajectory any more, and no exponent vanishes. The
# exponents are then the real parts of the eigenvalues of the Jacobian there, which `diagnostics.rest` has.

# %%
at_rest = attrs.evolve(lorenz, rho=10.0).tangent(stepper).benettin([1.0, 1.0, 1.0], **run)
for one in (spectrum, at_rest):
    print(f"{one.regime}: {one.regime.reason}")
assert (spectrum.regime, at_rest.regime) == ("chaotic", "at rest")
print("exponents at rest", at_rest.exponents.round(4), "eigenvalues", at_rest.diagnostics.rest.round(4))

# %% [markdown]
# ## Keep it, and go on from it
#
# A result is a frozen record. It can be saved and loaded without loss, and `end` holds everything needed to carry on:
# the state, the frame, the clock. A run in two parts is the same run, to the last bit.

# %%
first_part = tangent.benettin([1.0, 1.0, 1.0], intervals=600, steps_per_interval=10, warmup=1_000, seed=0)
with tempfile.TemporaryDirectory() as folder:
    file = first_part.save(Path(folder) / "lorenz.npz")
    loaded = LyapunovSpectrum.load(file)
second_part = tangent.benettin(loaded.end, intervals=400, steps_per_interval=10)
joined = np.concatenate([loaded.rates, second_part.rates])
assert np.array_equal(joined, spectrum.rates[:1000])
print("joined record equals the long one:", joined.shape)

# %% [markdown]
# ## Your own system
#
# *From equations.* Write them down; SymPy derives the Jacobian, and the same text is run by NumPy or compiled by
# Numba. Here a damped pendulum under a periodic force; `t` is the time. It has no zero exponent, because the force
# makes one moment different from the next, but its trace is minus the damping, so again the sum is known.

# %%
pendulum = SymbolicFlow.of(
    {"angle": "velocity", "velocity": "-sin(angle) - damping*velocity + force*cos(rate*t)"},
    {"damping": 0.5, "force": 1.5, "rate": 2 / 3},
)
swinging = pendulum.tangent(RK4(dt=0.05)).benettin([0.1, 0.0], intervals=20_000, steps_per_interval=10, warmup=1_000)
print("pendulum", swinging.exponents.round(4), "±", swinging.standard_error.round(4))
assert swinging.exponents[0] > 4 * swinging.standard_error[0]  # chaos, beyond the error bar
excess = swinging.exponents.sum() + pendulum.damping
print(f"sum + damping = {excess:.1e}; dt⁴ = {swinging.dt**4:.1e}")
assert abs(excess) < swinging.dt**4

# %% [markdown]
# *As a class.* Anything that NumPy can compute will do: a subclass of `Flow` with its parameters as fields, the
# dimension and the vector field, over any leading axes. The Jacobian of one state is optional but exact; without it
# derivatives are finite differences, and a warning says so. `check_system` checks that the class keeps its contract,
# and finds a wrong entry of the Jacobian. Such a class needs no compiler, and gives the same numbers.


# %%
@attrs.frozen(eq=False)
class Pendulum(Flow):
    damping: float = 0.5
    force: float = 1.5
    rate: float = 2 / 3
    dimension = 2

    def vector_field(self, t, x):
        angle, velocity = x[..., 0], x[..., 1]
        return np.stack([velocity, -np.sin(angle) - self.damping * velocity + self.force * np.cos(self.rate * t)], -1)

    def jacobian(self, t, x):
        return np.array([[0.0, 1.0], [-np.cos(x[0]), -self.damping]])


check_system(Pendulum(), np.array([0.3, -0.2]))
short = {"intervals": 50, "steps_per_interval": 10, "warmup": 10}
from_class = Pendulum().tangent(RK4(dt=0.05)).benettin([0.1, 0.0], **short)
from_equations = pendulum.tangent(RK4(dt=0.05)).benettin([0.1, 0.0], **short)
difference = np.abs(from_class.rates - from_equations.rates).max()
print(f"class and equations agree to {difference:.0e}")
assert difference < 1e-9

# %% [markdown]
# ## Exercises
#
# 1. How much longer a run is needed for one more digit of λ₁?
# 2. How much longer is a forecast with a thermometer that is ten times as good? Ask the pairs.
# 3. `repeat` followed two exponents only. What is the third?
#
# ## Answers
#
# *1.* A hundred times, in the end, when the error falls like one over the square root of the length. In runs as short
# as these it falls faster: what happens to be cut off at the ends of the record still weighs, like one over the length.

# %%
power = np.polyfit(np.log(lengths), np.log(scatter), 1)[0]
print(f"error ∝ length^{power:.2f}: one digit for {10 ** (-1 / power):.0f} times the length")
assert -1 < power < -0.45

# %% [markdown]
# *2.* By ln 10/λ₁, some two and a half units of time, however good it was before: this is why weather forecasts get
# longer so slowly. The mean of the logarithms gains a power of ten in about that time.

# %%
mean_log = log_distance.mean(axis=1)
passed = [pair_times[np.argmax(mean_log > np.log(limit))] for limit in (1e-8, 1e-5)]
print(f"a power of ten in {(passed[1] - passed[0]) / 3:.2f} units of time; ln 10/λ1 = {np.log(10) / slope:.2f}")
assert abs((passed[1] - passed[0]) / 3 / (np.log(10) / slope) - 1) < 0.1

# %% [markdown]
# *3.* The trace minus the other two: nothing else had to be computed.

# %%
third = trace - repeat.exponents.sum(axis=1).mean()
print(f"third exponent: {third:.3f} from the sum, {spectrum.exponents[2]:.3f} measured")
assert abs(third - spectrum.exponents[2]) < 4 * spectrum.standard_error[2]

# %% [markdown]
# ## The headline
#
# The largest exponent of the Lorenz system against the value in the literature (J. C. Sprott, *Chaos and Time-Series
# Analysis*, 2003): once from the single long run with its error, once from the independent runs with their
# scatter. Four standard errors either way: another machine rounds differently, follows another trajectory and gets
# another number, but it must not be further off than its own error bar allows.

# %%
literature = 0.9056
best = repeat.exponents[:, 0].mean()
best_error = repeat.exponents[:, 0].std(ddof=1) / np.sqrt(members)
print(f"one run       λ1 = {spectrum.exponents[0]:.4f} ± {spectrum.standard_error[0]:.4f}")
print(f"{members} runs       λ1 = {best:.4f} ± {best_error:.4f}")
print(f"literature    λ1 = {literature}")
assert abs(spectrum.exponents[0] - literature) < 4 * spectrum.standard_error[0]
assert abs(best - literature) < 4 * best_error
