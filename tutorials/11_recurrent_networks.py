# %% [markdown]
# # Recurrent networks at the edge of chaos
#
# A recurrent network feeds on its own output: h' = tanh(g J h), again and again. That is a dynamical system, with as
# many exponents as units, before anybody trains anything. With weak weights it falls silent; with strong ones it is
# chaotic: two states that are almost equal soon have nothing in common. In between it is said to compute best. This
# tutorial asks three questions, and answers them with numbers: where is the edge, and how sure is that? How much of a
# large network is chaotic? And what does a network that listens to an input remember, on either side of the edge?
#
# Needed from before: exponents, their errors and the Kaplan-Yorke dimension (tutorial 1), sweeps (tutorial 6). Nothing
# learns here: the weights are drawn at random, and stay as they are.
#
# Run it with `python tutorials/11_recurrent_networks.py`, or cell by cell in an editor that knows `# %%`.

# %%
import attrs
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq

from dynsys import SingularTangentError, sweep, vary
from dynsys.models.networks import RNN, InputSeries, mean_field_exponent
from dynsys.testing import check_system

# %% [markdown]
# ## A random network
#
# `RNN.random` draws the weights J independently, with variance 1/N, and multiplies them by the gain g. It is a map
# like any other: time is the number of steps, exponents are rates per step.

# %%
network = RNN.random(100, gain=3.0, seed=0)
h = 0.3 * np.random.default_rng(0).normal(size=100)
check_system(network, h)
tangent = network.tangent()
spectrum = tangent.benettin(h, intervals=1_000, warmup=200)
print(network)
for j in (0, 1, 2, 99):
    print(f"exponent {j + 1:3}: {spectrum.exponents[j]:8.4f} ± {spectrum.standard_error[j]:.4f} per step")

# %% [markdown]
# The first is positive, beyond doubt: this network is chaotic. Is all that right? One thing is known exactly. The
# tangent of a step is diag(1 − h'²) g J, and its determinant is a product; so all exponents add up to
#
#     N ln g + ln|det J| + ⟨Σ ln(1 − h'²)⟩,
#
# and the last term needs nothing but the states of the run.

# %%
states = tangent.trajectory(h, intervals=1_000, warmup=200).states
volume = 100 * np.log(3.0) + np.linalg.slogdet(network.W)[1] + np.log1p(-(states**2)).sum(axis=1).mean()
print(f"sum of the exponents {spectrum.exponents.sum():.6f}, from the states alone {volume:.6f}")
assert abs(spectrum.exponents.sum() - volume) < 1e-6

# %% [markdown]
# ## Where is the edge?
#
# For infinitely many units theory gives the exponent without any run. The arguments of tanh are then Gaussian; their
# variance Δ must reproduce itself, and a disturbance grows by what tanh leaves of it:
#
#     Δ = g² ⟨tanh²(√Δ z)⟩,        λ₁ = ½ ln(g² ⟨sech⁴(√Δ z)⟩),        z standard normal.
#
# For g ≤ 1 that is Δ = 0, λ₁ = ln g: silence. Above 1 it is chaos. `mean_field_exponent` solves it. Our networks have a
# hundred units, and each draw is another network: the honest error bar is the scatter over draws, not the standard
# error of one run. The gain is a parameter, so `sweep` runs all gains of a draw side by side.

# %%
gains, draws = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0]), 10
largest = []
for seed in range(draws):
    drawn, start = RNN.random(100, gain=1.0, seed=seed), np.random.default_rng(seed).normal(size=100)
    runs = sweep(drawn.tangent().benettin, {"gain": gains}, start, intervals=1_000, warmup=500, k=1, seed=0)
    largest.append(runs.exponent_mean.values[:, 0])
largest = np.array(largest)
middle, error = largest.mean(axis=0), largest.std(axis=0, ddof=1) / np.sqrt(draws)
theory = np.array([mean_field_exponent(g) for g in gains])
for g, *row in zip(gains, middle, error, theory, strict=True):
    print("gain {:4}: {:7.4f} ± {:.4f}, mean field {:7.4f}".format(g, *row))

figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
line = np.linspace(0.5, 6.0, 200)
axes.axhline(0.0, color="0.7", lw=0.8)
axes.plot(line, [mean_field_exponent(g) for g in line], color="black", label="mean field, infinitely many units")
axes.errorbar(
    gains,
    middle,
    2 * error,
    color="0.4",
    ls="",
    marker="o",
    mfc="white",
    capsize=3,
    label="100 units, ± 2 standard errors",
)
axes.set(
    xlabel="gain g (1)", ylabel=r"largest exponent $\lambda_1$ (1/step)", title="Where random networks are chaotic"
)
axes.legend(loc="lower right")
plt.show()
assert (largest[:, gains < 1].mean(axis=0) < 0).all()
assert (middle[gains > 1] > 4 * error[gains > 1]).all()

