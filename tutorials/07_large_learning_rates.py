# %% [markdown]
# # Gradient descent at a large learning rate
#
# Gradient descent is a map, theta -> theta - eta grad L(theta), and like any map it has regular and chaotic regimes:
# the learning rate eta decides. K. Danovski, M. C. Soriano and L. Lacasa (arXiv:2404.05782) followed networks that
# begin close to each other: at a small rate they stay neighbours, at a larger one they part exponentially and still
# learn, at a very large one they no longer learn.
#
# This tutorial measures that in two ways that know nothing of each other: by pairs of networks, and by the exact
# tangent of the map. Then it asks what the largest curvature of the loss has to do with it.
#
# Run it with `python tutorials/07_large_learning_rates.py`, or cell by cell in an editor that knows `# %%`.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dynsys import vary
from models.training_chaos import GradientDescent, iris
from models.training_chaos.growth import fit_growth
from models.training_chaos.orbits import distances, orbits, perturbed, tangent_distances

# %% [markdown]
# ## The map
#
# A small classifier, 4 inputs, 10 hidden units, 3 classes, and 120 flowers. It is a `Map` like Hénon's, of dimension
# 83. Its tangent is 1 - eta H with the Hessian H of the loss, which is never formed.

# %%
descent = GradientDescent(*iris(seed=0), hidden=(10,), learning_rate=1.0)
tangent = descent.tangent()
theta = descent.initial(members=40, seed=2)
print(f"dimension {descent.dimension}; loss at the start {descent.loss(theta).mean():.2f}")

# %% [markdown]
# ## Neighbours part
#
# Move the weights of each network by at most 1e-8, five times, and watch the mean distance. Beside it, the distance
# that the tangent foretells. Both agree until the distance is no longer small: then it saturates, and the tangent does
# not.

# %%
groups = [
    np.concatenate([start[None], perturbed(descent, start, 1e-8, 5, seed=1, member=m)]) for m, start in enumerate(theta)
]
pairs = np.array([distances(orbits(tangent, group, steps=200)).mean(axis=0) for group in groups])
foretold = np.array([tangent_distances(tangent, group, steps=200).mean(axis=0) for group in groups])

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for m in range(5):
    left.semilogy(pairs[m], color=f"{0.15 * m}", lw=1, label="pairs" if m == 0 else None)
    left.semilogy(foretold[m], ":", color=f"{0.15 * m}", lw=1, label="tangent" if m == 0 else None)
left.set(xlabel="time (steps)", ylabel="L1 distance of weights (no unit)", ylim=(1e-8, 1e3))
left.legend()

# %% [markdown]
# ## One exponent from many runs
#
# The paper fits a line through ln d in the window that it suits best, keeps runs with R^2 > 0.9 and a rate above 0.05,
# and calls the mean the network maximum Lyapunov exponent. That is positive by construction. The tangent needs no
# window: its growth over all 200 steps, of all runs, is smaller.

# %%
fit = fit_growth(pairs)
rates = fit.rate[fit.accepted]
whole = np.log(foretold[:, -1] / foretold[:, 0]) / 200
for name, values in (("pairs, best windows of accepted runs", rates), ("tangent, all steps of all runs", whole)):
    print(f"{name}: {values.mean():.3f} ± {values.std(ddof=1) / len(values) ** 0.5:.3f} per step ({len(values)} runs)")

# %% [markdown]
# ## The edge of stability
#
# A minimum repels gradient descent where the largest eigenvalue of H exceeds 2 / eta. One would think that training
# avoids such places. It goes there: the curvature grows until it has reached 2 / eta, and stays. `vary` makes an
# ensemble whose members differ in the learning rate.

# %%
learning_rates = np.geomspace(0.01, 10.0, 25)
many = vary(tangent, {"learning_rate": learning_rates})
later = many.trajectory(np.tile(theta[0], (25, 1)), intervals=1, steps_per_interval=1000).end
spectra = many.benettin(later, intervals=4000, k=1, warmup=0)
ends = many.trajectory(spectra.end, intervals=20).states
curvature = np.median(
    [[descent.sharpness(state) for state in run] for run in ends], axis=1
)  # it jumps from step to step
accuracy = descent.accuracy(ends[:, -1])
right.semilogx(learning_rates, curvature * learning_rates / 2, "k.-", label=r"largest eigenvalue $\times\ \eta/2$")
right.semilogx(learning_rates, accuracy, "--", color="0.5", label="accuracy")
right.semilogx(learning_rates, spectra.exponents[:, 0], ":", color="0.3", label="first exponent (1/step)")
right.set(xlabel=r"learning rate $\eta$ (no unit)", ylabel="see the legend (no unit)", ylim=(-0.1, 2.5))
right.legend(fontsize=8)
plt.show()

# %% [markdown]
# From eta = 0.25 on the product is 1. Beyond eta = 2 nothing is learned. And the exponent, after 1000 steps, is zero
# over most of the range, also at eta = 1: the chaos that pairs show there is that of the first steps, a transient.
#
# ## Why "marginal stability"
#
# Small learning rates give exponents near zero. Some are zero exactly: the softmax does not see what is added to all of
# its inputs alike, so along 11 directions the loss never changes, wherever the network is. The tangent map leaves
# such a direction as it is, here that of the three biases at the end.

# %%
direction = np.zeros((83, 1))
direction[-3:] = 1.0
moved = max(np.abs(descent.jvp(0, state, direction) - direction).max() for state in theta)
print(f"{descent.vanishing_exponents} exponents vanish at any learning rate; the direction changes by {moved:.1e}")

# %% [markdown]
# ## Exercises
#
# 1. Repeat the fit with perturbations of 1e-4 and 1e-2. Why does the exponent fall?
# 2. Give `GradientDescent` two hidden layers of ten units, and Tanh(). Where does learning end?
# 3. Is the loss at eta = 5 chaotic? Follow one network for 20,000 steps and look at the loss.
#
# Answers: 1. Windows have at least 30 steps, and those of large perturbations reach into the saturation: about 0.17 and
# 0.07. 2. Earlier, between 0.1 and 0.6 for four networks, since tanh is steeper than the sigmoid. 3. Mostly not: it
# sits on plateaus of period 3 or less, with bursts between. `dynsys training-chaos` has all of it, with 500 networks
# and error bars: models/training_chaos/REPORT.md.

# %%
inside = (learning_rates > 0.3) & (learning_rates < 0.9)
assert abs(rates.mean() - 0.285) < 4 * rates.std(ddof=1) / len(rates) ** 0.5 + 0.01
assert whole.mean() < rates.mean()
assert abs(np.median(curvature[inside] * learning_rates[inside] / 2) - 1) < 0.1
assert moved < 1e-15
