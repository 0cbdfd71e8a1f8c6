# %% [markdown]
# # Gradient descent at a large learning rate
#
# So far training was a flow, and the learning rate the step with which it is followed: if it is small enough, its
# size does not matter. In practice it is anything but small. Then gradient descent is what it always was, a *map*, θ
# → θ − η grad L(θ), and like any map with a parameter it has regular and chaotic regimes. K. Danovski, M. C. Soriano
# and L. Lacasa (arXiv:2404.05782) followed networks that begin close to each other: at a small rate they stay
# neighbours, at a larger one they separate exponentially and still learn, at a very large one they no longer learn.
# Is that chaos? And what has the largest curvature of the loss to do with it?
#
# Needed from before: pairs, tangent and Benettin's algorithm (tutorial 1), training as a dynamical system and why a
# transient has finite-time exponents (tutorial 2). Hessian: the matrix of second derivatives of the loss.
#
# Run it with `python tutorials/07_large_learning_rates.py`, or cell by cell in an editor that knows `# %%`.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dynsys import Euler
from dynsys.models.activations import Sigmoid, Tanh
from dynsys.models.networks import CrossEntropy, DeepNetworkFlow
from dynsys.models.training_chaos import iris
from dynsys.models.training_chaos.growth import fit_growth
from dynsys.models.training_chaos.orbits import distances, orbits, perturbed, tangent_distances

# %% [markdown]
# ## The map
#
# A small classifier, 4 inputs, 10 hidden units, 3 classes, and 120 flowers; trained on all flowers in every step. An
# Euler step of its gradient flow is one step of gradient descent, and the step length is the learning rate η. So the
# flow under `Euler` *is* the map, of dimension 83. Its tangent is 1 − ηH with the Hessian H of the loss L, which is
# never formed. Here we count time in steps: an exponent per step is η times one per unit of the flow's time.


# %%
def classifier(hidden, activation):
    """A network that learns to tell the flowers apart."""
    return DeepNetworkFlow(*iris(seed=0), hidden, loss=CrossEntropy, activation=activation, biases=True)


flow = classifier((10,), Sigmoid())
tangent = flow.tangent(Euler(dt=1.0))
theta = flow.initial(scheme="normal", members=40, seed=2)
print(f"dimension {flow.dimension}; loss at the start {flow.loss(theta).mean():.2f}")

# %% [markdown]
# ## Neighbours separate
#
# There are two independent ways to measure the growth, as in tutorial 1. *Pairs*: move the weights of each network by
# at most 1e-8, five times, and watch the mean distance. *Tangent*: push the same five displacements by the derivative
# of the map. Where both agree, the growth is that of the linearised map, and not of rounding or of a large step.

# %%
steps, size = 200, 1e-8


def groups(size):
    """Each network with its five perturbed replicas, (6, dim)."""
    return [
        np.concatenate([start[None], perturbed(flow, start, size, 5, seed=1, member=m)])
        for m, start in enumerate(theta)
    ]


def by_pairs(size):
    """Mean distances of the replicas, (networks, 1 + steps)."""
    return np.array([distances(orbits(tangent, group, steps=steps)).mean(axis=0) for group in groups(size)])


pairs = by_pairs(size)
predicted = np.array([tangent_distances(tangent, group, steps=steps).mean(axis=0) for group in groups(size)])
close = pairs < 1e-5
apart = np.abs(np.log(pairs[close] / predicted[close]))
print(f"while the distance is below 1e-5: |ln(pairs / tangent)| has the median {np.median(apart):.0e}")
assert np.median(apart) < 1e-3

figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
for m, grey in enumerate(("black", "0.45", "0.7")):
    axes.semilogy(pairs[m], color=grey, lw=1.2, label=f"pairs, network {m + 1}")
    axes.semilogy(predicted[m], ":", color=grey, lw=1.8, label=f"tangent, network {m + 1}")
axes.set(xlabel="time (steps)", ylabel="L1 distance of the weights (1)", ylim=(1e-8, 1e6))
axes.set_title(r"Learning rate $\eta = 1$: neighbours part, while both learn")
axes.legend(ncols=2, fontsize=8, loc="upper left")
plt.show()

# %% [markdown]
# Both agree until the distance is no longer small: then it saturates, since the networks are as far from each other
# as any two networks are, while the tangent, which knows no size, keeps growing.
#
# ## One exponent from many runs
#
# How fast do they separate? The growth is not a straight line, so the answer depends on where you look. The paper
# fits a line to ln d in the window where it fits best, keeps runs with R² > 0.9 and a rate above 0.05, and calls the
# mean the network maximum Lyapunov exponent. That is positive by construction. The tangent needs no window: its
# growth over all 200 steps is defined for all runs.

