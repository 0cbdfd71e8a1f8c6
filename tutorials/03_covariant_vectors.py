# %% [markdown]
# # Covariant vectors, and how to know that they are right
#
# Exponents say how fast disturbances grow. The next question is: in which *direction*? The frame of Benettin's
# algorithm (tutorial 1) does not answer it: its vectors are orthogonal because we make them so. Covariant Lyapunov
# vectors (CLVs) do: they are the directions that the dynamics itself maps onto each other. They cost more, and wrong
# ones look as good as right ones. So this tutorial asks two things: what are they, and how do we know that the ones
# we got are right?
#
# Needed from before: frames, V = QR, and the exponents from its diagonal (tutorial 1).
#
# Run it with `python tutorials/03_covariant_vectors.py`, or cell by cell in an editor that knows `# %%`.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import solve_triangular

from dynsys import RK4, RunState, SymbolicMap
from dynsys.indicators import line_distance, subspace_distance
from dynsys.models.classics import Henon, LinearCocycle, LinearMap, Lorenz63
from dynsys.passes.orthonormal import unpacked

rng = np.random.default_rng(0)

# %% [markdown]
# ## A map where everything can be drawn
#
# Take a constant matrix A that stretches along one line and shrinks along another, where the two lines are not
# orthogonal. Its covariant vectors need no algorithm: A maps each eigenvector onto its own line.

# %%
degrees = np.radians([25.0, 65.0])
exact = np.array([np.cos(degrees), np.sin(degrees)])  # columns: the eigenvectors
multipliers = np.array([1.5, 0.6])
A = exact @ np.diag(multipliers) @ np.linalg.inv(exact)


def gram_schmidt_vectors(matrix, steps=60):
    """The frame that Benettin's algorithm settles on, and its triangular factor."""
    Q = np.linalg.qr(rng.normal(size=matrix.shape))[0]
    for _ in range(steps):
        Q, R = np.linalg.qr(matrix @ Q)
        signs = np.sign(np.diag(R))  # a positive diagonal makes the factors unique
        Q, R = Q * signs, signs[:, None] * R
    return Q, R


Q, R = gram_schmidt_vectors(A)
print("R =", R.round(4).tolist())

# %% [markdown]
# The first Gram-Schmidt vector is the stretching direction. The second is whatever is orthogonal to it, and A does
# not map it onto its own line: R is not diagonal. Nor does it belong to the map alone. Measure the second coordinate
# in a unit half as long, which merely changes the scalar product, and "orthogonal" means something else: the second
# vector moves, although the dynamics is the same. (The name in the literature is backward Lyapunov vectors: they
# depend on the past, and on the scalar product.)

# %%
units = np.diag([1.0, 2.0])
elsewhere = gram_schmidt_vectors(units @ A @ np.linalg.inv(units))[0]  # the same map, in the other units
other = np.linalg.inv(units) @ elsewhere  # and back to ours
other /= np.linalg.norm(other, axis=0)
moved = np.degrees(np.arcsin(line_distance(other, Q)))
print("in other units the Gram-Schmidt vectors turn by", moved.round(3), "degrees")
assert moved[0] < 1e-6
assert 36 < moved[1] < 37

figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.8), sharey=True, layout="constrained")
drawn = [(Q, "Gram-Schmidt"), (exact, "covariant"), (other, "Gram-Schmidt, other units")]
turn = np.linspace(0, 2 * np.pi, 200)
circle = np.array([np.cos(turn), np.sin(turn)])
for axes, (frame, title) in zip(panels, drawn, strict=True):
    frame = frame * np.where(frame[1] < 0, -1.0, 1.0)  # vectors are lines: draw them upward
    axes.plot(*circle, color="0.8", lw=1)
    axes.plot(*(A @ circle), color="0.8", lw=1, ls="--")
    for j, v in enumerate(frame.T):
        axes.axline((0, 0), v, color="0.7", lw=0.8)
        for tip, look in [(A @ v, {"color": "0.6", "lw": 4}), (v, {"color": "black", "lw": 1.5})]:
            axes.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0, **look})
        axes.annotate(f"{j + 1}", 1.18 * v + 0.12 * np.array([-v[1], v[0]]), ha="center", va="center")
    axes.set(xlim=(-1.9, 1.9), ylim=(-1.9, 1.9), aspect="equal", title=title)
    axes.set(xlabel="$x$ (state units)", ylabel="$y$ (state units)")
