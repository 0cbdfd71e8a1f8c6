# %% [markdown]
# # Layers that grow together
#
# We have met exponents that are exactly zero twice: in flows, which do not notice a shift in time (tutorial 1), and
# in ReLU networks, which do not notice when a unit's weights in are doubled and its weights out halved (tutorial 2).
# The second symmetry came with something that is conserved. How much of a deep network is tied down in this way?
#
# In a *linear* one, a great deal. Whatever the data, the matrices
#
#     G_l = W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ
#
# of neighbouring layers do not change along the gradient flow, so that all layers grow by the same amount. How much
# of that is left when the network is not linear? A. Basu, S. Mukherjee and S. Vasudevan (arXiv:1904.10689) ask this
# of ReLU; we could obtain only their abstract, so the meaning of "grow" here is ours: squared Frobenius norms.
#
# Needed from before: training as a flow and its Euler steps (tutorial 2); exponents at rest, ln|1 − dt h|/dt.
#
# Run it with `python tutorials/08_layers_that_grow_together.py`, or cell by cell in an editor that knows `# %%`.

# %%
import attrs
import matplotlib.pyplot as plt
import numpy as np

from dynsys import RK4, Euler
from dynsys.models.activations import Linear, ReLU, Tanh
from dynsys.models.networks import DeepNetworkFlow

# %% [markdown]
# ## Three networks on one task
#
# Five inputs, two hidden layers of six units, three outputs, no biases; targets that no network can meet. Each is a
# `Flow` on its 84 weights. They begin at the same small weights, so that whatever differs later is due to the
# activation.

# %%
random = np.random.default_rng(0)
X, y = random.normal(size=(40, 5)), random.normal(size=(40, 3))
networks = {
    "linear": DeepNetworkFlow(X, y, hidden=(6, 6), activation=Linear()),
    "ReLU": DeepNetworkFlow(X, y, hidden=(6, 6), activation=ReLU()),
    "tanh": DeepNetworkFlow(X, y, hidden=(6, 6), activation=Tanh()),
}
start = networks["linear"].initial(scale=0.3, seed=1)
print("dimension", networks["linear"].dimension)

# %% [markdown]
# ## How they grow
#
# The trace of G_l is |W_{l+1}|² − |W_l|². If the diagonal of G_l is conserved, then so is the trace, and two layers
# grow by the same amount. To see the flow and not the method, take Runge-Kutta steps.

# %%
dt, per_record, records = 0.02, 10, 100
times = dt * per_record * np.arange(records + 1)
grown = {}
for name, flow in networks.items():
    run = flow.tangent(RK4(dt), backend="numpy").trajectory(start, intervals=records, steps_per_interval=per_record)
    states = np.concatenate([start[None], run.states])
    squares = np.stack([np.sum(W**2, axis=(-2, -1)) for W, _ in flow.network.unpack(states)], axis=-1)
    grown[name] = squares - squares[0]
    print(f"{name}: the layers grew by {', '.join(f'{value:.4f}' for value in grown[name][-1])}")

figure, panels = plt.subplots(1, 3, figsize=(9.6, 3.8), sharey=True, layout="constrained")
looks = [("0.75", "-", 5.0), ("0.4", "--", 2.5), ("black", ":", 1.8)]  # lines that may lie on each other
for axes, (name, values) in zip(panels, grown.items(), strict=True):
    for layer, (color, line, width) in enumerate(looks):
        axes.plot(times, values[:, layer], ls=line, color=color, lw=width, label=f"layer {layer + 1}")
    axes.set(title=name, xlabel="time (learning rate × steps)", ylabel="growth of the squared norm (1)")
panels[0].legend()
plt.show()

