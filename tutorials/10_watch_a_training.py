# %% [markdown]
# # Watching a training
#
# So far every network was written for this course. Yours is not: it is a PyTorch model of some size, with an optimiser
# from `torch.optim`, a data loader and a loop. A `TrainingMonitor` takes part in that loop. It pushes a few tangent
# vectors through every step of the training, by its exact derivative, with the batch, the learning rate and the
# momentum of that step; the training itself does not notice. What do the exponents say that the loss does not?
#
# Needed from before: training as a map and its finite-time exponents (tutorial 2), the edge of stability (tutorial 7).
# You need PyTorch: `pip install '.[torch]'`.
#
# Run it with `python tutorials/10_watch_a_training.py`, or cell by cell in an editor that knows `# %%`.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from dynsys.torch import TrainingMonitor

torch.set_num_threads(1)  # more do not help a small network

# %% [markdown]
# ## An ordinary loop
#
# Handwritten digits, 8 x 8 pixels, and a perceptron with one hidden layer, 2410 weights. Nothing here knows of dynsys.

# %%
pixels, labels = load_digits(return_X_y=True)
X, y = torch.tensor(pixels / 8 - 1, dtype=torch.float32), torch.tensor(labels)
order = torch.from_numpy(np.random.default_rng(0).permutation(len(X)))
train, test = order[:1500], order[1500:]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))


def batches(epochs, seed=0):
    """Batches of 100, every epoch in another order."""
    numbers = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in train[torch.randperm(len(train), generator=numbers)].split(100):
            yield X[rows], y[rows]


def accuracy(model):
    return float((model(X[test]).argmax(dim=1) == y[test]).float().mean())


model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for inputs, targets in batches(epochs=20):
    loss = cross_entropy(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.4f}, accuracy on test data {accuracy(model):.3f}")

# %% [markdown]
# ## With a monitor
#
# One line before the loop, and one in it instead of three. The trained weights are the same to the last bit.

# %%
watched = network()
optimizer = torch.optim.SGD(watched.parameters(), lr=0.1, momentum=0.9)
monitor = TrainingMonitor(watched, optimizer, k=5, steps_per_interval=5)
losses = []
for inputs, targets in batches(epochs=20):
    loss = monitor.step(cross_entropy(watched(inputs), targets))
    losses.append(loss.item())

same = all(torch.equal(a, b) for a, b in zip(model.parameters(), watched.parameters(), strict=True))
spectrum = monitor.spectrum()
print(f"the same weights: {same}; dimension {monitor.dimension}: weights and their momentum")
print(spectrum)
assert same

# %% [markdown]
# `monitor.last` has the numbers of the last interval for a logger. An exponent is per *step*: the mean of ln(growth)
# of a small change. (At a constant rate η, divide it by η for one per unit of the gradient flow's time.) A training
# is a transient, so the mean since the start says little, and its error bar no more; look at what happens when.

# %%
times = spectrum.times
windows = spectrum.rates.reshape(-1, 4, 5).mean(axis=1)  # of 20 steps
figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 5.6), sharex=True, layout="constrained")
top.semilogy(losses, color="black", lw=1)
top.set(ylabel="loss of the batch (nat)", title="SGD with momentum: 300 steps")
bottom.semilogy(times[3::4], windows[:, 0], color="black", label="first vector")
bottom.semilogy(times[3::4], windows[:, 4], color="0.5", ls="--", label="fifth vector")
bottom.semilogy(times[3::4], 0.3 / times[3::4], color="0.6", ls=":", label="0.3 / time, for comparison")
bottom.set(xlabel="time (steps)", ylabel="growth over 20 steps (1/step)")
bottom.legend()
plt.show()

print("growth x time:", (windows[::2, 0] * times[3::8]).round(2))
assert np.all(np.abs(spectrum.rates[-20:].mean(axis=0)) < 0.01)

# %% [markdown]
# The first vector is a small change of the initial weights, in a random direction. In the first twenty steps, while the
# network leaves its random start and the momentum gathers speed, it grows by a few per cent in each step. After that
# its rate of growth falls about as 1/time. So small changes are magnified by a power of the time, not exponentially:
# this training is about as insensitive as one that is still on its way can be. The rate vanishes only when the loss is
# flat.
#
# ## The edge of stability
#
# Full-batch gradient descent, now with a squared loss, at the learning rate η = 0.1. The *sharpness* h is the largest
# eigenvalue of the Hessian H of the loss. Near a minimum a step multiplies a small change by 1 − ηH, so that a minimum
# with h > 2/η repels. It takes ten lines to compute h from products of the Hessian with a vector; the monitor needs
# such products, too, with its own vectors.

