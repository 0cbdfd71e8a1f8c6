# %% [markdown]
# # Early warning, honestly
#
# A neuron is silent, and then it fires. An ecosystem looks healthy, and then it tips. Such transitions are fast, what
# leads to them is slow, and it would be good to know in advance. One idea: before a transition the directions in
# which disturbances grow and decay, the covariant vectors of tutorial 3, are said to come close to each other; so
# watch the angles between them, and the finite-time exponents, and sound an alarm. (N. Sharafi, M. Timme, S.
# Hallerberg, "Critical transitions and perturbation growth directions", Phys. Rev. E 96, 032220 (2017).)
#
# Before you believe an alarm, ask two questions. Did it use anything that was not known *at the time*? And does it
# beat the obvious quantity that anybody would have looked at? This tutorial asks both of a bursting neuron.
#
# Needed from before: rates and the sum of the exponents (tutorial 1), covariant vectors and their backward transient
# (tutorial 3).
#
# Run it with `python tutorials/04_early_warning.py`, or cell by cell in an editor that knows `# %%`.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import mannwhitneyu, spearmanr

from dynsys import RK4
from dynsys.indicators import line_distance
from dynsys.models.classics import HindmarshRose

neuron = HindmarshRose()
tangent = neuron.tangent(RK4(dt=0.02))
print(neuron)

# %% [markdown]
# ## The neuron, the event, the question
#
# Hindmarsh and Rose's neuron has two fast variables, the membrane potential x and the recovery y, and a slow current z
# that rises while the neuron fires and falls while it rests. One long run gives us everything. `ginelli` looks at it
# with *hindsight*: its vectors at a time use the whole future of the run. `benettin` on the same run gives the growth
# rates of the frame, which use the past alone.

# %%
run = {"x0": [0.0, 0.0, 3.0], "intervals": 100_000, "steps_per_interval": 10, "warmup": 10_000, "seed": 0}
hindsight = tangent.ginelli(tail=10_000, **run)
spectrum = tangent.benettin(**run)
times, states = hindsight.times, hindsight.states
x, z = states[:, 0], states[:, 2]
interval = tangent.dt * run["steps_per_interval"]
assert np.array_equal(spectrum.times, times)
print("exponents", spectrum.exponents.round(4), "±", spectrum.standard_error.round(4), "per unit of time")

# %% [markdown]
# A spike begins where x crosses zero upward. The event to predict is the *onset*: a spike after more than 20 units of
# silence. The question is put once per unit of time, during silences that have already lasted that long: will the
# onset come within the next 5 units? (While the neuron fires there is nothing to predict, and in short pauses between
# spikes we do not ask.) Everything that follows from one silence is one piece of evidence, not many; that will matter
# for the error bars.

# %%
quiet_enough, horizon = 20.0, 5.0  # units of time
ups = np.flatnonzero((x[:-1] <= 0) & (x[1:] > 0)) + 1
downs = np.flatnonzero((x[:-1] > 0) & (x[1:] <= 0)) + 1
ups = ups[ups > downs[0]]
silence_before = times[ups] - times[downs[np.searchsorted(downs, ups) - 1]]
onsets = ups[silence_before > quiet_enough]

steps_of_unit = round(1 / interval)
asked, silence = [], []  # indices at which the question is put, and the number of the silence
for number, (onset, length) in enumerate(zip(onsets, silence_before[silence_before > quiet_enough], strict=True)):
    first = onset - int((length - quiet_enough) / interval)
    here = np.arange(first, onset, steps_of_unit)
    asked.append(here)
    silence.append(np.full(len(here), number))
asked, silence = np.concatenate(asked), np.concatenate(silence)
wait = times[onsets[silence]] - times[asked]  # until the onset, units of time
print(
    f"{len(ups)} spikes, {len(onsets)} onsets; {len(asked)} questions, to {np.sum(wait <= horizon)} the answer is yes"
)