# %% [markdown]
# The curve is right, and yet every single point is off by four of its error bars or more: above the edge all networks
# are less chaotic than theory says, below it all are slower to fall silent (there λ₁ is ln g plus the logarithm of the
# spectral radius of J, which is a little above 1). Gains between are left out: there a network of a hundred units may
# rest, go round in a cycle or be chaotic, depending on the draw. An average over such different things would mean
# nothing.
#
# A small systematic deviation is a reason to doubt the program, or the theory. Here neither is wrong: N is finite.

# %%
sizes, several = np.array([50, 100, 200]), [32, 16, 8]
found = {}
for units, many in zip(sizes, several, strict=True):
    rows = []
    for seed in range(many):
        start = np.random.default_rng(seed).normal(size=units)
        run = RNN.random(units, gain=3.0, seed=seed).tangent()
        run = run.benettin(start, intervals=500, warmup=200, k=units // 2)
        rows.append([run.exponents[0], run.kaplan_yorke_dimension()[0] / units])
    found[units] = np.array(rows)
    if units == sizes[-1]:
        long = run
means = np.array([rows.mean(axis=0) for rows in found.values()])
bars = np.array([rows.std(axis=0, ddof=1) / np.sqrt(len(rows)) for rows in found.values()])
fits, covariances = zip(
    *(np.polyfit(1 / sizes, means[:, i], 1, w=1 / bars[:, i], cov="unscaled") for i in range(2)), strict=True
)
limit, limit_error = fits[0][1], np.sqrt(covariances[0][1, 1])
print("N          ", *sizes)
print("λ1         ", *(f"{mean:.4f} ± {bar:.4f}" for mean, bar in zip(means[:, 0], bars[:, 0], strict=True)))
print(f"a straight line in 1/N leads to {limit:.4f} ± {limit_error:.4f}; mean field {mean_field_exponent(3.0):.4f}")

figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
inverse = np.array([0.0, 0.021])
axes.errorbar(1 / sizes, means[:, 0], 2 * bars[:, 0], color="black", ls="", marker="o", mfc="white", capsize=3)
axes.plot(inverse, np.polyval(fits[0], inverse), color="0.5", ls="--", label="straight line through the three")
axes.plot(0.0, mean_field_exponent(3.0), color="black", ls="", marker="*", ms=12, label="mean field")
axes.set(
    xlabel="1/N (1)",
    ylabel=r"largest exponent $\lambda_1$ at g = 3 (1/step)",
    title="The deviation goes as 1/N (bars: ± 2 standard errors)",
)
axes.legend()
plt.show()
assert abs(limit - mean_field_exponent(3.0)) < 3 * limit_error < 0.03

# %% [markdown]
# Two ways that know nothing of each other, runs of finite networks and two integrals, lead to one number.
#
# ## How much of it is chaotic?
#
# Most directions of a chaotic network shrink. The Kaplan-Yorke dimension says how many numbers describe the state once
# the past is forgotten. If the network is one system, and not many small ones, does doubling it double the chaos? Plot
# the exponents against i/N: if the curves of three sizes fall on one, chaos is *extensive*.

# %%
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
axes.axhline(0.0, color="0.7", lw=0.8)
for units, (color, style) in zip(sizes, (("0.6", "-"), ("black", "--"), ("black", ":")), strict=True):
    start = np.random.default_rng(0).normal(size=units)
    whole = RNN.random(units, gain=3.0, seed=0).tangent().benettin(start, intervals=500, warmup=200, k=units // 2)
    share = (np.arange(units // 2) + 0.5) / units
    axes.plot(
        share, whole.exponents, color=color, ls=style, label=f"N = {units}, D/N = {found[units][:, 1].mean():.3f}"
    )
axes.set(xlabel="number of the exponent, as a share of N (1)", ylabel="exponent (1/step)")
axes.set(title="Spectra of three sizes, at g = 3")
axes.legend()
plt.show()
print("D/N        ", *(f"{mean:.4f} ± {bar:.4f}" for mean, bar in zip(means[:, 1], bars[:, 1], strict=True)))
print(f"and for N -> infinity {fits[1][1]:.3f} ± {np.sqrt(covariances[1][1, 1]):.3f}")
assert np.ptp(means[:, 1]) < 0.15 * means[:, 1].mean()
assert (means[:, 1] < 0.4).all()

# %% [markdown]
# It is extensive, but for the same 1/N: more than a quarter of all directions, whatever the size. And not more:
# although all units are active, the state of 200 units is a matter of some 56 numbers. (R. Engelken, F. Wolf, L. F.
# Abbott, Phys. Rev. Research 5, 043044 (2023).)
#
# ## A network that listens
#
# Drive the network with a series of inputs u_n. Does its state become a function of the inputs alone, whatever it was
# at the beginning? Jaeger called that the *echo state property*. It is what makes a network a memory: train a linear
# readout on its states, and nothing else. `RNN.echo_state` draws sparse weights of a given spectral radius, which
# plays the part of the gain. Two starts, and the exponent of the driven network:

# %%
steps, washout = 3_000, 200
u = np.random.default_rng(0).uniform(-1.0, 1.0, size=(steps, 1))
for scale, radius in ((0.5, 0.9), (0.5, 1.2), (0.5, 2.0), (0.1, 1.1)):
    listener = RNN.echo_state(100, radius, seed=0, inputs=u, scale=scale).tangent()
    starts = np.outer([1.0, -1.0], np.random.default_rng(1).normal(size=100))
    ends = listener.trajectory(starts, intervals=steps, warmup=0).states[:, -1]
    driven = listener.benettin(starts[0], intervals=steps - washout, warmup=washout, k=1)
    print(
        f"input {scale}, radius {radius}: λ1 = {driven.exponents[0]:7.4f} ± {driven.standard_error[0]:.4f} per step, "
        f"two starts end {np.linalg.norm(ends[0] - ends[1]):.0e} apart"
    )

# %% [markdown]
# A recipe says: take a spectral radius below 1. The second line is beyond that and has echo states all the same: the
# input drives units to where tanh is flat, and so suppresses chaos. What decides is the exponent *of the driven
# network*. Where it is positive, in the third line, two starts never meet: what the network does depends on its
# beginning for ever.
#
# The last line is a warning. There the exponent is negative, and two starts do not meet either: with so weak an input
# the network has two attractors, and each start has found a different one. An exponent is about small displacements:
# that it is negative is necessary, not sufficient. Two starts are the other half of the check.
#
# ## What does it remember?
#
# Let a linear readout of the state tell the input of k steps ago. The share of the variance that it explains, on
# inputs that it was not fitted to, summed over all k, is the memory capacity: at most one for each unit (H. Jaeger,
# GMD Report 152, 2002).

# %%
radii, lags = np.array([0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0]), np.arange(60)


def memory(states):
    """Memory capacity from the states after steps washout, washout + 1, ..."""
    X = np.column_stack([states, np.ones(len(states))])
    Y = np.column_stack([u[washout - k : washout - k + len(states), 0] for k in lags])
    half = len(X) // 2
    W = np.linalg.lstsq(X[:half], Y[:half], rcond=1e-10)[0]
    return np.maximum(0.0, 1.0 - ((X[half:] @ W - Y[half:]) ** 2).mean(axis=0) / Y[half:].var(axis=0)).sum()


exponents, capacities, meet = [], [], []
for seed in range(5):
    listener = RNN.echo_state(100, 1.0, seed=seed, inputs=u, scale=0.5).tangent()
    starts = np.random.default_rng(seed).normal(size=(2, 100))
    runs = sweep(listener.benettin, {"gain": radii}, starts[0], intervals=steps - washout, warmup=washout, k=1, seed=0)
    exponents.append(runs.exponent_mean.values[:, 0])
    many = vary(listener, {"gain": radii})
    one, other = (many.trajectory(np.tile(x, (len(radii), 1)), intervals=steps, warmup=0).states for x in starts)
    capacities.append([memory(states[washout:]) for states in one])
    meet.append(np.linalg.norm(one[:, -1] - other[:, -1], axis=-1) < 1e-6)
exponents, capacities, meet = np.array(exponents), np.array(capacities), np.array(meet)

figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.0), sharex=True, layout="constrained")
top.axhline(0.0, color="0.7", lw=0.8)
for axes, values in ((top, exponents), (bottom, capacities)):
    bar = 2 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    axes.errorbar(radii, values.mean(axis=0), bar, color="black", marker="o", mfc="white", capsize=3)
top.set(
    ylabel=r"largest exponent $\lambda_1$ (1/step)",
    title="Five driven networks (bars: ± 2 standard errors)",
)
top.set(ylim=(-0.8, 0.2))
bottom.set(xlabel="spectral radius (1)", ylabel="memory capacity (steps)")
plt.show()
best = radii[capacities.mean(axis=0).argmax()]
print(f"the best memory, {capacities.mean(axis=0).max():.1f} steps, is at radius {best}; ", end="")
print(f"there λ1 = {exponents.mean(axis=0)[radii == best][0]:.3f} per step")
print(
    f"two starts meet in {meet[exponents < 0].mean():.0%} of the runs with λ1 < 0, "
    f"in {meet[exponents > 0].mean():.0%} of the others"
)

# %% [markdown]
# Memory is best where the exponent is still negative but small: an input fades by exp(λ₁) in a step, and must not fade
# too fast. Where λ₁ is positive the past of the network itself drowns the inputs. In this sense "the edge of chaos" is
# right, though memory is best somewhat before it. That says nothing about tasks that need more than memory.
#
# ## Exercises
#
# 1. White noise at every unit also makes arguments of tanh large. How much of it ends the chaos of g = 2, by mean
#    field? Does a network of 150 units agree?
# 2. Follow all exponents of 100 units at g = 30. Why does the run stop, and what is to be done?
# 3. Let the input be periodic. What is the exponent of a network that has locked to it?
#
# ## Answers
#
# *1.* `mean_field_exponent(gain, drive)` takes the variance of the noise. Its zero is near 1.6; on either side the
# network has the sign that theory gives.

# %%
end_of_chaos = brentq(lambda drive: mean_field_exponent(2.0, drive), 0.1, 10.0)
print(f"chaos of g = 2 ends at noise of variance {end_of_chaos:.3f}")
noisy = {}
for drive in (0.5 * end_of_chaos, 2.0 * end_of_chaos):
    noise = np.sqrt(drive) * np.random.default_rng(0).normal(size=(1_200, 150))
    shaken = RNN(RNN.random(150, gain=2.0, seed=0).W, np.eye(150), inputs=noise, gain=2.0)
    run = shaken.tangent().benettin(np.zeros(150), intervals=1_000, warmup=200, k=1)
    noisy[drive] = run.exponents[0]
    print(f"noise {drive:.2f}: λ1 = {noisy[drive]:.4f} ± {run.standard_error[0]:.4f}", end=", ")
    print(f"mean field {mean_field_exponent(2.0, drive):.4f}")
    assert np.sign(noisy[drive]) == np.sign(mean_field_exponent(2.0, drive))

# %% [markdown]
# *2.* At such a gain some units are so far out that 1 − tanh² is 0 in double precision: nothing is left of a
# direction, its exponent is minus infinity, and the run says so. Nobody needs those directions: follow fewer, with k.

# %%
wild = attrs.evolve(network, gain=30.0).tangent()
try:
    wild.benettin(h, intervals=100)
    stopped = False
except SingularTangentError as problem:
    print("SingularTangentError:", problem)
    stopped = True
print("with k = 3:", wild.benettin(h, intervals=300, k=3).exponents.round(2))
assert stopped

# %% [markdown]
# *3.* Negative. The state repeats itself with the input, and a driven map has no exponent that must vanish: two
# networks that hear the same song are at the same place in it.

# %%
song = InputSeries(u[:7], periodic=True)
locked = RNN.echo_state(100, 0.9, seed=0, inputs=song, scale=0.5).tangent()
heard = locked.trajectory(h, intervals=14, warmup=700).states
print(f"after seven steps {np.abs(heard[7:] - heard[:7]).max():.0e} away;", end=" ")
print(f"λ1 = {locked.benettin(h, intervals=700, warmup=700, k=1).exponents[0]:.4f} per step")
assert np.abs(heard[7:] - heard[:7]).max() < 1e-12

# %% [markdown]
# ## The headline
#
# Networks of N units differ from mean field by a term in 1/N; a fixed share of all directions is chaotic; and whether a
# driven network has echo states is told by its own exponent, which must be negative, and not by the spectral radius.

# %%
print(f"λ1 at g = 3: {limit:.4f} ± {limit_error:.4f} from runs, {mean_field_exponent(3.0):.4f} from theory")
beyond = (radii > 1.0) & (exponents < 0)
print(f"runs beyond radius 1 with λ1 < 0: {beyond.sum()}, of which two starts meet in {meet[beyond].mean():.0%}")
assert abs(limit - mean_field_exponent(3.0)) < 3 * limit_error
assert (meet == (exponents < 0)).mean() > 0.9
assert beyond.sum() > 5
assert 0.8 <= best < 1.3