# %%
wanted = one_hot(y, 10).float()
eta = 0.1


def squares(model):
    """Half the mean of the squared distance from the targets, over all training data."""
    return 0.5 * (model(X[train]) - wanted[train]).square().sum(dim=1).mean()


def sharpness(model, v, iterations):
    """The largest eigenvalue of the Hessian by power iteration, and its vector."""
    weights = list(model.parameters())
    slope = torch.autograd.grad(squares(model), weights, create_graph=True)
    for _ in range(iterations):
        length = torch.sqrt(sum(part.square().sum() for part in v))
        v = [part / length for part in v]
        Hv = torch.autograd.grad(slope, weights, v, retain_graph=True)
        h, v = sum(float((a * b).sum()) for a, b in zip(v, Hv, strict=True)), Hv
    return h, v


model = network()
monitor = TrainingMonitor(model, torch.optim.SGD(model.parameters(), lr=eta), k=1)
losses, curvature, v = [], [], [torch.randn_like(weight) for weight in model.parameters()]
for step in range(1000):
    if step % 10 == 0:
        h, v = sharpness(model, v, iterations=5 if step else 50)
        curvature.append(eta * h / 2)
    losses.append(float(monitor.step(squares(model))))
growth = monitor.spectrum().rates[:, 0]
curvature = np.array(curvature)
reached = 10 * int(np.argmax(curvature[10:] > 1.0)) + 100
print(f"sharpness × η/2 reaches 1 at step {reached}; median of the last 300 steps: {np.median(curvature[-30:]):.3f}")

figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(6.4, 7.2), sharex=True, layout="constrained")
top.plot(losses, color="black", lw=1)
top.set(ylabel="loss (1)", yscale="log", title=f"Gradient descent, η = {eta}")
middle.plot(np.arange(0, 1000, 10), curvature, "k.-", lw=1)
middle.axhline(1.0, color="0.6", lw=1)
middle.set(ylabel="sharpness × η/2 (1)")
bottom.axhline(0.0, color="0.6", lw=1)
bottom.plot(monitor.spectrum().times - 5, growth, "k.-", lw=1)
bottom.set(xlabel="time (steps)", ylabel="growth over 10 steps (1/step)", ylim=(-0.06, 0.06))
plt.show()

# %% [markdown]
# *Middle*: the sharpness grows past 2/η, falls back below it, and grows again: it stays close to 2/η, the edge of
# stability (J. Cohen and others, arXiv:2103.00065). *Top*: while it falls back the loss has a peak, from which it
# recovers. *Bottom*: that is when small changes grow, by a factor of e^0.4 or so, and shrink again.
#
# Note what does *not* happen: the exponent does not announce the peak. The sharpness passes the edge two hundred steps
# before; it says how fast a change *would* grow if it pointed along the sharp direction. The exponent says what changes
# *do*, and at first they hardly point there; neither does the motion of the weights. Both find the unstable direction
# at the same time, and so exponent and loss rise together. An exponent is a statement about the path, not a forecast.

# %%
peak = 300 + int(np.argmax(losses[300:900]))
grows = monitor.spectrum().times[np.argmax(growth > 0.01)]
print(f"peak of the loss at step {peak}; growth above 0.01 per step from step {grows:.0f} on")
print(f"ln(growth) in the intervals above 0.01: {10 * growth[growth > 0.01].sum():.2f}, of the next two", end="")
print(f" {10 * growth[np.argmax(growth) + 2 :][:2].sum():.2f}")
assert 450 < reached < 570
assert abs(np.median(curvature[-30:]) - 1) < 0.05
assert abs(grows - peak) < 50
assert peak - reached > 100

# %% [markdown]
# ## A learning rate that is too large
#
# Back to the batches, with momentum, at four learning rates, and for each with three seeds of the initial weights and
# of the order of the data. The largest rate is hopeless. Does the exponent know earlier than the loss?


# %%
def follow(optimizer_of, seed=0, epochs=14, **options):
    """Losses of all steps, the growth of one vector in each interval of five steps, and the network."""
    model = network(seed)
    monitor = TrainingMonitor(model, optimizer_of(model.parameters(), **options), k=1, steps_per_interval=5)
    losses = [float(monitor.step(cross_entropy(model(inputs), targets))) for inputs, targets in batches(epochs, seed)]
    return np.array(losses), monitor.spectrum().rates[:, 0], model