# %%
fit = fit_growth(pairs)
rates = fit.rate[fit.accepted]
whole = np.log(predicted[:, -1] / predicted[:, 0]) / steps
ways = {"pairs, best windows of accepted runs": rates, "tangent, all steps of all runs": whole}
for name, values in ways.items():
    print(f"{name}: {values.mean():.3f} ± {values.std(ddof=1) / len(values) ** 0.5:.3f} per step ({len(values)} runs)")

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
bins = np.arange(0.0, 0.66, 0.06)
for (name, values), (color, line) in zip(ways.items(), (("black", "-"), ("0.5", "--")), strict=True):
    axes.stairs(np.histogram(values, bins)[0], bins, color=color, ls=line, lw=1.8, label=name)
    axes.axvline(values.mean(), color=color, ls=line, lw=1)
axes.set(xlabel="rate of growth (1/step)", ylabel="networks (number)", ylim=(0, 17))
axes.set_title("The same runs, asked in two ways; vertical: means")
axes.legend(loc="upper right")
plt.show()

# %% [markdown]
# Choosing the windows makes the exponent larger. It is not wrong, but it answers another question: how fast do they
# separate where they do so most steadily?
#
# ## The edge of stability
#
# Why should a learning rate be too large? Near a minimum the map is 1 − ηH, so a minimum repels as soon as the largest
# eigenvalue of H, the *sharpness*, exceeds 2/η. One would think that training avoids such places. To see what it does,
# train one network at 25 learning rates. We look at four things: the first exponent over the first 200 steps, the same
# over 4000 steps after 1000, the sharpness then, and the accuracy.

# %%
learning_rates = np.geomspace(0.01, 10.0, 25)
at_first, at_end, curvature, accuracy = np.empty((4, 25))
for place, rate in enumerate(learning_rates):
    trained = flow.tangent(Euler(dt=rate))
    at_first[place] = rate * trained.benettin(theta[0], intervals=steps, k=1, warmup=0).exponents[0]
    later = trained.trajectory(theta[0], intervals=1, steps_per_interval=1000).end
    spectrum = trained.benettin(later, intervals=4000, k=1, warmup=0)
    at_end[place] = rate * spectrum.exponents[0]
    ends = trained.trajectory(spectrum.end, intervals=20).states
    curvature[place] = np.median([flow.sharpness(one) for one in ends])  # it jumps from step to step
    accuracy[place] = flow.accuracy(ends[-1])

figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(6.4, 7.2), sharex=True, layout="constrained")
top.semilogx(learning_rates, curvature * learning_rates / 2, "k.-")
top.axhline(1.0, color="0.6", lw=1)
top.set(ylabel="sharpness × η/2 (1)", ylim=(0, 2.5), title="One network, 25 learning rates")
middle.semilogx(learning_rates, accuracy, "k.-")
middle.axhline(1 / 3, color="0.6", lw=1)
middle.set(ylabel="accuracy (share)", ylim=(0.25, 1.03))
bottom.semilogx(learning_rates, at_first, "k.-", label="steps 1 to 200")
bottom.semilogx(learning_rates, at_end, "--", color="0.5", marker="s", ms=4, label="steps 1001 to 5000")
bottom.set(xlabel=r"learning rate $\eta$ (1)", ylabel="first exponent (1/step)")
bottom.legend()
plt.show()

# %% [markdown]
# *Top*: training does not avoid the edge, it goes there. From about η = 0.25 to 1 the curvature grows until the
# product is 1, and stays. *Middle*: beyond about η = 2 next to nothing is learned; guessing would get a third right.
# *Bottom*: from η = 0.4 on neighbours separate, at first; but after 1000 steps the exponent is zero at every rate up
# to η = 1, where pairs separate so clearly. That growth is a transient, on the way to the edge. Between η = 1 and 4,
# where the network only just learns or no longer does, some chaos may stay. As to how much, your computer may
# disagree with ours: it rounds in its own way, and chaos amplifies that. (That is why no number of these is asserted
# here.) At still larger rates hardly any is left.

# %%
inside = (learning_rates > 0.3) & (learning_rates < 0.9)
at_one = np.argmin(np.abs(learning_rates - 1.0))
print("sharpness × η/2 for η between 0.3 and 0.9:", (curvature * learning_rates / 2)[inside].round(2))
print(f"first exponent at η = 1: {at_first[at_one]:.3f} at first, {at_end[at_one]:.4f} later, per step")
for name, some in (("up to 1", learning_rates < 1.1), ("above 5", learning_rates > 5.0)):
    print(f"largest at rates {name}: {at_first[some].max():.3f} at first, {at_end[some].max():.4f} later, per step")
    assert at_end[some].max() < at_first[some].max() / 4