# %% [markdown]
# In the linear network the three lines coincide, and so they do for ReLU; for tanh they differ. So it is not
# nonlinearity as such that breaks the tie. ReLU is made of linear pieces that meet at 0, hence the symmetry of
# doubling and halving, one for each hidden unit: what it conserves is the *diagonal* of G_l, and the diagonal is
# enough for the norms.
#
# ## What is conserved, entry by entry
#
# And off the diagonal? Gradient descent is not the flow: even what the flow conserves drifts, but in proportion to
# the step. That is the test. Take ever smaller steps up to the same time. A drift that falls with the step belongs to
# the method; one that does not fall belongs to the network.

# %%
steps = np.array([0.02, 0.005, 0.00125])
parts = {"all entries": lambda G: G, "diagonal": np.diag}


def changes(flow, begin, dt, until=2.0, balances=None):
    """What gradient descent has changed of each G_l by a time."""
    balances, x = balances or flow.balances, begin
    for _ in range(round(until / dt)):
        x = Euler(dt).step(flow, 0, 0.0, x)
    return [np.abs(b - a) for a, b in zip(balances(begin), balances(x), strict=True)]


drifts, orders = {}, {}
for name, flow in networks.items():
    found = [changes(flow, start, dt) for dt in steps]
    for part, select in parts.items():
        drifts[name, part] = np.array([max(select(G).max() for G in each) for each in found])
        orders[name, part] = np.polyfit(np.log(steps), np.log(drifts[name, part]), 1)[0]
        print(f"{name:6} {part:11}: the drift falls as step^{orders[name, part]:.2f}")

figure, panels = plt.subplots(1, 2, figsize=(8.0, 4.0), sharey=True, layout="constrained")
looks = {"linear": ("0.6", "-", 4.0, "o"), "ReLU": ("black", "--", 1.5, "s"), "tanh": ("black", ":", 1.5, "^")}
for axes, part in zip(panels, parts, strict=True):
    for name, (color, line, width, marker) in looks.items():
        axes.loglog(steps, drifts[name, part], ls=line, color=color, lw=width, marker=marker, mfc="white", label=name)
    axes.set(title=part, xlabel="step of gradient descent (time)", ylabel="largest change of G by time 2 (1)")
    axes.set_xticks(steps, [f"{dt:g}" for dt in steps])
    axes.minorticks_off()
panels[0].legend(loc="center right", bbox_to_anchor=(1.0, 0.7))
plt.show()

# %% [markdown]
# Off the diagonal ReLU conserves nothing: its gates differ from sample to sample, and with them the linear network that
# each sample sees. What all these have in common is the diagonal.
#
# ## What that has to do with exponents
#
# Two networks with different G never meet, however long they learn: every conserved quantity keeps a direction from
# being forgotten, and at least one exponent vanishes for it. `vanishing_exponents` counts the independent ones.
# Whether it counts correctly can be seen where the exponents are known, at a minimum: let each network make its own
# targets (then its loss is zero), and take the eigenvalues h of the Hessian. The exponents there are ln|1 − dt h|/dt.

# %%
counts, at_minimum = {}, {}
for name, flow in networks.items():
    teacher = flow.initial(seed=2)
    own = attrs.evolve(flow, y=flow.network.outputs(teacher, X))
    h = np.linalg.eigvalsh(-own.jvp(0.0, teacher, np.eye(own.dimension)))
    dt = 0.5 / h[-1]
    at_minimum[name] = np.log(np.abs(1 - dt * h)) / dt
    zeros = int(np.sum(np.abs(h) < 1e-10 * h[-1]))
    counts[name] = flow.vanishing_exponents
    print(f"{name}: {counts[name]} conserved quantities, {zeros} exponents of {len(h)} vanish at a minimum")
    assert zeros >= counts[name]

figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
number, rounding = np.arange(1, len(h) + 1), 1e-10  # what is smaller is drawn there
looks = {"linear": ("0.6", "-", 4.0), "ReLU": ("black", "--", 1.8), "tanh": ("black", ":", 1.8)}
for name, (color, line, width) in looks.items():
    size = np.maximum(np.abs(at_minimum[name]), rounding)
    axes.semilogy(number, size, ls=line, color=color, lw=width, drawstyle="steps-mid", label=name)
    if counts[name]:
        axes.axvline(counts[name] + 0.5, color=color, ls=line, lw=1)