rates = (0.1, 0.5, 1.1, 2.0)
runs = {rate: [follow(torch.optim.SGD, seed, lr=rate, momentum=0.9) for seed in range(3)] for rate in rates}
figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 5.6), sharex=True, layout="constrained")
looks = (("0.6", "-"), ("black", "-"), ("black", "--"), ("0.4", ":"))
for (rate, some), (color, line) in zip(runs.items(), looks, strict=True):
    losses, growth, _ = some[0]
    top.semilogy(losses, color=color, ls=line, label=f"rate {rate}")
    bottom.plot(5 * np.arange(1, 1 + len(growth)), growth, color=color, ls=line)
top.set(ylabel="loss of the batch (nat)", ylim=(1e-3, 1e3), title="SGD with momentum 0.9 at four rates")
top.legend(ncols=4, loc="upper right", fontsize=8)
bottom.axhline(0.0, color="0.7", lw=0.8)
bottom.set(xlabel="time (steps)", ylabel="growth over 5 steps (1/step)")
plt.show()

early, late, growing, kept = {}, {}, {}, {}
for rate, some in runs.items():
    early[rate] = np.array([losses[20:25].mean() for losses, _, _ in some])
    late[rate] = np.array([losses[-30:].mean() for losses, _, _ in some])
    growing[rate] = np.array([growth[5:20].mean() for _, growth, _ in some])
    kept[rate] = np.array([growth[-10:].mean() for _, growth, _ in some])
    print(f"rate {rate}: loss after 25 steps {early[rate].round(2)}, at the end {late[rate].round(3)}")
    print(f"          growth from step 25 to 100 {growing[rate].round(3)}, at the end {kept[rate].round(3)} per step")

# %% [markdown]
# At the rate 2 training fails, and the loss shows it as soon as the exponent does: within ten steps it is several times
# what it was. Nobody needs a monitor for that.
#
# But look at the rate 1.1. After 25 steps its loss is about as good as at 0.1; the growth is fifty times as large,
# 30 per cent in every step, and goes on. This training is chaotic: it learns, up to a point, but not to the end, and
# what it learns depends on the last digits of its weights. At 0.5, which learns best of all, changes grow for a while,
# but no longer once the loss is flat. There is a second way to see that, without a monitor and at the cost of another
# training: change one weight in its seventh digit, train again, and count the test images on which the two networks
# disagree.


# %%
def trained(rate, nudge=0.0):
    """What a network that was trained without a monitor says of the test images."""
    model = network()
    with torch.no_grad():
        model[0].weight[0, 10] *= 1 + nudge
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    for inputs, targets in batches(epochs=14):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model(X[test]).argmax(dim=1)


disagree = {rate: int((trained(rate) != trained(rate, nudge=1e-6)).sum()) for rate in (0.1, 0.5, 1.1)}
print(f"of {len(test)} test images the two disagree on:", disagree)
assert disagree[0.1] == 0
assert disagree[1.1] > 5
assert runs[2.0][0][0][10] > 2 * runs[2.0][0][0][0]
assert early[1.1].mean() < 1.2 * early[0.1].mean()
assert growing[1.1].min() > 20 * growing[0.1].max()
assert late[1.1].min() > 3 * late[0.1].max()
assert np.abs(kept[0.5]).max() < 0.01 < growing[0.5].min()

# %% [markdown]
# So ask the loss whether a training fails, and the exponent whether it can be repeated.
#
# ## Adam, and a run that is resumed
#
# With another optimiser nothing changes in the loop. Its memory, here two moments for each weight, is part of the
# state: a change of the weights lives on in it, too. A monitor is saved beside the checkpoint that you write anyway,
# and goes on from there with the same bits.


# %%
def some_steps(monitor, model, batch_list):
    for inputs, targets in batch_list:
        monitor.step(cross_entropy(model(inputs), targets))


def new():
    model = network()
    return model, torch.optim.Adam(model.parameters(), lr=0.003)


every_batch = list(batches(epochs=12))
model, optimizer = new()
whole = TrainingMonitor(model, optimizer, k=2, steps_per_interval=10)
with tempfile.TemporaryDirectory() as folder:
    checkpoint, saved = Path(folder) / "training.pt", Path(folder) / "monitor.npz"
    some_steps(whole, model, every_batch[:77])
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
    whole.save(saved)
    some_steps(whole, model, every_batch[77:])

    model, optimizer = new()  # as a new process would
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    resumed = TrainingMonitor.load(saved, model, optimizer)
    some_steps(resumed, model, every_batch[77:])
rates_of_adam = whole.spectrum().rates
print("growth over 10 steps, the first vector:", rates_of_adam[:, 0].round(3))
print("the same bits after it was resumed:", np.array_equal(rates_of_adam, resumed.spectrum().rates))
assert np.array_equal(rates_of_adam, resumed.spectrum().rates)

