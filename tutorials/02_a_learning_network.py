# %% [markdown]
# # A learning network is a dynamical system
#
# Training changes the weights of a network, step after step, by a fixed rule. That is all a dynamical system is. So
# we may ask of training what we ask of any motion: do two runs that start almost alike end alike? In which directions
# are disturbances forgotten, and how fast? What is conserved? This tutorial puts these questions to the smallest
# interesting network (two inputs, two hidden units, one output). It follows N. Sharafi, C. Martin and S. Hallerberg,
# "Weight dynamics of learning networks", Phys. Rev. E 111, 054208 (2025), arXiv:2405.00743.
#
# Needed from before: Benettin's algorithm, its intervals and its warm-up, and what an error bar is (tutorial 1).
#
# Run it with `python tutorials/02_a_learning_network.py`, or cell by cell in an editor that knows `# %%`.

# %%
import warnings

import attrs
import matplotlib.pyplot as plt
import numpy as np

from dynsys import DiagnosticWarning, Euler, RunState
from dynsys.models.activations import Activation, ReLU, Tanh
from dynsys.models.weight_dynamics import ThreeLayerGradientFlow, regression_task
from dynsys.testing import check_activation

# %% [markdown]
# ## The weights are the state
#
# The task is to learn y = 10 x₁ − 2 x₂² from samples. The data stay as they are; what moves is the vector θ of all
# weights and biases, downhill on the loss C(θ): dθ/dt = −grad C. `ThreeLayerGradientFlow` is that flow. The loss is
# the mean of the squared error over the samples.

# %%
X, y = regression_task(samples=1000, seed=0)
flow = ThreeLayerGradientFlow(X, y, hidden=2, activation=ReLU())
theta = flow.initial(scheme="he", biases="random", seed=1)
print(f"{len(y)} samples; the state has {flow.dimension} components:", theta.round(2))
print(f"loss at the start {flow.loss(theta):.1f}, loss of a constant output, Var(y) {y.var():.1f}")

# %% [markdown]
# Computers do not follow the flow; they take steps of gradient descent, θ' = θ − (learning rate) · grad C. That is
# Euler's method with dt = learning rate, so nothing has to be approximated: the stepper *is* the training, and time is
# the learning rate times the number of steps. To see it, take the gradient by brute force, by differences of the loss.

# %%
dt = 2e-3
h = 1e-5
shifts = h * np.eye(flow.dimension)
gradient = (flow.loss(theta + shifts) - flow.loss(theta - shifts)) / (2 * h)
by_descent = theta - dt * gradient
by_euler = Euler(dt).step(flow, 0, 0.0, theta)
print(f"gradient descent and Euler agree to {np.abs(by_descent - by_euler).max():.0e}")
assert np.allclose(by_descent, by_euler, rtol=0, atol=1e-9)

# %% [markdown]
# ## How disturbances move: the Jacobian
#
# A small disturbance of the weights obeys the linearised rule, and everything that follows rests on its matrix J,
# minus the Hessian of the loss. One wrong entry would make all results wrong, and look plausible. So there are three
# ways to J that share no code: the formulas of the paper (with their misprints corrected, see docs/misprints.md),
# SymPy's derivatives of the loss of one sample, and the derivative of back-propagation along given directions, which
# never forms J. They must agree to rounding. With ReLU an error in the terms with σ'' would go unnoticed: check with
# tanh, too.


# %%
def check_jacobians(network, state):
    formulas = network.jacobian(0.0, state)
    symbolic = network.symbolic_jacobian(state)
    products = network.jvp(0.0, state, np.eye(network.dimension))
    largest = np.abs(formulas).max()
    worst = max(np.abs(formulas - symbolic).max(), np.abs(formulas - products).max()) / largest
    asymmetry = np.abs(formulas - formulas.T).max() / largest
    print(f"{network.activation!r}: three Jacobians agree to {worst:.0e}, asymmetry {asymmetry:.0e}")
    assert worst < 1e-11
    assert asymmetry < 1e-11