figure.suptitle("black: the vectors; thick grey: their images under the map; dashed: the image of the circle")
plt.show()

# %% [markdown]
# ## Ginelli's algorithm, by hand
#
# How do we find such directions when the matrix changes in every step and its eigenvectors are of no use? Pushing
# vectors forward gives the first of them, because all turn into the fastest direction. Pushing them backward gives
# the last, for the same reason. The vectors between these two cannot be found this way, and in more than two
# dimensions those are most of them.

# %%
pushed = np.linalg.matrix_power(A, 40) @ rng.normal(size=(2, 2))
pulled = np.linalg.matrix_power(np.linalg.inv(A), 40) @ rng.normal(size=(2, 2))
both_first = line_distance(pushed, exact[:, [0, 0]])
both_last = line_distance(pulled, exact[:, [1, 1]])
print(f"two random vectors, pushed: {both_first.max():.0e} from vector 1; pulled: {both_last.max():.0e} from vector 2")
assert both_first.max() < 1e-10
assert both_last.max() < 1e-10

# %% [markdown]
# Ginelli's idea is to go backward *inside the frame*. The span of the first j Gram-Schmidt vectors is right; only the
# vectors in it are not. So write covariant vector j as a combination of the first j: V = Q C with C upper triangular.
# The frame obeys A Q(n−1) = Q(n) R(n), and we want A V(n−1) = V(n) D, with a diagonal D that says how much each
# vector grew. So
#
#     R(n) C(n−1) = C(n) D,      or, backward,      C(n−1) = R(n)⁻¹ C(n), and then unit columns.
#
# Solving with a triangular matrix never leaves the triangle, so vector j cannot run away into directions beyond j. And
# among the first j, backward in time, the j-th wins: it is the one that grows least forward. Any start will do.


# %%
def backward_pass(Q, R, C, slip=0):
    """CLVs from frames Q[n] and factors R[n], which lead from n - 1 to n, and a start C at the end."""
    vectors = np.empty_like(Q)
    for n in reversed(range(len(Q))):
        vectors[n] = Q[n] @ C
        C = solve_triangular(R[n - slip], C)  # `slip` is for later: a slip of the index
        C /= np.linalg.norm(C, axis=0)
    return vectors


steps = 30
by_hand = backward_pass(np.tile(Q, (steps, 1, 1)), np.tile(R, (steps, 1, 1)), np.triu(rng.normal(size=(2, 2))))
errors = line_distance(by_hand, exact)[:, 1]  # of the second vector, as a sine
back = np.arange(steps)[::-1]  # steps that the backward pass has made
small = errors < 1e-2  # where the start is nearly forgotten, the decay is a pure exponential
slope = np.polyfit(back[small], np.log(errors[small]), 1)[0]
gap = np.log(multipliers[0] / multipliers[1])
print(f"error after {steps - 1} steps back {errors[0]:.1e}; it shrinks at the rate {-slope:.4f}, the gap is {gap:.4f}")
assert np.isclose(-slope, gap, rtol=0.02)

clvs = LinearMap(A).tangent().ginelli([0.0, 0.0], intervals=10, warmup=60, tail=60)
print(f"dynsys: {line_distance(clvs.vectors, exact).max():.0e} from the eigenvectors")
assert line_distance(clvs.vectors, exact).max() < 1e-12

