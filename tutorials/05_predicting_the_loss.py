# %% [markdown]
# # An ensemble, and predicting the final loss
#
# Train the same small network 256 times, from different initial weights, on the same data. Some runs end well,
# some get stuck, and while they run nobody can tell which is which. Or can we? N. Sharafi, C. Martin and S. Hallerberg
# ("On the weight dynamics of learning networks", arXiv:2405.00743) propose to watch the finite-time Lyapunov exponents
# lambda_q(t): how fast the directions in weight space have grown or shrunk since the start.
#
# This tutorial runs an ensemble, looks at its valleys, and then puts the question to the exponents and, because an
# indicator is worth something only if it beats what is known anyway, to the loss itself.
#
# Needed from before: the network, where its training ends, and its finite-time exponents (tutorial 2); judging an
# indicator by its ROC curve, on data that chose nothing (tutorial 4).
#
# Run it with `python tutorials/05_predicting_the_loss.py`, or cell by cell in an editor that knows `# %%`.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dynsys.models.weight_dynamics import regression_task
from dynsys.models.weight_dynamics.paper.prediction import halves, naive_bayes
from dynsys.models.weight_dynamics.runs import TrainingRuns
from dynsys.models.weight_dynamics.study import Study

# %% [markdown]
# ## The ensemble
#
# A `Study` holds the settings: 256 ReLU networks of two hidden units, minibatches of 32, learning rate 1e-4 (a little
# larger than the paper's, which does not matter and saves time). At the `predictions`, counted in intervals of 20
# steps, everything that might predict the outcome is recorded. The ensemble goes to a store on disk, block by block: if
# interrupted, run the cell again to resume.

# %%
study = Study(
    activations=("relu",), members=256, learning_rate=1e-4, data_seed=9, predictions=(50, 150, 450, 900, 1800, 3600)
)
X, y = regression_task(samples=1000, seed=study.seeds["data"])
with tempfile.TemporaryDirectory() as folder:
    runs = TrainingRuns(study, X, y).ensemble().run(Path(folder) / "runs.zarr", block=16).load().sel(activation="relu")
print(runs.sizes)

# %% [markdown]
# ## Where the runs end
#
# The final losses are not spread out: they sit in a few valleys. Near 2 both hidden units do their share of the work.
# Between 8 and 10 the network is a bent line at best: a linear function leaves a loss of about 8. (A few runs are dead,
# as in tutorial 2: both units are off for every sample, and the loss stays at the variance of y, about 100.)