axes.set(xlabel="number of the exponent (1 to 84)", ylabel="size of the exponent at a minimum (1/time)")
axes.set_title("Zeros at a minimum; vertical: conserved quantities")
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# There are at least as many zeros as conserved quantities. There may be more: what the linear network computes is one
# 3 × 5 matrix, so only 15 combinations of its 84 weights matter at all, and 69 do not. A conserved quantity says more
# than such a zero does: it holds throughout training, not only at its end.
#
# ## Exercises
#
# 1. Give the ReLU network biases. Which diagonal is conserved then?
# 2. `flow.linearised(start)` freezes the gates of ReLU, so that no sample crosses a kink. Does G drift off its diagonal
#    there?
# 3. Why 42 for the linear network? How many would it be with hidden layers of four and three units?
#
# ## Answers
#
# *1.* That of W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ − b_l b_lᵀ: a bias is a weight from an input that is always 1, and the
# doubling must include it. `balances` counts it; without it the diagonal drifts.

# %%
biased = DeepNetworkFlow(X, y, hidden=(6, 6), activation=ReLU(), biases=True)
begin = biased.initial(scale=0.3, seed=1)


def without(x):
    """The G_l again, the biases left out."""
    return [G + b.T * b for G, (_, b) in zip(biased.balances(x), biased.network.unpack(x), strict=False)]


largest = {
    name: max(np.diag(G).max() for G in changes(biased, begin, 0.00125, balances=balances))
    for name, balances in (("with biases", biased.balances), ("without", without))
}
print("largest change on the diagonal:", {name: float(f"{value:.2g}") for name, value in largest.items()})
assert largest["with biases"] < largest["without"] / 20

# %% [markdown]
# *2.* Yes, about as much. It is not that samples cross kinks; it is that they have different gates.

# %%
frozen = changes(networks["ReLU"].linearised(start), start, 0.00125)
off = max((G - np.diag(np.diag(G))).max() for G in frozen)
print(f"largest change off the diagonal: gates frozen {off:.3f}, free {drifts['ReLU', 'all entries'][-1]:.3f}")
assert 0.5 < off / drifts["ReLU", "all entries"][-1] < 2

# %% [markdown]
# *3.* Each of the two symmetric 6 × 6 matrices has 21 independent entries. With four and three units: 10 + 6.

# %%
smaller = DeepNetworkFlow(X, y, hidden=(4, 3), activation=Linear())
print("hidden layers of four and three units:", smaller.vanishing_exponents)
assert smaller.vanishing_exponents == 4 * 5 // 2 + 3 * 4 // 2

# %% [markdown]
# `dynsys layer-dynamics` measures all that on 20 networks of five kinds, with modes in closed form and exponents by
# Benettin's algorithm: models/layer_dynamics/REPORT.md.
#
# ## The headline
#
# Linear and ReLU layers grow by the same amount and tanh layers do not; a linear network conserves every entry of G, a
# ReLU network its diagonal, a tanh network nothing.

# %%
print("growth by layer:", {name: values[-1].round(3).tolist() for name, values in grown.items()})
print("vanishing exponents:", counts)
assert np.ptp(grown["linear"][-1]) < 1e-6 * grown["linear"][-1].max()
assert np.ptp(grown["ReLU"][-1]) < 1e-3 * grown["ReLU"][-1].max()
assert np.ptp(grown["tanh"][-1]) > 0.1 * grown["tanh"][-1].max()
assert abs(orders["linear", "all entries"] - 1) < 0.1
assert abs(orders["ReLU", "diagonal"] - 1) < 0.1
assert abs(orders["ReLU", "all entries"]) < 0.1
assert counts == {"linear": 42, "ReLU": 12, "tanh": 0}
