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
# # Three ways to run a state-space layer
#
# A state-space layer maps a sequence $u$ to a sequence $y$ by
#
# $$x_{k+1}=\bar Ax_k+\bar Bu_k,\qquad y_k=Cx_{k+1}.$$
#
# The same map is a convolution, $y=K*u$ with $K_k=C\bar A^k\bar B$, and a rational function of the
# delay $z$, $G(z)=\sum_kK_kz^k=C(I-z\bar A)^{-1}\bar B$. As a recurrence it runs sample by sample,
# as a convolution all at once, as a rational function with two short lists of numbers. On paper the
# three are equal. This notebook runs all of them over a real recording, and looks at what each
# costs and what each loses. It takes a few seconds.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pywt

import resolvent as rv
from resolvent import rational, ssm
from resolvent.figures.ssm import OPERATIONS

ecg = pywt.data.ecg().astype(float)  # an electrocardiogram, 1024 samples
ecg -= ecg.mean()
rv.__version__

# %% [markdown]
# ## The layer
#
# HiPPO's LegT keeps the last 128 samples as 32 coefficients. The read-out $C$ asks for the value in
# the middle of that window, so the layer should return the recording, smoothed and 64 samples late.

# %%
order, window = 32, 128
legt = rv.hippo.system("legt", order, window=window)
C = legt.basis(np.array([0.5]))[:, 0]

# %% [markdown]
# ## 1 As a recurrence
#
# One step costs a product with a 32×32 matrix, and nothing but the 32 numbers of the state is kept.
# A stream may be cut anywhere:

# %%
whole = ssm.recur(ecg, legt, step=1, C=C)
y = whole.outputs

state, parts = None, []
for block in np.split(ecg, [100, 612]):
    outputs, state = ssm.recur(block, legt, state, step=1, C=C)
    parts.append(outputs)
print("the same bits in three blocks:", np.array_equal(np.concatenate(parts), y))

fig, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot(ecg, color="0.65", lw=1, label="recording")
ax.plot(y, lw=1.5, label="output")
ax.set(xlabel="sample", xlim=(0, 1023), title="An electrocardiogram through LegT")
ax.legend(frameon=False, ncols=2)
plt.show()

# %% [markdown]
# ## 2 As a convolution
#
# Training wants all outputs at once. `kernel` has the impulse response, and says how it computed
# it; `convolve` applies it by fast Fourier transforms.

# %%
K = ssm.kernel(legt, len(ecg), step=1, C=C)
print(K.info.route, "-", K.info.reason)
for method in ("fft", "direct"):
    error = np.abs(ssm.convolve(ecg, K, method=method) - y).max() / np.abs(y).max()
    print(f"{method:6}  agrees with the recurrence to rounding: {error < 1e-13}")
single = ssm.convolve(ecg.astype(np.float32), K.astype(np.float32))
error = np.abs(single - y).max() / np.abs(y).max()
print(f"in float32 to {-np.log10(error):.0f} digits")

# %% [markdown]
# ### What a transform of length L sees
#
# S4 computes the kernel in the frequency domain: $G$ at the $L$-th roots of unity, and an inverse
# transform. But $G$ is the generating function of the *whole* kernel. What comes back is its
# $L$-periodic sum, $\sum_jK_{k+jL}$: the tail is wrapped around. With $L=64$, in the middle of the
# kernel's peak, that is plain to see:

# %%
L = 64
periodic = ssm.kernel(legt, L, step=1, C=C, route="dplr", readout="truncated")
fig, ax = plt.subplots(figsize=(8, 2.8), layout="constrained")
ax.plot(K[:130], lw=1.6, label="kernel")
ax.plot(periodic, lw=1.6, label=f"{L}-periodic sum")
ax.plot(np.arange(L), K[:L] + K[L : 2 * L], "k:", lw=1, label="kernel + its next 64 samples")
ax.axvspan(0, L, color="0.93", zorder=0)
ax.set(xlabel="k", title="The kernel, and what an inverse transform of G makes of it")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# With $\tilde C=C(I-\bar A^L)$ in the place of $C$ the sum is the kernel itself. S4 trains
# $\tilde C$, which needs no power of $\bar A$; but then $\tilde C$ is tied to its $L$, and whoever
# takes it for $C$ runs another model. `readout` says which of the two is meant:

# %%
A = rv.discretize.discretize(legt, 1, "bilinear").A
C_tilde = C - C @ np.linalg.matrix_power(A, L)
again = ssm.kernel(legt, L, step=1, C=C_tilde, route="dplr", readout="truncated")
size = np.abs(K).max()
print(f"C̃ read as C̃: right to rounding: {np.abs(again - K[:L]).max() < 1e-13 * size}")
wrong = ssm.kernel(legt, L, step=1, C=C_tilde)
print(f"C̃ read as C: off by {np.abs(wrong - K[:L]).max() / size:.0%} of the largest sample")

# %% [markdown]
# ## Seven routes to one kernel
#
# There are more ways to compute $K$ than these: powers of $\bar A$, Cauchy sums over the normal
# form, products of all-pass sections, sums over eigenvalues, quotients of polynomials, scans.
# `audit` runs all that a model has. Here for S4's own LegS, with 16 states only:

# %%
legs = rv.hippo.system("legs", 16)
audit = ssm.audit(legs, ecg, step=0.1, C=np.ones(16))
for part in ("agreement", "eigenvectors", "coefficients", "fft"):
    f = audit.finding(part)
    digits = min(15, round(-np.log10(f.difference)))
    print(f"{part:13} {digits:2} digits are common to {', '.join(f.routes)}")
fig, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
audit.plot(ax)
ax.set_xlim(0, 60)
plt.show()

# %% [markdown]
# LegS has eigenvectors with a condition number of $10^{11}$, and its poles are too close together
# for coefficients of polynomials. The routes that use neither agree to the last digit. This is a
# matter of the route, not of the model, and 16 states is a small layer: with 24 nothing would be
# left of the sums over eigenvectors.
#
# ## 3 As a rational function
#
# $G$ is a quotient of two polynomials of degree 32. Their 64 coefficients are all that inputs and
# outputs depend on, a step costs $O(32)$, and a kernel three transforms, whatever the number of
# states. RTF trains these numbers. Can our layer be had in this form?

# %%
discrete = rv.discretize.discretize(legt, 1, "bilinear")
model = ssm.StateSpace(discrete.A, discrete.B, C)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    conversion = rational.from_state_space(model)
print(caught[0].message)
print("the model is stable:", model.is_stable())
print("its coefficients are:", conversion.transfer_function.is_stable())

# %% [markdown]
# No: the 32 poles lie in one patch of the disk, and 16 digits per coefficient cannot tell them
# apart. Nothing is wrong with the conversion; the numbers that it would have to return do not exist
# in double precision. The same function as a *product* of 16 small quotients has every digit:

# %%
sections = rational.cascade(model)
signal = ecg
for section in sections:
    signal, _ = section.recur(signal)
error = np.abs(signal - y).max() / np.abs(y).max()
print(f"{len(sections)} sections: the recurrence to rounding: {error < 1e-12}")

fig, (left, right) = plt.subplots(
    1, 2, figsize=(8, 3.4), layout="constrained", width_ratios=(1, 1.3)
)
turn = np.linspace(0, 2 * np.pi, 200)
for poles, mark, label in (
    (model.poles(), "x", "of the model"),
    (conversion.transfer_function.poles(), "+", "of the coefficients"),
):
    left.plot(poles.real, poles.imag, mark, ms=6, label=label)
left.plot(np.cos(turn), np.sin(turn), color="0.6", lw=1)
left.set(
    aspect="equal", title="Poles", xlabel="Re ζ", ylabel="Im ζ", xlim=(0, 2.4), ylim=(-1.1, 1.1)
)
left.legend(frameon=False, loc="upper right", fontsize=8)
omega = np.geomspace(1e-3, np.pi, 400)
z = np.exp(-1j * omega)
exact = np.abs(ssm.generating_function(legt, z, step=1, C=C))
product = np.prod([s.frequency_response(omega) for s in sections], axis=0)
numerator, denominator = conversion.transfer_function.control_polynomials()
quotient = np.polyval(numerator, 1 / z) / np.polyval(denominator, 1 / z)
right.loglog(omega, np.abs(quotient), lw=1, color="C1", label="coefficients")
right.loglog(omega, exact, lw=3, color="0.75", label="exact")
right.loglog(omega, np.abs(product), lw=1, color="C0", label="cascade")
right.set(xlabel="ω", title="|G|", ylim=(1e-3, 1e3))
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# ## Fewer states
#
# Does it take 32 states to recall one instant? The Hankel singular values say how much each state
# of the balanced model takes part, and twice the sum of those left out bounds the error.

