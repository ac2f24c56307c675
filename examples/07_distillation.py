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
# # One-step distillation you can compute by hand
#
# A diffusion model needs many steps to turn noise into a sample. Score identity distillation
# trains a *student* that needs one, from a *teacher* that knows the scores of the data, without any
# data. Three networks, two losses whose values agree and whose gradients do not, and a coefficient
# $\lambda$ that should be about 1: it is hard to see in images why that works. Where the data are a
# mixture of Gaussians and the student maps noise linearly, every score is a formula. This notebook
# follows a post on kexue.fm (J. Su, archives 10085) and Zhou et al. (arXiv:2404.04057). It takes
# a quarter of a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np

import resolvent as rv
from resolvent import distill
from resolvent.figures.distill import flowers, frozen_losses, landscape, plane_run
from resolvent.plot.distill import plot_arrows, plot_density, plot_phase_steps

rv.__version__

# %% [markdown]
# ## The teacher
#
# Data $x_0$ are hidden under noise, $x_t=\alpha_tx_0+\sigma_t\varepsilon$. A diffusion model is
# trained to guess $\varepsilon$ from $x_t$, and the best guess is a score (Tweedie's formula):
#
# $$\varepsilon_\varphi(x_t)=\mathbb E[\varepsilon\mid x_t]=-\sigma_t\nabla\log p_t(x_t).$$
#
# Of a mixture, $p_t$ is again a mixture, with means $\alpha\mu$ and covariances
# $\alpha^2C+\sigma^2I$.

# %%
humps = distill.GaussianMixture([0.6, 0.4], [-1.5, 1.5], [0.49, 0.16])
phi = distill.teacher(humps)

x = np.linspace(-5, 5, 400)[:, np.newaxis]
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3), layout="constrained")
for sigma in (0.1, 0.5, 1.0, 2.0):
    left.plot(x, humps.diffuse(1.0, sigma).density(x), label=f"σ = {sigma}")
    right.plot(x, phi(x, 1.0, sigma))
left.set_title("density of x_t")
right.set_title("what the teacher predicts")
left.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# That nothing guesses better can be tried: draw pairs $(x_t,\varepsilon)$, and average
# $\varepsilon$ over those that have nearly the same $x_t$.

# %%
rng = np.random.default_rng(1)
noise = rng.standard_normal((400_000, 1))
noisy = humps.sample(400_000) + noise
for place in (-2.0, 0.0, 1.0):
    near = np.abs(noisy - place) < 0.02
    mean, predicted = noise[near].mean(), phi([[place]], 1.0, 1.0).item()
    print(f"x_t = {place:4}: mean of ε {mean:5.2f}, predicted {predicted:5.2f}")

# %% [markdown]
# ## The student, and a third network
#
# The student is a map from noise to samples, $x_0=\mu+Fz$ here: one step. Its samples have a
# density too, and so a noise predictor of their own, $\varepsilon_\psi$. In practice $\psi$ is a
# network that is trained along with the student, on the student's samples. At its optimum
# $\psi^*(\theta)$ it is a formula again.
#
# Take data $\mathcal N(0,1)$, a student $\mathcal N(0,\theta^2)$ and noise of $\sigma=1$. With the
# shares of signal $a=\frac1{1+1}$ and $b=\frac{\theta^2}{\theta^2+1}$ the predictions are
# $\varepsilon_\varphi=(1-a)x_t$ and $\varepsilon_{\psi^*}=(1-b)x_t$:

# %%
data = distill.GaussianMixture([1.0], [0.0], [1.0])
level = distill.Schedule([1.0], [1.0])
theta = 2.0
student = distill.Generator.affine(0.0, theta)
psi = distill.student_optimal(student)

a, b = 1 / 2, theta**2 / (theta**2 + 1)
print("teacher:", distill.teacher(data)([[3.0]], 1.0, 1.0).item(), "by hand:", (1 - a) * 3)
print("student:", psi([[3.0]], 1.0, 1.0).item(), "by hand:", (1 - b) * 3)