# %% [markdown]
# `ginelli` does the same on any system: a *warm-up* in which the frame aligns, a window in which vectors are wanted,
# and after it a *backward transient* in which the backward pass forgets its start; its length in intervals is the
# argument `tail`. Warm-up and backward transient are the price; the rest of this tutorial asks how long they have to
# be.
#
# ## An answer that is known without any algorithm
#
# Always look for one. In a flow, a shift along the trajectory is the same trajectory a moment later. So the velocity
# is a covariant vector, the one of the vanishing exponent: for Lorenz' equations the second. The algorithm does not
# know that, which makes it a test. How well must it agree? The numerical step follows the flow to fourth order only,
# so the answer is not "to rounding" but "to an error that shrinks by sixteen when dt is halved".

# %%
lorenz = Lorenz63()
on_attractor = [-1.2, -2.4, 13.1]


def angle_to_the_flow(dt):
    """Angles in degrees between the second covariant vector and the velocity, every 0.1 units of time."""
    run = {"intervals": 30_000, "steps_per_interval": round(0.1 / dt), "warmup": 400, "tail": 400}
    clvs = lorenz.tangent(RK4(dt)).ginelli(on_attractor, **run)
    velocity = lorenz.vector_field(0.0, clvs.states)
    velocity /= np.linalg.norm(velocity, axis=1, keepdims=True)
    return np.degrees(np.arcsin(line_distance(clvs.vectors[:, :, 1:2], velocity[:, :, None])[:, 0]))


angles = {dt: angle_to_the_flow(dt) for dt in (0.02, 0.01, 0.005)}
medians = {dt: np.median(angle) for dt, angle in angles.items()}
errors = {  # from the scatter of the medians of 20 blocks
    dt: np.std([np.median(block) for block in np.split(angle, 20)], ddof=1) / 20**0.5 for dt, angle in angles.items()
}
orders = {}
for dt in (0.02, 0.01):
    ratio = medians[dt] / medians[dt / 2]
    ratio_error = ratio * np.hypot(errors[dt] / medians[dt], errors[dt / 2] / medians[dt / 2])
    orders[dt] = np.log2(ratio)
    print(f"dt = {dt}: median angle {medians[dt]:.1e} degrees, {ratio:.1f} ± {ratio_error:.1f} times that at dt/2")

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
bins = np.linspace(-8, -1.5, 79)
styles = [{"color": "0.6"}, {"color": "black"}, {"color": "0.5", "ls": "--"}]
for (dt, angle), style in zip(angles.items(), styles, strict=True):
    axes.hist(np.log10(angle), bins, density=True, histtype="step", lw=1.5, label=f"dt = {dt}", **style)
    axes.axvline(np.log10(np.median(angle)), lw=1, **style)
axes.set(
    xlabel="log₁₀ of the angle between neutral vector and velocity (degrees)",
    ylabel="density (per decade)",
    title="Half the step, a sixteenth of the error",
)
axes.legend(title="vertical: medians")
plt.show()

# %% [markdown]
# ## What can go wrong, and who notices
#
# Most systems offer no such answer, so the result has to be checked against itself. Three checks come to mind.
#
# - *Covariance*: push each vector over an interval; is it the next one?
# - *Two backward starts*: does another random C lead to the same vectors?
# - *Two forward frames*: does another random Q lead to the same spans of the first j vectors?
#
# Now make mistakes on purpose, on a piece of trajectory where we know the truth from a long warm-up and a long
# backward transient: an index off by one (R of the previous interval), a backward transient that is too short, and a
# warm-up that is too short. `forward` moves states and frames and records them.

# %%
tangent = lorenz.tangent(RK4(0.01))
per_interval, window, settling = 5, 40, 800  # an interval has 0.05 units of time


def frames(warmup, tail, seed):
    """States, frames, factors of window and backward transient; the frame starts `warmup` intervals before it."""

    def move(start, intervals, record):
        return tangent.forward(start, intervals=intervals, steps_per_interval=per_interval, record=record)

    early = move(RunState.start(np.array(on_attractor), 3, None, 0), settling - warmup, "nothing")
    start = move(RunState.start(early.x[0], 3, None, seed), warmup, "nothing")
    end = move(start, window + tail, "frames")
    return end.xs[0], end.Qs[0], unpacked(end.R[0])  # a pass packs its factors by columns


