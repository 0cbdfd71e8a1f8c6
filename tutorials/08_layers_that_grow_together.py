# %% [markdown]
# # Layers that grow together
#
# In a deep linear network the layers are tied: whatever the data, the matrices
#
#     G_l = W_{l+1}^T W_{l+1} - W_l W_l^T
#
# do not change along the gradient flow, so that all layers grow by the same amount. What of that is left when the
# network is not linear? A. Basu, S. Mukherjee and S. Vasudevan (arXiv:1904.10689) ask so of ReLU; only their abstract
# could be had, so what "grow" means here is ours: squared Frobenius norms.
#
# Run it with `python tutorials/08_layers_that_grow_together.py`, or cell by cell in an editor that knows `# %%`.

# %%
import matplotlib.pyplot as plt
import numpy as np

from dynsys import RK4, Euler
from models.activations import Linear, ReLU, Tanh
from models.layer_dynamics import DeepNetworkFlow

# %% [markdown]
# ## Three networks on one task
#
# Five inputs, two hidden layers of six units, three outputs, no biases; targets that no network meets. Each is a `Flow`
# on its 84 weights.

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
# The same initial weights, the same steps. The three lines of a panel are the three layers. In the linear network they
# are one line, and so they are for ReLU; tanh tells them apart. A network of linear pieces that meet at 0 does not
# notice when a unit's weights in are doubled and its weights out halved, and a symmetry means something conserved: here
# the *diagonal* of G_l, which is enough for the norms.

# %%
figure, panels = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
runs, grown = {}, {}
for panel, (name, flow) in zip(panels, networks.items(), strict=False):
    run = flow.tangent(RK4(0.02), backend="numpy").trajectory(start, intervals=100, steps_per_interval=10)
    states = np.concatenate([start[None], run.states])
    squares = np.stack([np.sum(W**2, axis=(-2, -1)) for W, _ in flow.network.unpack(states)], axis=-1)
    runs[name], grown[name] = states, squares - squares[0]
    for layer, line in enumerate(("-", "--", ":")):
        panel.plot(0.2 * np.arange(101), grown[name][:, layer], line, color="black", label=f"layer {layer + 1}")
    panel.set(title=name, xlabel="time (learning rate x steps)", ylabel="growth of the squared norm (no unit)")
panels[0].legend()
for name, values in grown.items():
    print(f"{name}: the layers grew by {', '.join(f'{value:.4f}' for value in values[-1])}")

# %% [markdown]
# ## What is conserved, entry by entry
#
# Off the diagonal ReLU conserves nothing: the gates differ from sample to sample. Gradient descent is not the flow, so
# even what the flow conserves drifts, but in proportion to the step. That is the test: a drift that falls with the step
# is the method's, one that stays is the network's.

# %%
steps = np.array([0.02, 0.005, 0.00125])
drifts = {}
for name, flow in networks.items():
    for part in ("all entries", "diagonal"):
        found = []
        for dt in steps:
            x = start
            for _ in range(round(2 / dt)):
                x = Euler(dt).step(flow, 0.0, x)
            changes = [np.abs(b - a) for a, b in zip(flow.balances(start), flow.balances(x), strict=True)]
            found.append(max((np.diag(G) if part == "diagonal" else G).max() for G in changes))
        drifts[name, part] = np.polyfit(np.log(steps), np.log(found), 1)[0]
        look = {"linear": "-", "ReLU": "--", "tanh": ":"}[name]
        grey = "black" if part == "all entries" else "0.55"
        panels[3].loglog(steps, found, look, color=grey, marker=".", label=f"{name}, {part}")
        print(f"{name}, {part}: the drift falls as step^{drifts[name, part]:.2f}")
panels[3].set(xlabel="step (time)", ylabel="largest change of G by time 2 (no unit)", title="drift")
panels[3].legend(fontsize=6)
plt.show()

# %% [markdown]
# ## What that has to do with exponents
#
# Every conserved quantity is a direction, for ever neutral, in the dual of the tangent space: at least one exponent
# vanishes for each. `vanishing_exponents` counts the independent ones.

# %%
counts = {name: flow.vanishing_exponents for name, flow in networks.items()}
print(counts)

# %% [markdown]
# ## Exercises
#
# 1. Give the ReLU network biases. Which diagonal is conserved then? *(That with b_l b_l^T taken into account, as
#    `balances` does.)*
# 2. `flow.linearised(start)` freezes the gates. Does G drift off its diagonal there? *(Yes, about as much: it is not
#    that samples cross kinks, it is that they have different gates.)*
# 3. Why 42 for the linear network? *(Two symmetric 6 x 6 matrices, 21 entries each.)*
#
# `dynsys layer-dynamics` measures all that on 20 networks of five kinds, with modes in closed form and exponents at a
# minimum: models/layer_dynamics/REPORT.md.

# %%
assert np.ptp(grown["linear"][-1]) < 1e-6 * grown["linear"][-1].max()
assert np.ptp(grown["ReLU"][-1]) < 1e-3 * grown["ReLU"][-1].max()
assert np.ptp(grown["tanh"][-1]) > 0.1 * grown["tanh"][-1].max()
assert abs(drifts["linear", "all entries"] - 1) < 0.1
assert abs(drifts["ReLU", "diagonal"] - 1) < 0.1
assert abs(drifts["ReLU", "all entries"]) < 0.1
assert counts == {"linear": 42, "ReLU": 12, "tanh": 0}
