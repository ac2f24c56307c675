# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A field guide to probability maps
#
# A classifier, an attention head, a gate: each ends with $n$ real numbers, the *logits* $x$, and
# wants $n$ probabilities. Softmax is what nearly everyone takes. What else is there, and what does
# one give up or gain with it? This notebook walks past the maps in the order of a post on kexue.fm
# (J. Su, archives 10145), with a picture of each. It takes about a minute, most of it for the table
# near the end.

# %%
import matplotlib.pyplot as plt
import numpy as np

import resolvent as rv
from resolvent import probmap as pm
from resolvent.figures.probmap import digits_sparsity, gap_logits, plane_logits, trained_digits
from resolvent.plot.probmap import CORNERS, plot_bars, plot_gap, plot_plane, plot_simplex

row = np.array([2.0, 1.2, 0.9, 0.2, -1.0])  # five logits that come back in every section
rv.__version__

# %% [markdown]
# ## Softmax
#
# $$p_i=\frac{e^{x_i}}{\sum_je^{x_j}}$$
#
# On the left the five logits. On the right all directions of *three* logits, of which only the
# differences matter, so that they fit in a plane: the first grows upwards, the others to the left
# and to the right. Lines join logits with the same largest probability (0.4, 0.6, 0.8, 0.95). The
# colour says how many probabilities are above 0; here there is one colour.


# %%
def guide(m, label, radius=2.9):
    """The row under a map, and the plane up to a radius."""
    _, (left, right) = plt.subplots(
        1, 2, figsize=(7.5, 2.7), layout="constrained", width_ratios=(1.5, 1)
    )
    plot_bars(m(row), left, labels=[f"{v:g}" for v in row])
    left.set(title=label, xlabel="logit", ylim=(0, 1.02))
    places, x = plane_logits(radius=radius)
    plot_plane(places, m(x), right)
    plt.show()


guide(pm.softmax(), "softmax")

# %% [markdown]
# Whatever is added to all logits cancels. So the largest can be subtracted first, which is why
# large ones do no harm:

# %%
print(pm.softmax(row).round(3), "sum", pm.softmax(row).sum().round(12))
print(pm.softmax(row + 1e6).round(3))
print(pm.softmax(row, mask=[True, True, False, True, False]).round(3), "masked: exactly 0")

# %% [markdown]
# ### What holds for it
#
# `properties` tries statements on some 500 vectors. What it cannot refute it marks with ✓ and says
# what it tried; to what it can refute it gives a counterexample.

# %%
pm.properties(pm.softmax)

# %% [markdown]
# It keeps the order of the logits, does not see shifts, and is positive everywhere; a change of the
# logits comes out halved at least.
#
# ### Temperature
#
# $p=\operatorname{softmax}(x/\tau)$ goes from the largest entry ($\tau\to0$) to equal shares
# ($\tau\to\infty$):

# %%
tau = np.geomspace(0.05, 50, 200)
p = pm.softmax(np.broadcast_to(row, (200, 5)), temperature=tau)
fig, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
ax.semilogx(tau, p, label=[f"{v:g}" for v in row])
ax.set(xlabel="temperature τ", ylabel="probability")
ax.legend(title="logits", frameon=False)
plt.show()

# %% [markdown]
# ## Cross-entropy, and gradients that vanish
#
# The loss $-\ln p_t$ of the target $t$ has the gradient $p-e_t$. It is small only where the answer
# is right. Had one taken the squared error $\lVert p-e_t\rVert^2$, the gradient would pass the
# Jacobian of softmax, $\operatorname{diag}(p)-pp^{\mathsf T}$, which vanishes where the answer is
# *certain*, right or wrong:

# %%
lead = np.linspace(-12, 12, 241)
x = gap_logits(lead)  # two logits; the target leads by so much
target = np.zeros(lead.size, dtype=int)
cross_entropy = pm.loss_gradient("softmax", x, target, reduction="none")
squared_error = pm.vjp("softmax", x, 2 * (pm.softmax(x) - [1, 0]))
fig, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
ax.plot(lead, -cross_entropy[:, 0], label="cross-entropy")
ax.plot(lead, -squared_error[:, 0], label="squared error")
ax.set(xlabel="lead of the target", title="How hard the loss pulls at the target")
ax.legend(frameon=False)
plt.show()