def upper(seed):
    """A random start of the backward pass."""
    C = np.triu(np.random.default_rng(seed).normal(size=(3, 3)))
    return C / np.linalg.norm(C, axis=0)


def residual(xs, vectors):
    """Largest sine of the angle between a vector pushed over an interval and the next."""
    worst = 0.0
    for i in range(window - 1):
        x, V = xs[i], vectors[i]
        for n in range(per_interval):
            x, V = tangent.step(n, x, V)
        worst = max(worst, line_distance(V, vectors[i + 1]).max())
    return worst


_, Q, R = frames(warmup=800, tail=800, seed=0)
truth = backward_pass(Q, R, upper(0))[:window]
mistakes = {  # intervals of warm-up and tail, slip of the index
    "none": (800, 800, 0),
    "index slip": (800, 800, 1),
    "short tail": (800, 10, 0),
    "short warm-up": (10, 800, 0),
}
checks = ["covariance", "backward starts", "forward frames", "error"]
table = {}
for name, (warmup, tail, slip) in mistakes.items():
    xs, Q, R = frames(warmup, tail, seed=1)
    another_Q = frames(warmup, tail, seed=2)[1]
    vectors, another = (backward_pass(Q, R, upper(seed), slip)[:window] for seed in (1, 2))
    table[name] = [
        residual(xs, vectors),
        line_distance(vectors, another).max(),
        subspace_distance(Q[0], another_Q[0]).max(),  # of the spans of the first j, for every j
        line_distance(vectors, truth).max(),
    ]
print(f"{'':15}" + "".join(f"{check:>17}" for check in checks))
for name, row in table.items():
    print(f"{name:15}" + "".join(f"{value:17.0e}" for value in row))

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
markers = zip(checks, "os^x", ["white", "0.7", "black", "black"], strict=True)
for i, (check, marker, fill) in enumerate(markers):
    values = [max(row[i], 1e-16) for row in table.values()]
    places = np.arange(len(table)) + 0.15 * (i - 1.5)
    axes.semilogy(places, values, marker, color="black", mfc=fill, ms=8, label=check, zorder=3)
axes.set_xticks(range(len(table)), list(table))
axes.set_xticks(np.arange(len(table) - 1) + 0.5, minor=True)
axes.grid(axis="x", which="minor", color="0.7", lw=0.8)
axes.set(
    xlabel="mistake (kind)",
    ylabel="distance (sine of an angle)",
    title="Every mistake has its own witness",
    ylim=(1e-17, 10),
)
axes.legend(ncols=2, loc="center", bbox_to_anchor=(0.5, 0.55), framealpha=1.0)
plt.show()

# %% [markdown]
# Read it column by column. Covariance detects the wrong index, and is blind to everything else: a wrong start that is
# pushed correctly is covariant at every step. Two backward starts detect the short backward transient, but not the
# wrong index: they converge, together, to the same wrong vectors. Two frames detect the short warm-up. No check
# replaces another, which is why every result carries all three: `covariance_residual`, `start_agreement`,
# `frame_agreement`.

# %%
alarm, quiet = 1e-3, 1e-9
seen = np.array(list(table.values()))
assert np.all(seen[0] < quiet)
assert np.all(seen[1:, 3] > alarm)  # three mistakes, three wrong results
assert np.array_equal(seen[1:, :3] > alarm, np.eye(3, dtype=bool))  # one witness each
assert np.all((seen[1:, :3] < quiet) | np.eye(3, dtype=bool))  # and the others see nothing at all

# %% [markdown]
# ## How long a backward transient?
#
# In the constant map the error shrank like exp(−gap · t), where the gap is that between the exponent of the vector
# and the one before it. To see that this holds when everything moves, take a product of random matrices that is built
# around known vectors: `LinearCocycle.random` returns both. With `tail=0` the window itself shows the convergence:
# the backward transient of a vector is what lies between it and the end of the window. That is asking for trouble,
# and the result says so.