figure, panels = plt.subplots(2, 1, figsize=(8.0, 4.6), sharex=True, layout="constrained")
shown = slice(onsets[20] - 1200, onsets[20] + 600)
panels[0].plot(times[shown], x[shown], color="black", lw=1)
panels[1].plot(times[shown], z[shown], color="black", lw=1)
for axes in panels:
    for onset in onsets[(onsets > shown.start) & (onsets < shown.stop)]:
        axes.axvspan(times[onset] - horizon, times[onset], color="0.8")
panels[0].set(ylabel="$x$ (dimensionless)", title="A bursting neuron; grey: the answer is yes")
panels[1].set(ylabel="$z$ (dimensionless)", xlabel="time (time constants of $y$)")
plt.show()

# %% [markdown]
# ## Past, present, future
#
# Which covariant vectors are known when? In three dimensions, with one growing, one neutral and one decaying direction,
# the answer is neat. The first vector is what the *past* has made of any disturbance. The second is the velocity, which
# is known in the *present*. And the third, which decays fastest, is defined by what *will* happen to it: it is all
# future. To see that, throw the past away. Start at a state of the run with a random frame and no warm-up; the result
# complains, rightly, but the third vector does not care.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    without_past = tangent.ginelli(states[0], intervals=4, steps_per_interval=10, warmup=0, tail=10_000, seed=7)
print("warning:", caught[0].message)
assert any("warm-up" in str(w.message) for w in caught)
lost = line_distance(without_past.vectors, hindsight.vectors[1:5]).max(axis=0)
velocity = neuron.vector_field(0.0, states)
velocity /= np.linalg.norm(velocity, axis=1, keepdims=True)
neutral = line_distance(hindsight.vectors[:, :, 1:2], velocity[:, :, None])[:, 0]
print(f"without the past: vector 1 is off by {lost[0]:.2f} (sine), vector 3 by {lost[2]:.0e}")
print(f"vector 2 is off the velocity by {np.median(neutral):.0e} in the median")
assert lost[0] > 0.01
assert lost[2] < 1e-10
assert np.median(neutral) < 1e-6

# %% [markdown]
# So an angle with the third vector needs some future, and at time t there is none. What you can get is an *old*
# angle: wait for a while, go backward from what is known now, and learn the vectors of a while ago. That is what
# `sharafi` does, with a `window` of intervals; `times` says for which time a vector is valid, `available` when it was
# known. An honest study uses the second. How long must the window be?


# %%
def known(result, values):
    """`values` of a result, one for each of `times`, put at the time at which they were available; NaN elsewhere."""
    place = np.searchsorted(times, result.available - tangent.dt / 2)
    inside = (place < len(times)) & (result.available > times[0] - tangent.dt / 2)
    values_known = np.full(len(times), np.nan)
    values_known[place[inside]] = values[inside]
    return values_known


def cosine(result, i, j):
    """|cos| of the angle between covariant vectors i and j, counted from 1."""
    return result.cosines[:, i - 1, j - 1]


windows = np.array([1, 2, 3, 5, 7, 10, 15, 20, 25, 35])
errors, lagged = [], {}
for window in windows:
    early = tangent.sharafi(window=int(window), **run)
    place = np.searchsorted(times, early.times - tangent.dt / 2)
    same = (place < len(times)) & (early.times > times[0] - tangent.dt / 2)
    error = line_distance(early.vectors[same], hindsight.vectors[place[same]])
    errors.append(np.percentile(error[:, 2], [50, 90]))
    lagged[window * interval] = known(early, cosine(early, 1, 3))
    assert error[:, 0].max() < 1e-12  # the first vector needs no future
errors = np.array(errors)
for window, (median, most) in zip(windows, errors, strict=True):
    print(f"window {window * interval:4.1f}: vector 3 is off by {median:.0e} (median), {most:.0e} (90 %)")

# %% [markdown]
# A window of two units of time, ten intervals, gives the third vector at most times to better than a percent. That is
# the fair version of the angle: nearly right, and two units old. (The second vector would need hundreds of units,
# since the first gap is tiny. But we know it: it is the velocity.)
#
# ## What happens at an onset
#
# Lay all onsets on top of each other. Lines are medians, bands hold 80 % of the onsets.