# %% [markdown]
# ## Exercises
#
# 1. Can the first exponent be trusted? Train a network in float64 by Adam, once with a monitor and k = 1, and once from
#    weights at a distance of 1e-7 from its own, along the monitor's first vector. That is
#    `np.random.default_rng([seed, 0]).normal(size=number of weights)`, made a unit vector.
# 2. With weight decay 0.01, what is the exponent of a direction along which the loss is flat?
# 3. Follow gradient descent at η = 0.2 instead of 0.1. Where is the edge, and does the loss still fall?
#
# ## Answers
#
# *1.* They agree, but for the change in Adam's memory, which is part of the tangent vector and not of the distance.

# %%
double = [network().double() for _ in range(2)]
start = nn.utils.parameters_to_vector(double[0].parameters()).detach()
first = torch.from_numpy(np.random.default_rng([0, 0]).normal(size=len(start)))
nn.utils.vector_to_parameters(start + 1e-7 * first / first.norm(), double[1].parameters())
optimizers = [torch.optim.Adam(model.parameters(), lr=0.003) for model in double]
monitor = TrainingMonitor(double[0], optimizers[0], k=1)
for inputs, targets in batches(epochs=10):
    monitor.step(cross_entropy(double[0](inputs.double()), targets))
    optimizers[1].zero_grad()
    cross_entropy(double[1](inputs.double()), targets).backward()
    optimizers[1].step()
ends = [nn.utils.parameters_to_vector(model.parameters()).detach() for model in double]
by_pair = np.log(float((ends[1] - ends[0]).norm()) / 1e-7) / monitor.steps
by_tangent = monitor.spectrum().exponents[0]
print(f"ln(growth) per step over {monitor.steps} steps: tangent {by_tangent:.7f}, pair {by_pair:.7f}")
assert abs(by_pair - by_tangent) < 1e-5

# %% [markdown]
# *2.* ln(1 − 0.01 η): the loss has no slope along it, and the decay shrinks every difference by 1 − 0.01 η in each
# step. The biases of the last layer have such a direction: a number that is added to all of them changes no
# probability.

# %%
pair = [network().double() for _ in range(2)]
with torch.no_grad():
    pair[1][2].bias += 1.0
for model in pair:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, weight_decay=0.01)
    for inputs, targets in batches(epochs=10):
        optimizer.zero_grad()
        cross_entropy(model(inputs.double()), targets).backward()
        optimizer.step()
difference = [b - a for a, b in zip(pair[0].parameters(), pair[1].parameters(), strict=True)]
shrunk = np.log(difference[3].detach().numpy()) / 150
print(f"per step: {shrunk.mean():.9f}, ln(1 - 0.01 x 0.3) = {np.log(1 - 0.003):.9f}")
assert np.allclose(shrunk, np.log(1 - 0.003), rtol=1e-9)
assert max(float(part.detach().abs().max()) for part in difference[:3]) < 1e-9

# %% [markdown]
# *3.* At 2/0.2 = 10, half as high, and it is there from the beginning. The loss falls, but not in every step.

# %%
model = network()
optimizer, v = torch.optim.SGD(model.parameters(), lr=0.2), [torch.randn_like(weight) for weight in model.parameters()]
found, at_twice = [], []
for step in range(600):
    if step >= 300 and step % 10 == 0:
        h, v = sharpness(model, v, iterations=5 if found else 50)
        found.append(h)
    optimizer.zero_grad()
    loss = squares(model)
    loss.backward()
    optimizer.step()
    at_twice.append(loss.item())
rises = np.mean(np.diff(at_twice[300:]) > 0)
print(f"median of the sharpness {np.median(found):.1f}, 2/η = 10; loss {at_twice[0]:.2f}, {at_twice[300]:.3f}", end="")
print(f", {at_twice[-1]:.3f}; rises in {rises:.0%} of the last 300 steps")
assert abs(np.median(found) - 10) < 1
assert at_twice[-1] < at_twice[300]
assert rises > 0.1

# %% [markdown]
# Which networks, optimisers and loops the monitor works with, what it costs, and what to do where it refuses:
# docs/pytorch.md.
#
# ## The headline
#
# A monitor does not touch the training. Full-batch descent ends at the edge, where the sharpness is 2/η. A rate at
# which training fails is seen in the loss; one at which it is chaotic, only in the exponent.

# %%
print(f"the same weights: {same}; sharpness × η/2: {np.median(curvature[-30:]):.3f}")
print(f"growth per step at the rates 0.1 and 1.1: {growing[0.1].mean():.3f}, {growing[1.1].mean():.3f}")
print(
    f"after a change in the seventh digit other answers for {disagree[0.1]} and {disagree[1.1]} of {len(test)} images"
)
assert same
assert disagree[0.1] < disagree[1.1]