# %% [markdown]
# ## The identity
#
# Where the two predictors agree, student and data are the same. So make
#
# $$L_1=\mathbb E\,\|\varepsilon_\varphi-\varepsilon_\psi\|^2$$
#
# small, at the student's samples. For every function $f$ of $x_t$ there is
# $\mathbb E\langle f(x_t),\varepsilon\rangle=\mathbb E\langle f(x_t),\varepsilon_{\psi^*}(x_t)
# \rangle$: a conditional mean is a projection. With $f=\varepsilon_\varphi-\varepsilon_{\psi^*}$
# one of the two $\psi$ can be replaced by the noise itself, which is known:
#
# $$L_2=\mathbb E\,\langle\varepsilon_\varphi-\varepsilon_\psi,\;\varepsilon_\varphi-\varepsilon
# \rangle.$$

# %%
drawn = rng.standard_normal((2, 400_000, 1))
noisy = theta * drawn[0] + drawn[1]
for name, f in (("sin", np.sin), ("tanh", np.tanh), ("cube", lambda y: y**3)):
    left_side, right_side = (f(noisy) * drawn[1]).mean(), (f(noisy) * psi(noisy, 1.0, 1.0)).mean()
    print(f"f = {name:5} E f(x_t)·ε = {left_side:6.3f}   E f(x_t)·ε_ψ* = {right_side:6.3f}")

distill.losses(data, student, schedule=level)

# %% [markdown]
# The same value, $(a-b)^2/(1-b)=0.45$ by hand. Now the gradients. No one can differentiate through
# the training of $\psi$, so $\psi$ is *frozen*: $\theta$ moves $x_t$, not $\psi$.

# %%
print("  θ     L1     L2    frozen: L1      L2   L2−½L1   true: L1")
for width in (0.3, 0.7, 1.0, 1.5, 2.0, 3.0):
    found = distill.losses(data, distill.Generator.affine(0.0, width), lam=0.5, schedule=level)
    l1, l2, half = (found.frozen[name][1] for name in ("l1", "l2", "loss"))
    values = f"{width:4.1f}  {found.l1:.3f}  {found.l2:.3f}"
    print(f"{values}     {l1:7.3f} {l2:7.3f}  {half:7.3f}    {found.true['l1'][1]:7.3f}")

# %% [markdown]
# Three things to see.
#
# - The frozen gradient of $L_1$ is $2\theta(a-b)^2$, never negative: whatever the student is, it is
#   told to shrink.
# - That of $L_2$ has the right sign on both sides of 1.
# - $L_2-\frac12L_1$ has exactly half of the true gradient. That is general: differentiate the
#   identity with $f$ held fixed, and
#   $\nabla L=2\,\nabla_{\text{frozen}}(L_2-\tfrac12L_1)$ comes out.
#
# ## Why the naive loss collapses
#
# With $\psi$ frozen at some $\theta_0$, $L_1=(a-b_0)^2(\theta^2+1)$ is a parabola with its minimum
# at 0, whatever $\theta_0$ is. Below: in grey the loss as it is, coloured as the student sees it.

# %%
widths = np.linspace(0.0, 2.7, 40)
true = landscape(widths=widths)
fig, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained", sharey=True)
for ax, lam, color in zip(axes, (None, 0.0, 1.0), ("C3", "C2", "C1"), strict=True):
    ax.plot(widths, true.l1 if lam is None else true.l2 - lam * true.l1, color="0.75", linewidth=4)
    for at in (0.3, 0.65, 1.5, 2.2):
        seen = np.linspace(max(0.0, at - 0.6), at + 0.6, 20)
        l1, l2 = frozen_losses(at, seen)
        ax.plot(seen, l1 if lam is None else l2 - lam * l1, color=color)
    ax.axvline(1.0, color="0.5", linestyle=":", linewidth=0.9)
    ax.set_xlabel("width θ")
    ax.set_title("L1" if lam is None else "L2" if lam == 0.0 else "L2 − L1")
plt.show()

# %% [markdown]
# On the right the loss is 0 for every student there is, and training it works: what counts is the
# slope of the frozen loss, and no value has to fall.
#
# ## λ
#
# $L_2-\lambda L_1$ has the frozen gradient
# $2\theta(a-b)\,[(1-\lambda)(a-b)-(1-b)]$. Descend:

# %%
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
for lam, color in ((None, "C3"), (0.0, "C2"), (0.5, "C0"), (1.0, "C1"), (1.2, "C4")):
    naive = {"objective": "naive"} if lam is None else {"lam": lam}
    for width in (0.3, 3.6):
        start = distill.Generator.affine(0.0, width)
        run = distill.distill(data, start, schedule=level, steps=40, learning_rate=1.0, **naive)
        label = "L1" if lam is None else f"λ = {lam:g}"
        ax.semilogy(np.abs(run.parameters[:, 1]), color=color, label=label if width < 1 else None)
        print(f"{label:7} from {width}: {run.outcome:10} after {run.steps} steps")
ax.set(xlabel="step", ylabel="width", ylim=(0.03, 40))
ax.legend(frameon=False, fontsize=8, ncols=5)
plt.show()

# %% [markdown]
# $L_1$ alone collapses from below. From above it creeps towards the data, slower and slower (the
# run is called converged for its small gradient), and would leave them if pushed below 1. All
# others arrive, but for $\lambda=1.2$ from above, which widens what is too wide: the bracket
# changes its sign at
#
# $$\lambda=1+\frac{1-b}{b-a}.$$
#
# At $\theta=3.6$ that is less than 1.2. A narrow student gains from a large $\lambda$, a wide one
# from a small one, and 1 is the largest that never diverges:

# %%
phases = distill.phase_diagram(np.linspace(0, 3, 50), np.geomspace(0.1, 10, 50))
print("threshold at 3.6:", phases.threshold(3.6).round(3))
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
phases.plot(left)
plot_phase_steps(phases, right)
right.set(ylabel="")
plt.show()
phases

# %% [markdown]
# ## The gap of practice
#
# So far $\psi$ was at its optimum. In practice it starts as the teacher and gets a few steps of
# regression for each step of the student. Its distance from $\psi^*$ is the gap; while there is
# one, $L_1$ and $L_2$ differ.

# %%
for steps in (0, 1, 3, 10, 30):
    fitted = distill.student_fitted(student, level, steps, start=distill.teacher(data))
    found = distill.losses(data, student, fitted, schedule=level)
    gap = fitted.gap(student)
    print(f"{steps:3} steps: gap {gap:7.1g}   L1 {found.l1:.3f}   L2 {found.l2:.3f}")

# %% [markdown]
# Without any step $\psi=\varphi$, and both losses are 0: nothing to learn from. Now two humps and a
# student of two components, with three levels of noise. The fitted $\psi$ has the teacher's
# responsibilities, so that $\psi^*$ is out of its reach until the student has arrived:

# %%
levels = distill.schedule("ve", 3, smallest=0.3, largest=1.5)
between = distill.Generator.mixture([0.6, 0.4], [-0.5, 0.5], [0.8, 0.8])
lams = (0.0, 0.5, 1.0, 1.5)
print("ψ steps " + "".join(f"{f'λ = {lam:g}':>22}" for lam in lams))
for psi_steps in (1, 3, 10, None):
    cells = []
    for lam in lams:
        run = distill.distill(humps, between, lam, levels, 80, psi_steps, learning_rate=0.5)
        near = np.flatnonzero(run.w2 < 0.02)
        reached = f"near after {near[0]}" if near.size else f"W₂ = {run.w2[-1]:.2g}"
        cells.append(f"{run.outcome if run.outcome == 'diverged' else reached:>22}")
    print(f"{'ψ*' if psi_steps is None else psi_steps!s:8}" + "".join(cells))

# %% [markdown]
# A $\psi$ that lags behind slows training down and does not spoil it; $\lambda$ about 1 is a good
# choice in every row, and 1.5, which arrives with $\psi^*$, diverges with a $\psi$ that is fitted
# in a few steps.
#
# ## Weights of $x_0$
#
# The losses may be weighted by $w(x_t,t)$: that is a part of $f$, and the identity holds. The
# public code weights by $1/\|x_0-f_\varphi(x_t)\|_1$, which depends on $x_0$. No such $f$ exists:

# %%
heavy = distill.GaussianMixture([0.5, 0.5], [0.0, 0.0], [0.09, 4.0])
one = distill.Generator.affine(0.0, 1.0)
for weight in distill.WEIGHTS:
    found = distill.losses(heavy, one, lam=0.5, weight=weight, schedule=level)
    twice, true = 2 * found.frozen["loss"][1], found.true["l1"][1]
    print(f"{weight:8} L1 {found.l1:.3f}  L2 {found.l2:.3f}  ", end="")
    print(f"2·frozen {twice:6.3f}  true {true:6.3f}")

# %% [markdown]
# Where the student can become the data, all gradients are 0 there, and the weight does no harm in
# the end. Where it cannot, as a Gaussian of these heavy tails, training with $\lambda=\frac12$
# should lead to the minimum of $L_1$, and with the broken weight it does not:

# %%
grid = np.linspace(0.8, 1.4, 31)
for weight in distill.WEIGHTS:
    run = distill.distill(heavy, one, 0.5, level, 30, learning_rate=2.0, weight=weight)
    values = [
        distill.losses(heavy, distill.Generator.affine(0.0, w), weight=weight, schedule=level).l1
        for w in grid
    ]
    end, least = run.parameters[-1, 1], grid[np.argmin(values)]
    print(f"{weight:8} ends at {end:.2f}, L1 is least near {least:.2f}")

# %% [markdown]
# ## A mixture in the plane
#
# Three blades, and a student that starts as one blob. Expectations are over 512 samples here. The
# arrows are the data's score less the student's own, at $\sigma=\frac12$.

# %%
run = plane_run(steps=60)
fig, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained", sharex=True, sharey=True)
noisy = run.teacher.diffuse(1.0, 0.5)
for ax, step in zip(axes, (0, 4, 60), strict=True):
    made = run.generator(step)
    own = made.diffuse(1.0, 0.5)
    plot_density(run.teacher, ax, fill=False, shares=(0.9, 0.5))
    ax.plot(*made.sample(300).T, ".", color="C1", markersize=3)
    ax.set(xlim=(-3.5, 3.5), ylim=(-2.8, 2.8), title=f"step {step}: W₂ {run.w2[step]:.2g}")
    plot_arrows(lambda y, own=own: noisy.score(y) - own.score(y), ax, longest=4.0)
plt.show()
run

# %%
run.plot()
plt.show()

# %% [markdown]
# W₂ is *sliced* here: between Gaussians it has a closed form and in one dimension it comes from
# quantiles; for other mixtures it is taken along lines.
#
# ## Real data
#
# All of that needs a mixture. One can be fitted to measurements, as to the petals of 150 irises;
# three components have the smallest BIC, and 147 flowers lie in the component of their species,
# which the fit does not know.

# %%
irises = flowers()
for count, fit in irises.fits.items():
    print(f"{count} components: log-likelihood {fit.log_likelihood:7.1f}, BIC {fit.bic:6.1f}")

fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
plot_density(irises.fits[3].mixture, ax, color="0.5")
for kind, (name, marker) in enumerate(zip(irises.names, "os^", strict=True)):
    rows = irises.data[irises.species == kind]
    ax.plot(*rows.T, marker, color=f"C{kind}", markersize=3, label=name)
ax.set(xlabel="petal length (cm)", ylabel="petal width (cm)", aspect="auto")
ax.set(xlim=(0.6, 7.4), ylim=(-0.1, 2.9))
ax.legend(frameon=False, fontsize=8)
plt.show()
irises.fits[3]

# %% [markdown]
# ## In short
#
# | question | answer |
# |---|---|
# | Why two losses? | One value, two frozen gradients: the right one is a combination of them. |
# | Why not $L_1$? | Frozen, it only shrinks. |
# | Which $\lambda$ is right? | $\frac12$ is half the true gradient; 1 the largest that is safe. |
# | What bounds $\lambda$? | $1+(1-b)/(b-a)$, for a student wider than the data. |
# | What of a $\psi$ that lags? | Slower, and less room for $\lambda>1$. |
# | Which weights? | Those of $x_t$ and $t$; one of $x_0$ has another gradient than it seems. |
#
# The theory page has the derivations, and how the expectations are computed.