assert at_first[at_one] > 0.1
assert np.abs(at_end[learning_rates < 1.1]).max() < 0.01
assert accuracy[learning_rates < 1.5].min() > 0.9

# %% [markdown]
# ## Some zeros are exact
#
# The exponents at a small learning rate are near zero, which the paper calls marginal stability. Some are exactly
# zero, and one can count them. The softmax does not notice a number that is added to all of its inputs: neither one
# added to the three biases at the end, nor one added to the three weights that leave a hidden unit. These are 1 + 10
# directions along which the loss never changes, wherever the network is. The tangent map does not change them; the
# code shows it for the biases; and the Hessian has as many zero eigenvalues.

# %%
direction = np.zeros((83, 1))
direction[-3:] = 1.0
moved = max(np.abs(tangent.step(0, one, direction)[1] - direction).max() for one in theta)
eigenvalues = np.linalg.eigvalsh(flow.hessian_product(theta[0], np.eye(83)))
zeros = np.sum(np.abs(eigenvalues) < 1e-12 * eigenvalues[-1])
print(f"{flow.vanishing_exponents} exponents vanish at any learning rate, {zeros} eigenvalues of the Hessian", end="")
print(f"; the direction of the biases changes by {moved:.1e}")
assert zeros == flow.vanishing_exponents == 11

# %% [markdown]
# ## Exercises
#
# 1. Repeat the fit with perturbations of 1e-4 and 1e-2. Why does the exponent fall?
# 2. Give `classifier` two hidden layers of ten units, and `Tanh()`. Where does learning end?
# 3. At η = 5 nothing is learned. Is it chaos? Follow twelve networks for 20,000 steps and look at the last losses.
#
# ## Answers
#
# *1.* A window has at least 30 steps, and those of a large perturbation reach into the saturation. What is measured
# then is how soon it comes.

# %%
exponents = {size: rates.mean()}
for larger in (1e-4, 1e-2):
    found = fit_growth(by_pairs(larger))
    exponents[larger] = found.rate[found.accepted].mean()
    print(f"perturbations of {larger:g}: {exponents[larger]:.3f} per step, {found.accepted.sum()} runs accepted")
assert exponents[1e-8] > exponents[1e-4] > exponents[1e-2]

# %% [markdown]
# *2.* Earlier: tanh is four times as steep at 0 as the sigmoid, and the layers multiply. Only states are needed, so a
# loop over the gradient will do.

# %%
deep, reached = classifier((10, 10), Tanh()), {}
for rate in (0.05, 0.1, 0.2, 0.4, 0.8):
    four = deep.initial(scheme="normal", members=4, seed=2)
    for _ in range(500):
        four = four - rate * deep.gradient(four)
    reached[rate] = deep.accuracy(four)
    print(f"rate {rate}: accuracies {reached[rate].round(2)}")
assert reached[0.05].min() > 0.9
assert reached[0.8].max() < 0.75

# %% [markdown]
# *3.* Mostly not. The loss looks wild for a while, with bursts, and then most networks have come to rest: at a point,
# or on a cycle of a few steps. One or two remain irregular.


# %%
def period(series):
    """The least number of steps, up to 12, after which a series repeats itself; 0 for none."""
    repeats = (p for p in range(1, 13) if np.allclose(series[p:], series[:-p], rtol=1e-6))
    return next(repeats, 0)


wild = flow.tangent(Euler(dt=5.0))
settled = wild.trajectory(theta[:12], intervals=1, steps_per_interval=19_400).end
last = flow.loss(wild.trajectory(settled, intervals=600).states)
periods = np.array([period(one) for one in last])
print("periods of the last 600 losses (0: none up to 12):", periods)
assert np.mean(periods > 0) > 0.5

# %% [markdown]
# `dynsys training-chaos` has all of it, with up to 500 networks and error bars: models/training_chaos/REPORT.md.
#
# ## The headline
#
# Neighbours separate at η = 1, faster by the paper's choice of windows than by the tangent over all steps; the
# sharpness settles at 2/η.

# %%
print(f"exponent: {rates.mean():.3f} from windows, {whole.mean():.3f} from all steps, per step")
print(f"sharpness × η/2, median between 0.3 and 0.9: {np.median((curvature * learning_rates / 2)[inside]):.3f}")
assert abs(rates.mean() - 0.285) < 4 * rates.std(ddof=1) / len(rates) ** 0.5 + 0.01  # the paper's figure
assert whole.mean() < rates.mean()
assert moved < 1e-15
assert abs(np.median(curvature[inside] * learning_rates[inside] / 2) - 1) < 0.1