# %%
right_window = 2.0  # units of time
contraction, growth = (np.full(len(times), np.nan) for _ in range(2))
contraction[4:] = spectrum.finite_time_exponents(5)[:, 2]  # over the last unit of time
growth[4:] = spectrum.finite_time_exponents(5)[:, 0]
with_velocity = np.abs(np.sum(hindsight.vectors[:, :, 0] * velocity, axis=1))
in_hindsight = cosine(hindsight, 1, 3)

before, after = 100, 25
around = np.arange(-before, after + 1)
inner = onsets[(onsets > before) & (onsets < len(times) - after)]


def bundle(axes, values, style, label):
    low, middle, high = np.nanpercentile(values[inner[:, None] + around], [10, 50, 90], axis=0)
    axes.fill_between(around * interval, low, high, color="0.85")
    axes.plot(around * interval, middle, "k", ls=style, lw=1.5, label=label)


figure, panels = plt.subplots(4, 1, figsize=(6.4, 8.4), sharex=True, layout="constrained")
bundle(panels[0], x, "-", "potential $x$")
bundle(panels[1], in_hindsight, "-", "in hindsight")
bundle(panels[1], lagged[right_window], "--", "as known at the time")
bundle(panels[2], np.degrees(np.arccos(np.minimum(with_velocity, 1.0))), "-", "as known at the time")
bundle(panels[3], contraction, "-", r"$\lambda_3$ over one unit of time")
bundle(panels[3], growth, ":", r"$\lambda_1$ over one unit of time")
panels[0].set(ylabel="$x$ (dimensionless)", title="All onsets on top of each other")
panels[1].set(ylabel=r"$|\cos\,\theta_{13}|$ (1)", ylim=(0, 1.05))
panels[2].set(ylabel=r"$\theta_{12}$ (degrees)", yscale="log")
panels[3].set(ylabel="rate (1/time)", xlabel="time since the onset (time constants of $y$)")
for axes in panels:
    axes.axvline(0, color="0.5", lw=1)
for axes, place in zip(panels, ["upper left", "lower left", "lower left", "center left"], strict=True):
    axes.legend(loc=place)
plt.show()

# %% [markdown]
# There it is: vectors 1 and 3 become parallel, |cos θ₁₃| = 1, at every single onset. But look *when*: when the spike
# has already begun to rise; and it becomes known only after the onset. Exactly how long before, or after? Take the
# time at which the cosine rises above 0.9.


# %%
def closing_times(values):
    """Times, relative to the onset, at which a cosine first rises above 0.9: from 10 before to 5 after."""
    span = np.arange(-round(10 / interval), round(5 / interval))
    rises = (values[inner[:, None] + span] > 0.9) & (values[inner[:, None] + span - 1] <= 0.9)
    return np.where(rises.any(axis=1), span[rises.argmax(axis=1)] * interval, np.nan)


closing = {"in hindsight": closing_times(in_hindsight), "as known": closing_times(lagged[right_window])}
for name, values in closing.items():
    low, middle, high = np.nanpercentile(values, [5, 50, 95])
    found = np.isfinite(values).sum()
    print(f"θ13 closes, {name:12}: {middle:+.1f} ({low:+.1f} to {high:+.1f}), at {found} of {len(inner)} onsets")
    assert found == len(inner)
late = closing["as known"] - closing["in hindsight"]
assert -1.5 < np.median(closing["in hindsight"]) < -0.4
assert 0.5 < np.median(closing["as known"]) < 4
assert np.median(late) > right_window

# %% [markdown]
# The news is late by even more than the window: near the onset the contraction stops (lowest panel), and with it
# whatever makes the estimate converge. So the tangency itself warns of nothing here; it *is* the transition. What may
# serve as a warning is what comes before: the slow drift of the angle, and the contraction that weakens for ten units
# of time.
#
# ## Does it warn? ROC curves
#
# An indicator that is high before onsets gives a family of alarms, one for each threshold. Plot the share of correct
# alarms against that of false ones: a useless indicator gives the diagonal, a perfect one the corner. The area under
# the curve (AUC) is the probability that the indicator is higher at a time before an onset than at another time, which
# is what the rank test of Mann and Whitney counts.
#
# An indicator may also be *low* before onsets. Its sign has to come from somewhere, and if it is chosen on the same
# data then every indicator beats a coin. So the sign is learned from the first half of the silences, and all scores are
# those of the second half. The error bars are from resampling whole silences, since questions of one silence are no
# independent evidence.