check_jacobians(flow, theta)
check_jacobians(attrs.evolve(flow, activation=Tanh()), theta)

# %% [markdown]
# ## Your own activation
#
# An activation is the function and its first two derivatives, three lines of text. NumPy runs them, Numba compiles
# them, and SymPy's Jacobian contains them. `check_activation` finds a wrong derivative; `Activation.from_expression`
# would take the derivatives for you.


# %%
class Softplus(Activation):
    source = """
        s = log(1.0 + exp(d))
        s1 = 1.0 / (1.0 + exp(-d))
        s2 = s1 * (1.0 - s1)
    """


check_activation(Softplus())
check_jacobians(attrs.evolve(flow, activation=Softplus()), theta)

# %% [markdown]
# ## All data at once, or a few at a time
#
# In practice a step sees only a minibatch. The state then obeys a different flow in every step, a flow driven by
# data: `flow.minibatches` is that system. Batches run through all samples in random order, then through a new order.
# The seed of the batches is one of the things that a result depends on, so we vary it and look.
#
# `forward` moves states and tangent vectors and records what you ask for, here the states.

# %%
steps, seldom = 11_000, 100  # steps of a training; steps between two records of its state


def training(network, theta):
    """States (members, time, dim) along the training."""
    start = RunState.start(np.atleast_2d(theta), network.dimension, k=1, seed=0)  # one kernel for one and for many
    tangent = network.tangent(Euler(dt))
    return tangent.forward(start, intervals=steps // seldom, steps_per_interval=seldom, record="frames").xs


record_times = dt * seldom * np.arange(1, steps // seldom + 1)
full_batch = flow.loss(training(flow, theta))[0]
sgd = flow.minibatches(size=32, seed=0)
some_seeds = [flow.loss(training(flow.minibatches(size=32, seed=seed), theta))[0] for seed in range(3)]
print(f"final loss: full batch {full_batch[-1]:.3f}, minibatches {np.round([run[-1] for run in some_seeds], 3)}")

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
for seed, (run, style) in enumerate(zip(some_seeds, ["-", "--", ":"], strict=True)):
    axes.plot(record_times, run - full_batch, "k", ls=style, lw=1, label=f"seed {seed}")
axes.axhline(0.0, color="0.6", lw=1)
axes.set(xlabel="time (learning rate × steps)", ylabel="loss minus that of the full batch (units of $y^2$)")
axes.set_title("What the order of the batches adds")
axes.legend()
plt.show()

# %% [markdown]
# ## Many starts, few outcomes
#
# Now take many networks that differ in their initial weights only. States of shape (members, dim) are trained side by
# side.

# %%
many = flow.initial(scheme="he", biases="random", members=40, seed=1)
assert np.array_equal(many[0], theta)  # the first of many is the one
states = training(sgd, many)  # (member, time, dim)
losses = flow.loss(states)  # (member, time)
final = losses[:, -1]
design = np.column_stack([X, np.ones(len(y))])
linear = np.mean((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2)  # loss of the best linear function
groups = {
    "below the linear fit": final < 0.9 * linear,
    "about the linear fit": (final >= 0.9 * linear) & (final < 0.9 * y.var()),
    "dead": final >= 0.9 * y.var(),
}
for name, inside in groups.items():
    lowest, highest = final[inside].min(), final[inside].max()
    print(f"{name}: {inside.sum()} of {len(final)} runs, final loss {lowest:.2f} to {highest:.2f}")

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
styles = {"below the linear fit": "-", "about the linear fit": "--", "dead": "-."}
for name, inside in groups.items():
    axes.semilogy(record_times, losses[inside][0], "k", ls=styles[name], lw=2, label=name, zorder=3)
axes.semilogy(record_times, losses.T, color="0.75", lw=0.7)
axes.axhline(linear, color="black", ls=":", lw=1)
axes.axhline(y.var(), color="black", ls=":", lw=1)
axes.set(
    xlabel="time (learning rate × steps)", ylabel="loss (units of $y^2$)", title="Forty starts, three kinds of end"
)
axes.legend(title="one run of each kind", loc="center right", bbox_to_anchor=(1.0, 0.68))
plt.show()

# %% [markdown]
# The dotted lines are two values that need no training: Var(y), the loss of a constant output, and the loss of the best
# *linear* function. Runs near the upper one are dead: both hidden units got to where ReLU is zero for every sample,
# and only the output's bias still learns. Runs about the lower one have found little more than a linear fit. The rest
# do better than any linear function can.

# %%
dead = np.flatnonzero(groups["dead"])
assert len(dead) > 0
assert np.all(np.ptp(flow.output(states[dead, -1]), axis=-2) == 0.0)  # the output is the same for every sample
assert np.allclose(final[dead], y.var(), rtol=1e-3)  # and hovers about the mean of y, pushed by the batches

# %% [markdown]
# ## Training is a transient
#
# Lyapunov exponents are defined in the limit of infinite time, but training ends. What we can compute is the
# *finite-time* exponent λ_q(t): the mean growth rate from the start of the training to time t. There is no attractor
# to settle on first, hence `warmup=0`: every step counts, and with it the random frame at the start, whose influence
# on a single exponent fades like one over time. (Their sum does not depend on it at all.) Nor does the standard error
# of one run mean anything, because its rates never become stationary. If we forget this and leave the warm-up to its
# default, the diagnostics remind us.

# %%
interval = 20  # steps between two orthonormalisations
run = {"intervals": steps // interval, "steps_per_interval": interval}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    sgd.tangent(Euler(dt)).benettin(many[:4], **run)
assert [type(w.message) for w in caught] == [DiagnosticWarning]
print("warning:", caught[0].message)

spectra = sgd.tangent(Euler(dt)).benettin(many, warmup=0, seed=0, **run)
other_frames = sgd.tangent(Euler(dt)).benettin(many[:8], warmup=0, seed=1, **run)
moved = np.abs(spectra.exponents[:8] - other_frames.exponents).max()
print(f"another first frame moves an exponent by up to {moved:.2f} per unit of time, but not their sum")
assert np.allclose(spectra.exponents[:8].sum(axis=1), other_frames.exponents.sum(axis=1), rtol=1e-9, atol=0)
times = spectra.times

# %% [markdown]
# The honest error bar of a transient is the spread over repetitions. One ingredient at a time: the same initial
# weights and the same first frame, but another order of the data in every repetition. The figure follows a network
# that learns well.

# %%
pupil = many[np.flatnonzero(groups["below the linear fit"])[0]]
tangents = [flow.minibatches(size=32, seed=seed).tangent(Euler(dt)) for seed in range(16)]
repeats = [tangent.benettin(pupil[None], warmup=0, seed=0, **run) for tangent in tangents]
finite_time = np.concatenate([repeat.finite_time_exponents() for repeat in repeats])  # (batch seed, time, q)
mean, spread = finite_time.mean(axis=0), finite_time.std(axis=0, ddof=1)
for q in range(flow.dimension):
    print(f"λ{q + 1}(T) = {mean[-1, q]:8.3f}, spread over batch seeds {spread[-1, q]:.3f}")

figure, panels = plt.subplots(2, 1, figsize=(6.4, 6.4), sharex=True, layout="constrained")
lines = ["-", "--", ":", "-", "--", ":", "-", "--", ":"]
for q in range(flow.dimension):
    axes, width = panels[0 if q < 6 else 1], 1.0 if q < 3 or q > 5 else 2.0
    axes.fill_between(times, mean[:, q] - spread[:, q], mean[:, q] + spread[:, q], color="0.8")
    axes.plot(times, mean[:, q], "k", ls=lines[q], lw=width, label=f"$q={q + 1}$")
panels[0].set(ylabel=r"$\lambda_q(t)$ (1/time)", ylim=(-5, 3), title="Finite-time exponents of one network")
panels[1].set(ylabel=r"$\lambda_q(t)$ (1/time)", xlabel="time (learning rate × steps)", ylim=(-120, 5))
for axes, place in zip(panels, ["upper right", "lower left"], strict=True):
    axes.legend(ncols=3, loc=place, title="mean; grey: spread over batch seeds")
plt.show()

# %% [markdown]
# Three groups of three: some directions are forgotten fast, some slowly, some hardly at all. Is a slightly positive
# first exponent a sign of chaos? Not by itself: a full-batch gradient flow goes downhill and cannot be chaotic, yet
# its finite-time exponents may be positive. Over a time T a disturbance changes by the factor exp(λT); even the
# largest of these factors is modest, and the sign of an exponent near zero is an artefact of the finite run.

# %%
T = times[-1]
print("share of runs with λ1(T) > 0:", (spectra.exponents[:, 0] > 0).mean())
print(
    f"largest growth over the whole training, exp(λ1 T), of all runs: {np.exp(spectra.exponents[:, 0].max() * T):.1f}"
)

# %% [markdown]
# ## A dead network
#
# Here the spectrum is known exactly, which makes it the best test. If no hidden unit responds, the output is its bias
# b, and the loss of a batch changes with b alone: db/dt = −2 (b − mean of y in the batch). One direction is forgotten,
# eight are neutral. Under Euler's method a disturbance of b shrinks by 1 − 2 dt in every step, so the exponent is
# ln(1 − 2 dt)/dt: that of the *step* that the computer takes, a little below the −2 of the flow. Nothing fluctuates,
# so there is no standard error to allow for: with the frame aligned, agreement must be to rounding.

# %%
at_the_end = spectra.end.x[dead]
still_dead = sgd.tangent(Euler(dt)).benettin(at_the_end, intervals=100, steps_per_interval=interval, warmup=500, seed=0)
expected = np.log(1 - 2 * dt) / dt
print("exponents", still_dead.exponents[0].round(9) + 0.0)
print(f"last one {still_dead.exponents[0, -1]:.10f}, ln(1 − 2 dt)/dt = {expected:.10f}, the flow's: -2")
assert np.allclose(still_dead.exponents[:, :-1], 0.0, rtol=0, atol=1e-9)
assert np.allclose(still_dead.exponents[:, -1], expected, rtol=0, atol=1e-9)

# %% [markdown]
# ## What is conserved
#
# Why are some exponents close to zero in *living* ReLU networks? ReLU is homogeneous: scale the weights into a hidden
# unit up and those out of it down by the same factor, and the output stays the same. From that follows a conserved
# quantity of the flow for each hidden unit j, for every single sample:
#
#     Q_j = |weights into j|² + (bias of j)² − |weights out of j|²
#
# Two networks with different Q never meet, so two directions are neutral, and `flow.vanishing_exponents` says so. A
# *step* of gradient descent conserves Q only to first order. What it adds is exactly dt² times the same expression in
# the velocities: so after a given time the leak is proportional to the learning rate.

# %%
velocity = flow.vector_field(0.0, theta)
leak_of_a_step = flow.invariants(Euler(dt).step(flow, 0, 0.0, theta)) - flow.invariants(theta)
print("leak of one step", leak_of_a_step, "predicted", dt**2 * flow.invariants(velocity))
assert flow.vanishing_exponents == flow.hidden
assert np.allclose(leak_of_a_step, dt**2 * flow.invariants(velocity), rtol=0, atol=1e-13)

# %% [markdown]
# ## Exercises
#
# 1. Does a tanh network conserve Q, too? How would you know, if a step leaks anyway?
# 2. The most negative exponent of the pupil is that of the direction in which the loss is steepest. What does it say
#    about the largest learning rate that the trained network tolerates?
# 3. How many exponents of a dead network would vanish with three hidden units?
#
# ## Answers
#
# *1.* No: to tanh, twice the weight is not twice the answer. The leak over a given time tells: that of ReLU halves
# with the learning rate, that of tanh does not change. It belongs to the flow.


# %%
def leak_by(network, rate, time=2.0):
    """Largest change of the invariants over some time of full-batch descent."""
    x = theta
    for _ in range(round(time / rate)):
        x = Euler(rate).step(network, 0, 0.0, x)
    return np.abs(network.invariants(x) - network.invariants(theta)).max()


for activation in (ReLU(), Tanh()):
    network = attrs.evolve(flow, activation=activation)
    coarse, fine = leak_by(network, 4e-3), leak_by(network, 2e-3)
    print(f"{activation!r}: leak {coarse:.4f} at the rate 0.004, {fine:.4f} at half of it")
    assert abs(fine / coarse - (0.5 if network.vanishing_exponents else 1.0)) < 0.1

# %% [markdown]
# *2.* Along a direction of curvature h a step multiplies a distance by 1 − dt·h, which is larger than 1 in size beyond
# dt = 2/h. Then the minimum repels. (More of that in tutorial 7.)

# %%
trained = training(flow, pupil)[0, -1]
steepest = np.linalg.eigvalsh(-flow.jacobian(0.0, trained))[-1]
nudged = trained + 1e-6
print(f"largest curvature {steepest:.1f}, minus the last exponent {-mean[-1, -1]:.1f}; 2/h = {2 / steepest:.4f}")
for share in (0.95, 1.05):
    x, z = trained, nudged
    for _ in range(300):
        x, z = (Euler(share * 2 / steepest).step(flow, 0, 0.0, state) for state in (x, z))
    apart = np.linalg.norm(z - x) / np.linalg.norm(nudged - trained)
    print(f"learning rate {share} × 2/h: a disturbance grows by the factor {apart:.2g}")
    assert (apart > 10) == (share > 1)

# %% [markdown]
# *3.* Twelve of thirteen: the loss still depends on the bias of the output alone.

# %%
three = attrs.evolve(flow, hidden=3)
dead_three = three.initial(seed=0)
dead_three[three.layout.blocks["b1"]] = -100.0  # no sample gets through
vanish = np.sum(np.abs(np.linalg.eigvalsh(three.jacobian(0.0, dead_three))) < 1e-12)
print(f"{vanish} of {three.dimension}")
assert vanish == three.dimension - 1 == 12

# %% [markdown]
# ## The headline
#
# Is the leak proportional to the learning rate over a whole training with minibatches? Train the first network with
# two learning rates, sixteen orders of the data each, over the same time. `shared=False` gives every member of an
# ensemble its own batches. If the leak is proportional, then twice the leak at half the rate minus the leak at the full
# rate, which is the leak extrapolated to learning rate zero, is zero. Its standard error comes from the spread over the
# orders of the data; four of them either way.


# %%
def leaks(rate, repetitions=16):
    """Change of the invariants over the training, (repetitions, hidden units)."""
    stepper = Euler(rate)
    per_interval = round(interval * dt / rate)
    start = np.tile(theta, (repetitions, 1))
    own_batches = flow.minibatches(size=32, seed=0, shared=False)
    end = own_batches.tangent(stepper).benettin(
        start, intervals=steps // interval, steps_per_interval=per_interval, warmup=0, seed=0
    )
    return flow.invariants(end.end.x) - flow.invariants(start)


full_rate, half_rate = leaks(dt), leaks(dt / 2)
for name, leak in {"rate dt": full_rate, "rate dt/2": half_rate}.items():
    error = leak.std(axis=0, ddof=1) / np.sqrt(len(leak))
    print(f"{name:>10}: leak {leak.mean(axis=0).round(4)} ± {error.round(4)}")
extrapolated = 2 * half_rate.mean(axis=0) - full_rate.mean(axis=0)
errors = np.sqrt((4 * half_rate.var(axis=0, ddof=1) + full_rate.var(axis=0, ddof=1)) / len(full_rate))
print(f"extrapolated to rate zero: {extrapolated.round(4)} ± {errors.round(4)}")
assert np.all(np.abs(extrapolated) < 4 * errors)
assert np.all(full_rate.mean(axis=0) > 10 * errors)  # while the leak itself is far from zero