# %%
final = runs.loss.isel(time=-1).values
low = final < 4.0
print(f"{low.sum()} of {len(final)} runs end below 4; the others between {final[~low].min():.3g} and {final.max():.3g}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.hist(final, bins=np.geomspace(1.0, 150.0, 60), color="0.6", edgecolor="0.3")
left.axvline(4.0, color="black", linestyle=":")
left.set(xscale="log", xlabel="final loss (squared units of y)", ylabel="runs (number)")
for outcome, look, label in ((low, "-", "ends below 4"), (~low, "--", "ends above")):
    right.plot(runs.time, np.median(runs.loss.values[outcome], axis=0), look, color="black", label=f"loss, {label}")
right.set(
    xscale="log", yscale="log", xlabel="time t (learning rate x steps)", ylabel="median loss (squared units of y)"
)
right.legend()
plt.show()

# %% [markdown]
# On the right, a surprise: from t = 0.3 to 3 the runs that will end well are those with the *higher* loss. The others
# have fallen into the broad valley of the bent line, fast, and stay there. Stopping the runs that lag behind would be
# the wrong thing to do.
#
# ## Asking an indicator
#
# An indicator is a number for every run, taken at time t. It is good if runs that end well have different values from
# those that do not. The *area under the ROC curve* (AUC) is the chance that two runs, one of each kind and picked at
# random, are told apart: 0.5 is guessing, 1 is certainty. There are two ways to ask:
#
# - Is the value *high or low*? Runs are ranked by the indicator.
# - In which *range* is the value? The axis is cut into six bins, and each run gets the odds of its bin: a naive Bayes
#   classifier, the one of the paper.
#
# Two things keep us honest. What is chosen (whether high or low values are the good sign; the bins and their odds) is
# chosen on one half of the runs, and the AUC is that of the other half. And every AUC comes with its interval, because
# about forty runs of a kind are not many.

# %%
training = halves(low)
exponents = runs.window_exponent.sel(span="start")
indicators = {
    "loss C(t)": runs.window_loss.values,
    "largest curvature": runs.sharpness.values,
    "exponent $\\lambda_6(t)$": exponents.sel(q=6).values,
    "exponent $\\lambda_9(t)$": exponents.sel(q=9).values,
}
times = runs.prediction.values * study.interval * study.learning_rate
scores = {name: [naive_bayes(v, low, training, bins=6) for v in values.T] for name, values in indicators.items()}
ways = {
    "high or low?": {name: [score.rank for score in found] for name, found in scores.items()},
    "in which range?": {name: [score.auc for score in found] for name, found in scores.items()},
}
for way, areas in ways.items():
    print(way)
    for name, found in areas.items():
        print(f"  {name:24}", *(f"{area.test:.2f} ({area.low:.2f}-{area.high:.2f})" for area in found))

# %%
figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
looks = (
    {"color": "black", "marker": "o"},
    {"color": "black", "marker": "s", "linestyle": "--"},
    {"color": "0.5", "marker": "^"},
    {"color": "0.5", "marker": "D", "linestyle": "--"},
)
for axes, (way, areas) in zip(panels, ways.items(), strict=True):
    for look, (name, found) in zip(looks, areas.items(), strict=True):
        axes.plot(times, [area.test for area in found], label=name, **look)
        low_end, high_end = zip(*((area.low, area.high) for area in found), strict=True)
        axes.fill_between(times, low_end, high_end, color=look["color"], alpha=0.08)
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.set(xscale="log", xlabel="time t (learning rate x steps)", title=way)
    axes.set_ylabel("AUC of a final loss below 4 (1: certain)")
panels[0].legend(loc="lower right")
plt.show()

# %% [markdown]
# ## What the figure says, and what it does not
#
# Asked *high or low*, the indicators tell the story we hoped for: near t = 2 the most stable exponent knows more than
# the loss, 0.9 against 0.8. The geometry of the valley gives it away before the loss does.
#
# Asked *in which range*, the story falls apart. The loss now says nearly everything, long before any exponent says
# anything: the runs that will be stuck sit at the loss of the bent line, and both those that are better *and those
# that are worse* at that moment will end well. A rank cannot say that; six bins can. An indicator is worth what it
# adds to the obvious one, and the obvious one must be asked in as many ways as the clever one.
#
# The curvature, the largest eigenvalue of the Hessian at that moment, also knows as much as the ninth exponent, and
# knew it earlier. That is no accident. Near a minimum the tangent dynamics is dv/dt = -H v, so the most stable exponent
# is minus the largest curvature, *averaged over the time since the start*; an average lags behind.
#
# The study of the whole paper (`dynsys weight-dynamics --study paper`) puts such questions to 40,000 runs, with all
# exponents and all angles, at eight times: models/weight_dynamics/REPORT.md.

# %%
at = int(np.argmin(np.abs(times - 1.8)))
correlation = np.corrcoef(runs.sharpness.values[:, at], exponents.sel(q=9).values[:, at])[0, 1]
print(f"correlation of lambda_9 with the largest curvature at t = {times[at]:.2g}: {correlation:.2f}")

# %% [markdown]
# ## Exercises
#
# 1. Predict the *high* losses, those of dead networks, instead. How many are there, and what can be said?
# 2. Take `span="window"`, the exponents over the last ten intervals alone. Do they know as much as the curvature does?
# 3. Ask the loss and the ninth exponent together, in which range: `naive_bayes` takes several columns. Does that help?
#
# ## Answers
#
# *1.* Three, that is two in one half and one in the other: nothing can be said, and the score says so. For a rare
# outcome what matters is the number of runs, not the indicator.

# %%
dead = final > 50.0
score = naive_bayes(indicators["loss C(t)"][:, at], dead, halves(dead), bins=6)
print(f"{dead.sum()} of {len(final)} runs; area under the curve: {score.rank.test}")
assert dead.sum() < 4
assert np.isnan(score.rank.test)

# %% [markdown]
# *2.* They follow the present and not the average, so they come closer to it, with the noise of 200 batches.

# %%
recent = runs.window_exponent.sel(span="window", q=9).values[:, at]
alike = np.corrcoef(runs.sharpness.values[:, at], recent)[0, 1]
area = naive_bayes(recent, low, training, bins=6).rank
print(f"correlation with the curvature {alike:.2f} (since the start: {correlation:.2f}), area {area}")
assert alike < correlation < 0

# %% [markdown]
# *3.* No: asked in this way, the loss alone has said it all.

# %%
loss, ninth = (indicators[name][:, at] for name in ("loss C(t)", "exponent $\\lambda_9(t)$"))
together = naive_bayes(np.column_stack([loss, ninth]), low, training, bins=6).auc
print(f"together {together}, the loss alone {scores['loss C(t)'][at].auc}")
assert together.low < scores["loss C(t)"][at].auc.test

# %% [markdown]
# ## The headline
#
# At t = 1.8: asked whether it is high or low, the ninth exponent knows more than the loss; asked in which range it is,
# the loss knows nearly everything.

# %%
ranked, binned = ({name: found[at].test for name, found in areas.items()} for areas in ways.values())
print("high or low?   ", {name: round(value, 2) for name, value in ranked.items()})
print("in which range?", {name: round(value, 2) for name, value in binned.items()})
assert ranked["exponent $\\lambda_9(t)$"] > ranked["loss C(t)"] + 0.05
assert binned["loss C(t)"] > 0.9