# %%
halfway = len(onsets) // 2
since_spike = times - times[downs[np.maximum(np.searchsorted(downs, np.arange(len(times)), side="right") - 1, 0)]]
indicators = {
    "fast variable x": x,
    "slow variable z": z,
    "time since the last spike": since_spike,
    "λ3, one unit of time": contraction,
    "λ1, one unit of time": growth,
    "|cos θ12|": with_velocity,
    "|cos θ13|, known": lagged[right_window],
}
usable = np.all([np.isfinite(values[asked]) for values in indicators.values()], axis=0)


def auc(scores, yes):
    rank = mannwhitneyu(scores[yes], scores[~yes]).statistic
    return rank / (np.count_nonzero(yes) * np.count_nonzero(~yes))


class Verdict:
    """An indicator with the sign that its first half asks for, judged on the second half."""

    def __init__(self, values, horizon=horizon):
        scores, yes = values[asked], wait <= horizon
        learn, judge = (usable & (silence < halfway)), (usable & (silence >= halfway))
        self.sign = 1.0 if auc(scores[learn], yes[learn]) > 0.5 else -1.0
        self.scores, self.yes = self.sign * scores[judge], yes[judge]
        self.auc = auc(self.scores, self.yes)
        self.blocks = np.split(np.arange(judge.sum()), np.flatnonzero(np.diff(silence[judge])) + 1)

    def resampled(self, repetitions=200):
        """AUCs of samples of whole silences, the same ones for every indicator."""
        draw = np.random.default_rng(0).integers(0, len(self.blocks), size=(repetitions, len(self.blocks)))
        samples = [np.concatenate([self.blocks[b] for b in row]) for row in draw]
        return np.array([auc(self.scores[sample], self.yes[sample]) for sample in samples])

    def curve(self):
        order = np.argsort(-self.scores, kind="stable")
        hits, false = np.cumsum(self.yes[order]), np.cumsum(~self.yes[order])
        return false / false[-1], hits / hits[-1]


verdicts = {name: Verdict(values) for name, values in indicators.items()}
samples = {name: verdict.resampled() for name, verdict in verdicts.items()}
one = next(iter(verdicts.values()))
print(f"judged on {len(one.blocks)} silences, {len(one.yes)} questions, {one.yes.sum()} of them before an onset")
for name, verdict in verdicts.items():
    low, high = np.percentile(samples[name], [2.5, 97.5])
    print(f"{name:26} {'high' if verdict.sign > 0 else 'low':4} warns  AUC {verdict.auc:.3f} ({low:.3f} to {high:.3f})")

figure, panels = plt.subplots(1, 2, figsize=(9.6, 4.4), layout="constrained")
looks = {
    "fast variable x": ("black", "-", 3.0),
    "λ3, one unit of time": ("white", "--", 1.2),
    "|cos θ12|": ("0.5", "-", 1.5),
    "|cos θ13|, known": ("black", "--", 1.5),
    "λ1, one unit of time": ("0.5", "--", 1.5),
    "slow variable z": ("black", ":", 1.5),
}
horizons = np.array([1, 2, 3, 5, 7, 10, 14, 20, 28])
for name, (color, style, width) in looks.items():
    panels[0].plot(*verdicts[name].curve(), color=color, ls=style, lw=width, label=name)
    by_horizon = [Verdict(indicators[name], h).auc for h in horizons]
    panels[1].plot(horizons, by_horizon, color=color, ls=style, lw=width)