# %%
dimension, length, warmup = 4, 140, 200
cocycle, exact_vectors = LinearCocycle.random(dimension, warmup + length, seed=1)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    no_tail = cocycle.tangent().ginelli(np.zeros(dimension), intervals=length, warmup=warmup, tail=0)
print("warning:", caught[0].message)
assert any("tail" in str(w.message) for w in caught)

error = line_distance(no_tail.vectors, exact_vectors[no_tail.times.astype(int)])
tails = no_tail.times[-1] - no_tail.times
gaps = -np.diff(np.log(np.arange(dimension, 0.0, -1.0)))
figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
measured = []
for j, (style, width) in enumerate([("-", 2.0), ("-", 1.2), ("--", 1.2), (":", 1.8)]):
    axes.semilogy(tails, np.maximum(error[:, j], 1e-17), "k", ls=style, lw=width, label=f"vector {j + 1}")
    if j:
        falling = (error[:, j] > 1e-12) & (tails > 8)
        measured.append(-np.polyfit(tails[falling], np.log(error[falling, j]), 1)[0])
        axes.semilogy(tails, 3 * np.exp(-gaps[j - 1] * tails), color="0.7", lw=4, zorder=0)
axes.set(ylim=(1e-17, 3), xlabel="tail (steps)", ylabel="angle to the exact vector (sine)")
axes.set_title("The gap sets the tail")
axes.legend(title="grey: slope of exp(−gap · tail)", loc="upper right")
plt.show()
print("measured rates", np.round(measured, 3), "gaps", gaps.round(3))
assert np.allclose(measured, gaps, rtol=0.05)

# %% [markdown]
# The first vector needs no backward transient at all: it is the first Gram-Schmidt vector, which depends on the past
# alone. For the others the smallest gap decides; `tail_needed` is the number of intervals it needs to shrink a wrong
# start by ten orders of magnitude. Compare it with the figure.

# %%
print("tail needed", no_tail.diagnostics.tail_needed, "for the gap", no_tail.diagnostics.smallest_gap.round(3))
assert 0.8 < no_tail.diagnostics.tail_needed / (np.log(1e10) / gaps.min()) < 1.25

# %% [markdown]
# ## No gap, no vector
#
# If two exponents coincide, the gap is zero and no backward transient is long enough. That is no failure of the
# algorithm: the vectors do not exist. Take a matrix with eigenvalues 2, 1, 1. Every vector of the plane that belongs
# to 1 is as covariant as any other, so two seeds give different vectors. What is determined is the plane.

# %%
S = np.array([[1.0, 0.3, -0.2], [0.5, 1.0, 0.4], [0.1, -0.6, 1.0]])
twice = LinearMap(S @ np.diag([2.0, 1.0, 1.0]) @ np.linalg.inv(S)).tangent()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    first, second = (twice.ginelli(np.zeros(3), intervals=5, warmup=80, tail=80, seed=seed) for seed in (0, 1))
print("warning:", caught[0].message)
assert any("subspace" in str(w.message) for w in caught)
print("labels", first.diagnostics.subspaces)  # a vector alone with its label is determined; those of one label jointly
assert first.diagnostics.subspaces.tolist() == [0, 1, 1]


def distance_of_planes(U, V):
    return subspace_distance(np.linalg.qr(U)[0], np.linalg.qr(V)[0])[..., -1]


apart = line_distance(first.vectors[0], second.vectors[0])
plane = distance_of_planes(first.vectors[0, :, 1:], second.vectors[0, :, 1:])
print("two seeds: vectors differ by", apart.round(3), f"(sine), the plane of the last two by {plane:.0e}")
assert apart[0] < 1e-12
assert np.all(apart[1:] > 1e-3)
assert plane < 1e-12

# %% [markdown]
# Then angles between vectors *within* the plane mean nothing, and those between the plane and the rest do.
#
# ## Angles: the use of it all
#
# Since CLVs are not orthogonal by construction, the angles between them say something about the system. A system in
# which stretching and shrinking directions stay apart everywhere is called hyperbolic, and most of what theory
# promises holds for those. The Hénon map is not one of them: the angle has a broad distribution that reaches zero.