# %%
sigma = rational.hankel_singular_values(model)
small = rational.reduce(model, 16)
outputs = ssm.recur(ecg, small.state_space).outputs
error = np.linalg.norm(outputs - y) / np.linalg.norm(ecg)
print(f"16 states: error {error:.1e} of the input, bound {small.error_bound:.1e}")

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    conversion = rational.from_state_space(small.state_space)
print(caught[0].message)
G = conversion.transfer_function
error = np.abs(G.recur(ecg)[0] - outputs).max() / np.abs(y).max()
print(f"stable: {G.is_stable()}, and coefficients change the outputs by {error:.0e} at most")

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.semilogy(np.arange(1, order + 1), np.maximum(sigma, 1e-17), "o", ms=4)
left.axvline(16.5, color="0.6", lw=1, ls="--")
left.set(xlabel="state", title="Hankel singular values")
for size, color in ((8, "C1"), (12, "C2"), (16, "C0")):
    reduced = rational.reduce(model, size)
    values = ssm.recur(ecg, reduced.state_space).outputs
    right.plot(values[500:700], color=color, lw=1.3, label=f"{size} states")
right.plot(y[500:700], "k:", lw=1.3, label="all 32")
right.set(xlabel="sample", xticks=[0, 100, 200], title="One heart beat")
right.set_xticklabels(["500", "600", "700"])
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# Sixteen states do, half of the window. And the small model can be had as two polynomials: of its
# coefficients twelve digits are lost, so that about four are left, no fewer than the reduction
# left. `rational.fit` finds such a model from the kernel alone, by the eigensystem realisation (or
# by AAA, or Prony's method):

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fit = rational.fit(np.asarray(K)[:256], 16, "era")
errors = fit.parallel_errors[[7, 11, 15]]
print(", ".join(f"{n} poles: {e:.0e}" for n, e in zip((8, 12, 16), errors, strict=True)))

# %% [markdown]
# ## What each way costs
#
# Floating-point operations per channel for a kernel of 16384 samples, counted from the formulas
# (the documentation's benchmark page has times):

# %%
print(f"{'':24}" + "".join(f"{f'N = {n}':>12}" for n in (16, 64, 256)))
for name, count in OPERATIONS.items():
    print(f"{name:24}" + "".join(f"{count(n, 16384):12.1e}" for n in (16, 64, 256)))

# %% [markdown]
# Steps with a dense matrix are dearest. The normal form makes a step and a point of the circle
# $O(N)$, and does so without losing digits. The rational form hardly depends on N at all. That is
# what makes it attractive, for the models that fit into it.
#
# ## Training a rational layer
#
# Coefficients have another trait that matters when they are trained: hardly any direction is safe.
# A step of $10^{-3}$ in each, as a first step of Adam would be, and the same relative to the
# *reflection coefficients* of the denominator, which are all in (−1, 1) if and only if the model is
# stable:

# %%
steps = 1e-3 * np.random.default_rng(0).choice([-1.0, 1.0], (500, G.order))
by_coefficients = rational.TransferFunction(G.b, G.a + steps)
angles = np.arctanh(rational.reflection(G.a))
by_reflection = rational.TransferFunction(G.b, rational.from_reflection(np.tanh(angles + steps)))
for name, moved in (("a", by_coefficients), ("artanh k", by_reflection)):
    print(f"steps in {name:9} {np.mean(moved.is_stable()):4.0%} are stable")

# %% [markdown]
# ## Which way, then?
#
# | | runs | costs per sample | holds |
# |---|---|---|---|
# | recurrence | sample by sample | $O(N^2)$, in normal form $O(N)$ | any model |
# | convolution | a sequence at once | $O(\log L)$ after the kernel | any model, one length |
# | rational | both ways | $O(d)$, kernel $O(\log L)$ | models whose poles are few or apart |
#
# Where to go from here: the theory pages on kernels and on rational transfer functions have the
# formulas and what other code does differently; `ssm.kernel` takes channels in all of its
# parameters, and `cauchy_vjp`, `vandermonde_vjp`, `scan_vjp` and `convolve_adjoint` are what a
# training loop needs.