panels[0].plot([0, 1], [0, 1], color="0.8", lw=1)
panels[1].axhline(0.5, color="0.8", lw=1)
panels[0].set(
    xlabel="false alarms (share)", ylabel="correct alarms (share)", title=f"Onset within {horizon:.0f} units?"
)
panels[1].set(xlabel="horizon (time constants of $y$)", ylabel="area under the curve (1)", title="Looking further")
panels[0].legend(loc="lower right", facecolor="0.92", framealpha=1.0)
plt.show()

# %% [markdown]
# The winner is the potential x, which anybody would have looked at, and with it the weakening contraction λ₃: their
# curves coincide. The angles come after. θ₁₂ has been closing all the while, and warns better than θ₁₃, whose news is
# old. The slow variable, alone, knows next to nothing about the next few units, and more about the far future.
#
# ## Why: the exponent is the potential in disguise
#
# That the two curves coincide is no accident. The three rates sum to the trace of the Jacobian (tutorial 1), here 2bx
# − 3ax² − 1 − r, a function of x alone, which rises with x below x = 1. During a silence two of the rates are small.
# So the third *is* that function of x, and a threshold on the one is a threshold on the other.

# %%
for name in ("λ3, one unit of time", "|cos θ12|", "|cos θ13|, known"):
    low, high = np.percentile(samples["fast variable x"] - samples[name], [2.5, 97.5])
    print(f"AUC of x minus that of {name:22}: {low:+.4f} to {high:+.4f}")

quiet = asked[usable]
rate_now = spectrum.rates[quiet, 2]
rank_correlation = spearmanr(rate_now, x[quiet]).statistic
assert rank_correlation > 0.999
others = np.abs(spectrum.rates[quiet, :2].sum(axis=1))
assert others.max() < 0.5
print(
    f"λ1 + λ2 during silences: at most {others.max():.2f}, 95 % below {np.percentile(others, 95):.2f}, per unit of time"
)
print(f"rank correlation of λ3 over one interval and x: {rank_correlation:.4f}")

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
axes.plot(x[quiet], rate_now, ".", color="0.6", ms=3, label=r"$\lambda_3$ over one interval, at the questions")
grid = np.linspace(x[quiet].min(), x[quiet].max(), 200)
trace = 2 * neuron.b * grid - 3 * neuron.a * grid**2 - 1 - neuron.r
axes.plot(grid, trace, "k", lw=1.5, label="trace of the Jacobian")
axes.set(xlabel="potential $x$ (dimensionless)", ylabel="rate (1/time)", title="One and the same indicator")
axes.legend()
plt.show()

# %% [markdown]
# Nothing is wrong with the exponent: it found the fast variable without being told which one to look at, and that may
# be worth something where no potential x sticks out. But here whoever can compute it has the Jacobian at the present
# state, hence the state, hence x. (And whoever has the state and the equations can simply run them ahead.)
#
# ## Fresh or right?
#
# The angle is two units old because its vectors had to be right. Would a shorter window, a worse vector, make a better
# warning?

# %%
by_window = {window: Verdict(values) for window, values in lagged.items()}
for window, verdict in by_window.items():
    print(f"window {window:4.1f}: {'high' if verdict.sign > 0 else 'low':4} warns  AUC {verdict.auc:.3f}")

figure, panels = plt.subplots(2, 1, figsize=(6.4, 5.6), sharex=True, layout="constrained")
panels[0].semilogy(windows * interval, np.maximum(errors[:, 0], 1e-16), "k-o", mfc="white", label="median")
panels[0].semilogy(windows * interval, np.maximum(errors[:, 1], 1e-16), "k--s", ms=4, label="90 % are below")
gap = spectrum.exponents[1] - spectrum.exponents[2]
panels[0].semilogy(windows * interval, np.exp(-gap * windows * interval), color="0.6", lw=3, label="exp(−gap · window)")
panels[0].set(ylabel="error of vector 3 (sine)", ylim=(1e-17, 3), title="Right needs time, fresh has none")
panels[0].legend()
panels[1].plot(
    list(by_window), [verdict.auc for verdict in by_window.values()], "k-o", mfc="white", label="|cos θ13|, known"
)
panels[1].axhline(verdicts["fast variable x"].auc, color="black", lw=1, ls="--", label="fast variable x")
panels[1].axhline(0.5, color="0.7", lw=1)
panels[1].set(xlabel="window (time constants of $y$)", ylabel="area under the curve (1)", ylim=(0.4, 1.02))
panels[1].legend(loc="center right")
plt.show()