J = pm.jacobian("softmax", row)
p = pm.softmax(row)
print(f"half the sum of |J| is {0.5 * np.abs(J).sum():.4f}, and 1 − Σp² is {1 - np.sum(p**2):.4f}")

# %% [markdown]
# Inside a network there is no such loss behind softmax: attention that has made up its mind, with
# $\sum p^2\approx1$, hardly learns any more.
#
# ## Margin softmax
#
# Where logits are cosines, between −1 and 1, two things are added. A temperature, for otherwise no
# probability could get near 1; and a margin, subtracted from the target's logit, which has to win
# by that much.

# %%
cosines = np.full(1000, -1.0)
cosines[0] = 1.0  # as right as can be
for t in (1.0, 1 / 30):
    most = pm.softmax(cosines, temperature=t)[0]
    print(f"τ = {t:.3f}: one class of 1000 has a probability of {most:.3f} at most")

fig, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
lead = np.linspace(-1, 2, 121)
x = gap_logits(lead)
target = np.zeros(lead.size, dtype=int)
for margin in (0.0, 0.35, 0.7):
    loss = pm.loss("margin_softmax", x, target, margin=margin, temperature=0.1, reduction="none")
    ax.plot(lead, loss, label=f"margin {margin:g}")
ax.set(xlabel="lead of the target", title="Loss at τ = 0.1", ylim=(-0.3, 12))
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Taylor softmax
#
# Why the exponential? Any positive function could be normalised. Taylor polynomials of $e^x$ of
# even order $k$ are positive,
#
# $$p_i=\frac{f_k(x_i)}{\sum_jf_k(x_j)},\qquad f_k(x)=\sum_{m\le k}\frac{x^m}{m!}$$
#
# but to the left of their minimum they rise again. The plane is seen from further away here;
# hatched, the largest logit has not the largest probability.

# %%
guide(pm.taylor_softmax(order=2), "Taylor softmax, order 2", radius=9)
print(pm.properties("taylor_softmax", order=2)["monotone"].counterexample.statement)

# %%
fig, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
across = np.linspace(-6, 3, 181)
beside_zero = np.stack([across, np.zeros_like(across)], axis=-1)
plot_gap(across, pm.softmax(beside_zero)[:, 0], ax, label="softmax", color="0.6")
for k in (2, 4, 6):
    plot_gap(across, pm.taylor_softmax(beside_zero, order=k)[:, 0], ax, label=f"order {k}")
ax.set(xlabel="a logit x beside one of 0", ylabel="probability of x")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# A shift changes it too. It is harmless where logits stay near 0, and nowhere else.
#
# ## Sparse softmax
#
# Softmax over the $k$ largest entries, 0 elsewhere; or over as many as it takes to have a share
# $p$. Simple, and with jumps where the $k$-th entry changes. For training, the target joins the
# entries that are kept; else there would be nothing to learn from where it is not among them.

# %%
guide(pm.sparse_softmax(k=2), "top-2 softmax")
print("p = 0.8 keeps:", pm.sparse_softmax(row, p=0.8).round(3))
print("loss of the last entry:", pm.loss("sparse_softmax", row, 4, k=2).round(3))
print("its gradient:", pm.loss_gradient("sparse_softmax", row, 4, k=2).round(3))

# %% [markdown]
# ## Perturbed maxima
#
# Add independent noise to the logits and take the largest: how often does each entry win?
#
# $$p_i=P\bigl[\operatorname{argmax}_j(x_j+\varepsilon_j)=i\bigr]$$
#
# With Gumbel noise that is softmax, to the last digit. With another one it is another map, computed
# by quadrature; `sample` is the experiment.

# %%
print(np.abs(pm.perturb_max(row) - pm.softmax(row)).max() < 1e-12)
draws = pm.sample("perturb_max", row, 200_000, seed=0, noise="normal")
shares = np.bincount(draws, minlength=5) / 200_000
print("normal noise, computed:", pm.perturb_max(row, "normal").round(3))
print("normal noise, drawn:   ", shares.round(3))

fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
gaps = np.linspace(-5, 5, 121)
plot_gap(gaps, pm.softmax(gap_logits(gaps))[:, 0], ax, label="gumbel: softmax", color="0.6", lw=3)
for noise in ("normal", "uniform", "exponential", "cauchy"):
    plot_gap(gaps, pm.perturb_max(gap_logits(gaps), noise)[:, 0], ax, label=noise)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# The exponential's tails fall as Gumbel's do, Cauchy's are so heavy that a lead of 5 still loses
# one time in eight, and the uniform noise is bounded: beyond a gap of 1 nothing is left to chance.
# All keep the order, and all are gradients of convex functions, so that their Jacobians are
# symmetric.
#
# ## Sparsemax
#
# The point of the simplex that is nearest to $x$. It is $(x_i-\lambda)_+$, with one threshold
# $\lambda$ that makes the sum 1:

# %%
guide(pm.sparsemax(), "sparsemax")
print(pm.sparsemax(row).round(3), pm.threshold("sparsemax", row).value.round(3))

# %% [markdown]
# Orange: one entry has everything. Green: two are above 0. Blue: all three. Below, circles of
# logits as softmax, 1.5-entmax and sparsemax put them in the triangle of three probabilities.

# %%
turn = np.linspace(0, 2 * np.pi, 361)
circles = np.array([0.4, 0.8, 1.6, 3.2])[:, None, None] * np.stack(
    [np.cos(turn), np.sin(turn)], axis=-1
)
fig, axes = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for ax, m in zip(axes, (pm.softmax(), pm.entmax(alpha=1.5), pm.sparsemax()), strict=True):
    plot_simplex(m(circles @ CORNERS.T / 1.5), ax)
    ax.set_title(m, fontsize=10)
plt.show()

# %% [markdown]
# Its loss comes with it. For a map $p=\operatorname{argmax}\langle x,p\rangle-\Omega(p)$ the
# Fenchel–Young loss has the gradient $p-e_t$ again, and is 0 once $p=e_t$. Softmax never gets
# there; sparsemax does with a lead of 1:

# %%
lead = np.linspace(-3, 4, 141)
x = gap_logits(lead)
target = np.zeros(lead.size, dtype=int)
fig, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
for m in (pm.softmax(), pm.entmax(alpha=1.5), pm.sparsemax()):
    ax.plot(lead, pm.loss(m, x, target, reduction="none"), label=m)
ax.set(xlabel="lead of the target", title="Loss")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Entmax
#
# Softmax and sparsemax are two members of one family,
#
# $$p_i=\bigl((\alpha-1)x_i-\lambda\bigr)_+^{1/(\alpha-1)},$$
#
# softmax as $\alpha\to1$, sparsemax at 2, and the largest entry alone as $\alpha\to\infty$. An
# entry that is $1/(\alpha-1)$ behind has exactly 0.

# %%
guide(pm.entmax(alpha=1.5), "1.5-entmax")
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
gaps = np.linspace(-4, 4, 201)
for alpha in (1, 1.25, 1.5, 2, 4, np.inf):
    plot_gap(gaps, pm.entmax(gap_logits(gaps), alpha=alpha)[:, 0], left, label=f"{alpha:g}")