# %%
henon = Henon().tangent().ginelli([0.1, 0.1], intervals=60_000, warmup=200, tail=200)
angle = np.degrees(henon.angles[:, 0, 1])
edges = np.arange(0.0, 91.0, 2.0)
per_bin = np.histogram(angle, edges)[0]
print(f"smallest of {len(angle)} angles: {angle.min():.4f} degrees; below 2 degrees: {per_bin[0]}")

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
axes.stairs(per_bin / len(angle) / np.diff(edges), edges, color="0.75", fill=True)
axes.stairs(per_bin / len(angle) / np.diff(edges), edges, color="black")
axes.set(
    xlabel="angle between the two covariant vectors (degrees)",
    ylabel="density (1/degree)",
    xlim=(0, 90),
    title="Hénon: tangencies, down to angle zero",
)
plt.show()

# %% [markdown]
# The density does not fall to zero at angle zero: halve the angle, and about half as many points are below it. So
# arbitrarily small angles occur, if one waits long enough.

# %%
below = np.array([np.count_nonzero(angle < limit) for limit in (2.0, 1.0)])
print(f"below 2 degrees {below[0]}, below 1 degree {below[1]}")
assert below[1] > 50
assert abs(below[1] - below[0] / 2) < 4 * np.sqrt(below[0] / 4)  # each of them is below 1 with probability 1/2

# %% [markdown]
# ## Exercises
#
# 1. The wrong index is fatal for Lorenz' equations. Why would the constant map never reveal it?
# 2. How long a backward transient, in units of time, does Lorenz' system need? Which gap decides?
# 3. The Lozi map has |x| where Hénon's has x². Are there tangencies?
#
# ## Answers
#
# *1.* All factors R of a constant map are equal, once the frame has settled: taking the wrong one changes nothing. A
# test on a constant matrix is necessary, but not enough; hence the changing matrices above.

# %%
Q, R = gram_schmidt_vectors(A)
slipped = backward_pass(np.tile(Q, (steps, 1, 1)), np.tile(R, (steps, 1, 1)), np.eye(2), slip=1)
assert line_distance(slipped[0], exact).max() < 1e-10

# %% [markdown]
# *2.* The gap between 0.91 and 0 is much smaller than that between 0 and −14.6. Ten orders of magnitude need
# ln(10¹⁰)/0.91, some 25 units of time; for the other gap alone less than two would do.

# %%
clvs = tangent.ginelli(on_attractor, intervals=2_000, steps_per_interval=per_interval, warmup=600, tail=800)
tail_in_time = clvs.diagnostics.tail_needed * per_interval * tangent.dt
lorenz_gaps = -np.diff(clvs.exponents)
print(f"tail needed: {tail_in_time:.1f} units of time; by gap:", (np.log(1e10) / lorenz_gaps).round(1))
assert 20 < tail_in_time < 32
assert 1 < np.log(1e10) / lorenz_gaps[1] < 2

# %% [markdown]
# *3.* No. For a = 1.4, b = 0.3 the angle stays away from zero. The kink is not differentiable, but the orbit never
# falls on it exactly.

# %%
lozi = SymbolicMap.of({"x": "1 - a*Abs(x) + y", "y": "b*x"}, {"a": 1.4, "b": 0.3})
lozi_angle = np.degrees(lozi.tangent().ginelli([0.1, 0.1], intervals=20_000, warmup=200, tail=200).angles[:, 0, 1])
print(f"Lozi: angles from {lozi_angle.min():.1f} to {lozi_angle.max():.1f} degrees")
assert 30 < lozi_angle.min() < 40

# %% [markdown]
# ## The headline
#
# The neutral covariant vector of Lorenz' equations is the velocity, to fourth order: half the step, a sixteenth of the
# angle. The observed order is log₂ of the ratio.

# %%
print("observed order of the angle", {dt: float(order.round(2)) for dt, order in orders.items()}, "expected 4")
assert all(abs(order - 4) < 0.2 for order in orders.values())