# %% [markdown]
# It would: the shortest window has the worst vectors and gives the best warning of all windows. It is hardly a
# covariant vector any more. The ranks tell what it is instead: x once more, upside down and blurred.

# %%
fresh = lagged[windows[0] * interval][quiet]
alike = spearmanr(fresh, x[quiet]).statistic
print(f"rank correlation of x and |cos θ13| from the shortest window: {alike:.3f}")
assert -1 < alike < -0.7
shortest, longer = by_window[windows[0] * interval], by_window[right_window]
assert shortest.auc > longer.auc + 0.1
assert shortest.auc < verdicts["fast variable x"].auc

# %% [markdown]
# ## Exercises
#
# 1. *The leak.* Score the angle with hindsight, at the time for which it is valid, one unit ahead. What comes out, and
#    why is it worth nothing?
# 2. At a horizon of 28 units x is no longer nearly perfect. Does it help to look at x and z together?
# 3. Resample single questions instead of whole silences. What happens to the error bars?
#
# ## Answers
#
# *1.* Nearly perfect, with the sign that theory wants (parallel vectors warn), and far better than the same angle at
# the time when it was known. But the third vector depends on the future alone: it knows of the onset because the
# onset made it.

# %%
leaky, fair = Verdict(in_hindsight, 1.0), Verdict(lagged[right_window], 1.0)
print(f"one unit ahead, high warns: hindsight {leaky.sign * (leaky.auc - 0.5) + 0.5:.3f}, ", end="")
print(f"as known {fair.sign * (fair.auc - 0.5) + 0.5:.3f}")
assert leaky.sign > 0
assert leaky.auc > 0.99
assert fair.sign < 0

# %% [markdown]
# *2.* It does. Fit the answer by a linear function of both on the first half, and judge it on the second: with z, which
# alone is a mediocre indicator, the potential sees further.

# %%
far = 28.0
design = np.column_stack([np.ones(len(times)), x, z])
learn = usable & (silence < halfway)
fit = np.linalg.lstsq(design[asked[learn]], (wait[learn] <= far).astype(float), rcond=None)[0]
both, alone, slow = (Verdict(values, far) for values in (design @ fit, x, z))
gain = np.percentile(both.resampled() - alone.resampled(), [2.5, 97.5])
print(f"horizon {far:.0f}: x alone {alone.auc:.3f}, z alone {slow.auc:.3f}, together {both.auc:.3f}")
print(f"gain over x alone: {gain[0]:.3f} to {gain[1]:.3f}")
assert gain[0] > 0

# %% [markdown]
# *3.* They shrink, and lie: questions of one silence have nearly the same answer for nearly the same reason.

# %%
slow = verdicts["slow variable z"]
whole = slow.resampled().std(ddof=1)
slow.blocks = np.arange(len(slow.yes))[:, None]  # every question a block of its own
single = slow.resampled().std(ddof=1)
print(f"standard error of the AUC of z: {whole:.3f} from silences, {single:.3f} from questions")
assert 1.3 < whole / single < 4

# %% [markdown]
# ## The headline
#
# Known at the time, and judged on silences that chose nothing: the fast variable and the finite-time exponent are one
# indicator, nearly perfect at five units; the tangency of vectors 1 and 3 comes too late to compete.

# %%
plain, exponent, angle = (verdicts[n].auc for n in ("fast variable x", "λ3, one unit of time", "|cos θ13|, known"))
behind = np.percentile(samples["fast variable x"] - samples["|cos θ13|, known"], [2.5, 97.5])
print(f"AUC: x {plain:.3f}, λ3 {exponent:.3f}, angle {angle:.3f}, behind by {behind[0]:.2f} to {behind[1]:.2f}")
assert 0.98 < plain < 1.0
assert abs(plain - exponent) < 0.005
assert 0.6 < angle < 0.9
assert behind[0] > 0.05