left.legend(title="α", frameon=False, loc="upper left", fontsize=8)
alphas = np.linspace(1, 4, 301)
shares = pm.entmax(np.broadcast_to(row, (301, 5)), alpha=alphas)  # an α for every row
right.plot(alphas, np.where(shares > 0, shares, np.nan), label=[f"{v:g}" for v in row])
right.set(xlabel="α", title="The five logits")
right.legend(title="logits", frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# There is one threshold to find in every row, and it takes no sort: $\lambda$ solves an equation
# between norms, on which Newton's method rises to the root without a step too far (the theory page
# has the three lines of proof). $\alpha$ can be learnt: the derivative by it is a closed form that
# goes through $\alpha=1$.

# %%
for alpha in (1.0, 1.0 + 1e-9, 1.5):
    print(f"{alpha:<11.10g}", pm.jacobian("entmax", row, wrt="alpha", alpha=alpha).round(4))

# %% [markdown]
# ## The others
#
# *Normmax* maximises $\langle x,p\rangle-\lVert p\rVert_\alpha$: of two entries the smaller has 0
# from a gap of 1 on, as in sparsemax, and the larger $\alpha$ is, the more alike are the shares of
# what is left. The *budget* map shares out more than 1, with at most 1 for each: a soft choice of
# $k$. And any $f\ge0$ can be *normalised*; squares see no sign, relu has nothing to divide by when
# all logits are negative, sigmoid and softplus are tame but see shifts.

# %%
others = {
    "normmax, α = 2": pm.normmax(),
    "normmax, α = 4": pm.normmax(alpha=4.0),
    "budget of 2": pm.budget(total=2.0),
    "squares": pm.normalize(f="square"),
    "relu": pm.normalize(f="relu"),
    "softplus": pm.normalize(f="softplus"),
}
fig, axes = plt.subplots(2, 3, figsize=(8, 3.8), layout="constrained", sharey=True)
for ax, (label, m) in zip(axes.flat, others.items(), strict=True):
    plot_bars(m(row), ax, labels=[f"{v:g}" for v in row])
    ax.set_title(label, fontsize=10)
axes[0, 0].set_ylim(0, 1.02)
plt.show()

# %% [markdown]
# ## Which one to take?
#
# Here they are beside each other. The numbers under “sparse” are the gaps from which on the smaller
# of two entries is 0, those under “Lip.” how much a change of four logits can be magnified; hold
# the pointer on a cell for the evidence.

# %%
pm.properties.table()

# %% [markdown]
# - A ✗ under “monotone” disqualifies a map as a classifier: squares and Taylor's polynomial (and
#   the margin, which is meant to).
# - Convex losses: softmax, margin, entmax, normmax, budget, and noise with a log-concave density.
# - Steep maps pass large gradients: sparsemax is twice as steep as softmax, normmax with $\alpha=2$
#   up to $n$ times as steep as sparsemax, and entmax beyond $\alpha=2$ has no bound at all.
#
# ### On real logits
#
# A softmax regression on handwritten digits, trained with cross-entropy. Then the map is replaced,
# and nothing else. How many of the ten classes are left, and is the true one among them?

# %%
found = trained_digits()
axis = np.linspace(0, 1, 61)
sparsity = digits_sparsity(found, axis)
for alpha in (1.0, 1.25, 1.5, 2.0):
    i = np.argmin(np.abs(axis - (1 - 1 / alpha)))
    print(
        f"α = {alpha:<4g} {sparsity.support[i]:4.1f} classes above 0, the true one among them in "
        f"{sparsity.covered[i]:.0%}, the largest in {sparsity.accuracy[i]:.0%}"
    )

# %%
ordered = np.sort(found.logits, axis=1)
by_gap = np.argsort(ordered[:, -1] - ordered[:, -2])
chosen = by_gap[[-1, 0, 1]]  # the clearest, and the two closest calls
fig, axes = plt.subplots(3, 4, figsize=(8, 4.4), layout="constrained", width_ratios=(0.6, 1, 1, 1))
for line, index in zip(axes, chosen, strict=True):
    line[0].imshow(found.images[index], cmap="gray_r")
    line[0].set_axis_off()
    line[0].set_title(f"a {found.labels[index]}", fontsize=9)
    for ax, m in zip(line[1:], (pm.softmax(), pm.entmax(), pm.sparsemax()), strict=True):
        plot_bars(m(found.logits[index]), ax)
        ax.set_ylim(0, 1.02)
        ax.tick_params(labelsize=7)
for ax, label in zip(axes[0, 1:], ("softmax", "1.5-entmax", "sparsemax"), strict=True):
    ax.set_title(label, fontsize=9)
plt.show()

# %% [markdown]
# Softmax gives every digit to every image. The sparse maps name the few that are in question, at no
# cost to a trained model: the most probable class, and so the accuracy, is always the same. It is
# no promise that the right one is among them. For sparsemax the 3 here is a 1 or a 7.
#
# ## In short
#
# | you want | take |
# |---|---|
# | a classifier | softmax with cross-entropy; a margin where logits are cosines |
# | short lists, attention that can be read | 1.5-entmax; $\alpha$ can be learnt |
# | the projection itself, a loss that is content | sparsemax |
# | to choose $k$ | the budget map; top-$k$ softmax if jumps do no harm |
# | a random choice with a derivative | a perturbed maximum |
# | another one | look at its row in the table first |
#
# The theory page has the formulas, how the threshold is found, the derivatives and losses, and what
# other packages do differently; `jvp`, `vjp` and `loss_gradient` are what a training loop needs.
