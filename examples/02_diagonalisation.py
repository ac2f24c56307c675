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
# # Why S4 does not diagonalise A
#
# S4 runs HiPPO's LegS as a time-invariant system, x' = Ax + Bu. A recurrence is cheap when its
# matrix is diagonal, and A is triangular with the distinct eigenvalues −1, …, −N, so it can be
# diagonalised, on paper. This notebook shows what happens when one does it in floating point, what
# can be diagonalised in its place, and that this needs no eigensolver: the eigenvalues are the
# solutions of one scalar equation, with a proof of a dozen lines. It runs in less than a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np

import resolvent as rv


def legs(order):
    return rv.hippo.system("legs", order)


rv.__version__

# %% [markdown]
# ## How many digits survive?
#
# With A = VΛV⁻¹ every number goes through V and V⁻¹, and can lose as many digits as the condition
# number of V has. The eigenvectors of LegS are known in closed form, so that number can be computed
# correctly even where V itself is hopeless.

# %%
for order in (4, 8, 16, 24, 64):
    print(f"N = {order:2}: {rv.spectral.conditioning(legs(order)).statement}")

# %%
orders = [2, 4, 8, 12, 16, 20, 24, 32, 48, 64]
digits = [rv.spectral.conditioning(legs(order)).log10_condition for order in orders]
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(orders, digits, "o-", ms=4, label="eigenvectors of A")
ax.plot(orders, np.zeros(len(orders)), "o-", ms=4, label="the normal part, below")
ax.axhline(15.65, color="0.5", lw=1, ls="--")
ax.text(64, 16.4, "double precision", ha="right", color="0.4")
ax.set(xlabel="N", ylabel="digits lost, log10 κ(V)", title="What diagonalising LegS costs")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# The line has the slope log10(3 + 2√2) = 0.77 digits per coefficient. At N = 24 nothing is left.
#
# An eigensolver does not say so. It returns the eigenvalues of a matrix that differs from A by
# rounding, with tiny residuals, and at N = 64 these are nowhere near −1, …, −64:

# %%
A = legs(64).A
exact = rv.spectral.eigenvalues(legs(64))
Q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))
dense = np.linalg.eigvals(Q @ A @ Q.T)  # the same matrix in other orthonormal coordinates
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(dense.real, dense.imag, "x", ms=5, label="dense eigensolver")
ax.plot(exact, np.zeros(64), ".", ms=5, label="exact")
ax.set(xlabel="Re", ylabel="Im", title="Eigenvalues of LegS, N = 64")
ax.legend(frameon=False)
plt.show()
print(f"largest imaginary part {np.abs(dense.imag).max():.0f}; there should be none")

# %% [markdown]
# Pseudospectra show why. σ_min(zI − A) is how far A is from a matrix with the eigenvalue z. Where
# that is below eps·‖A‖, z is an eigenvalue as far as double precision can tell; for N = 64 this is
# a region far larger than the segment of the true eigenvalues.

# %%
region = rv.spectral.pseudospectrum(A, (-130, 40, -80, 80), 120)
fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
region.plot(ax)
plt.show()
share = np.mean(region.sigma < region.floor)
print(f"share of this box that is an eigenvalue to rounding: {share:.0%}")

# %% [markdown]
# The consequence for a kernel: HiPPO's impulse responses are $(e^{tA}B)_n=r_ne^{-t}P_n(2e^{-t}-1)$.
# Through the eigenvectors, here the exact ones rounded to double precision, they come out wrong by
# the digits that were announced.

# %%
t = np.linspace(0, 5, 200)
for order in (8, 16, 24, 32):
    system = legs(order)
    V, values = rv.spectral.eigenvectors(system), rv.spectral.eigenvalues(system)
    response = V @ (np.exp(np.outer(values, t)) * np.linalg.solve(V, system.B)[:, None])
    last = np.zeros(order)
    last[-1] = np.sqrt(2 * order - 1)
    true = np.exp(-t) * np.polynomial.legendre.legval(2 * np.exp(-t) - 1, last)
    error = np.abs(response[-1] - true).max() / np.abs(true).max()
    print(f"N = {order:2}: relative error of the last impulse response {error:.0e}")

# %% [markdown]
# ## A is harmless, its eigenvectors are not
#
# Nothing of this is a property of the map $x\mapsto e^{tA}x$. The numerical range of A lies left of
# −½, and therefore $\lVert e^{tA}\rVert\le e^{-t/2}$: no state ever grows.

# %%
field = rv.spectral.numerical_range(legs(64))
print(f"numerical abscissa {field.abscissa:.15f}")

# %% [markdown]
# The remedy is S4's: find a unitary change of coordinates. With $b=B$, $b_n=\sqrt{2n+1}$,
#
# $$A=-\tfrac12I+K-\tfrac12bb^{\mathsf T},\qquad K\text{ real and skew-symmetric},$$
#
# because A is $-b_nb_k$ below the diagonal and $-(n+1)=-\tfrac12-\tfrac12b_n^2$ on it: adding
# $\tfrac12bb^{\mathsf T}+\tfrac12I$ leaves $\mp\tfrac12b_nb_k$ and a zero diagonal.

# %%
b = legs(64).B
K = A + 0.5 * np.eye(64) + 0.5 * np.outer(b, b)
print(f"K + Kᵀ: {np.abs(K + K.T).max():.0e}")

# %% [markdown]
# A skew-symmetric matrix has imaginary eigenvalues and orthonormal eigenvectors: κ = 1. In its
# coordinates A is diagonal minus rank one, which is nearly as cheap as diagonal. S4 calls an
# eigensolver for them. One can do better.
#
# ## The phase equation
#
# Shift A by ½, so that its eigenvalues are $-p_k$ with the *poles* $p_k=k+\tfrac12$ and
# $b_k=\sqrt{2p_k}$; everything here holds for any positive poles.
#
# **1. The transfer function is all-pass.** Let $X(s)=(sI-A)^{-1}b$ and
# $R_n(s)=\prod_{k<n}\frac{s-p_k}{s+p_k}$. Then $X_n=\frac{b_n}{s+p_n}R_n$ and
#
# $$1-b^{\mathsf T}X(s)=R_N(s)=R(s).$$
#
# For $b_nX_n=\frac{2p_n}{s+p_n}R_n=R_n-R_{n+1}$, a telescoping sum: $\sum_{k<n}b_kX_k=1-R_n$. And
# row $n$ of $(sI-A)X=b$ is $(s+p_n)X_n=b_n(1-\sum_{k<n}b_kX_k)=b_nR_n$. ∎
#
# **2. Eigenvalues of K are where R = −1.** Let $Kv=i\mu v$. Since $A=K-\tfrac12bb^{\mathsf T}$,
# $(i\mu I-A)v=\tfrac12b\,(b^{\mathsf T}v)$. $b^{\mathsf T}v$ is not 0, or $i\mu$ would be an
# eigenvalue of A. Scaled to $b^{\mathsf T}v=2$, $v$ is $X(i\mu)$, and
# $2=b^{\mathsf T}X(i\mu)=1-R(i\mu)$. The steps reverse. ∎
#
# **3. On the imaginary axis only a phase is left.** $\frac{i\mu-p}{i\mu+p}=-e^{-2i\arctan(\mu/p)}$,
# so $R(i\mu)=(-1)^Ne^{-i\Phi(\mu)}$ and $R=-1$ becomes
#
# $$\Phi(\mu)=\sum_{k<N}2\arctan\frac\mu{p_k}=(N-1-2j)\,\pi,\qquad j=0,\dots,N-1 .$$
#
# Φ increases from $-N\pi$ to $N\pi$, so every $j$ has one root, and these are all N. ∎
#
# **4. The eigenvectors come along.** $|X_n(i\mu)|^2=\frac{2p_n}{p_n^2+\mu^2}$, and their sum is
# $\Phi'(\mu)$. The unit vectors $q_j=X(i\mu_j)/\sqrt{\Phi'(\mu_j)}$ have, by $b^{\mathsf T}X=2$,
#
# $$q_j^*b=\frac2{\sqrt{\Phi'(\mu_j)}}>0 .$$

# %%
system = legs(8)
spectrum = rv.spectral.normal_spectrum(system)
mu = np.linspace(-30, 30, 2001)
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(mu, rv.spectral.phase(system, mu) / np.pi, label="Φ(μ)/π")
for turns in range(-7, 8, 2):
    ax.axhline(turns, color="0.85", lw=0.8, zorder=0)
ax.plot(spectrum.mu, 7 - 2 * np.arange(8), "o", ms=5, label="eigenvalues of K")
ax.set(xlabel="μ", yticks=range(-7, 8, 2), title="LegS, N = 8: one root at every odd multiple of π")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Against LAPACK, which needs the matrix:

# %%
for order in (8, 64, 512):
    b = legs(order).B
    below = np.tril(-0.5 * np.outer(b, b), -1)
    values, vectors = np.linalg.eigh(-1j * (below - below.T))
    weights = np.abs(vectors.conj().T @ b) ** 2
    spectrum = rv.spectral.normal_spectrum(legs(order))
    apart = np.abs(values[::-1] / spectrum.mu - 1).max()
    weights_apart = np.abs(weights[::-1] / spectrum.weights - 1).max()
    print(f"N = {order:3}: eigenvalues agree to {apart:.0e}, weights to {weights_apart:.0e}")

# %% [markdown]
# The difference is the eigensolver's: it is good to eps·‖K‖, while each root of the phase equation
# is good to 13 digits of its own. For LegS the sum is a log-gamma function, so an eigenvalue costs
# the same at every N. A million of them, whose matrix would have 8 terabytes:

# %%
million = rv.spectral.normal_spectrum(legs(1_000_000))
print(f"largest {million.mu[0]:.6e}, N²/π = {1e12 / np.pi:.6e}, smallest {million.mu[499_999]:.6f}")
print(f"Σ weights / bᵀb - 1 = {million.weights.sum() / 1e12 - 1:.0e}")

# %% [markdown]
# ## Diagonal plus low rank
#
# `dplr` puts it together: eigenvalues, $P=V^*b/\sqrt2$, $B=V^*b$. `half` keeps one of each
# conjugate pair. All of B and P are positive, with no choice left to a library.

# %%
form = rv.spectral.dplr(legs(64), half=True)
print(form)
print(f"A from it: relative error {np.linalg.norm(form.to_dense() - A) / np.linalg.norm(A):.0e}")
print(f"B real and positive: {bool((form.B.real > 0).all() and (form.B.imag == 0).all())}")

# %% [markdown]
# Phases are not a matter of taste. Public S4 code clips the imaginary part of its B at ±2, and what
# that does depends on the phases that the eigensolver chose: nothing with these, nearly everything
# with LAPACK's.

# %%
b = legs(64).B
below = np.tril(-0.5 * np.outer(b, b), -1)
_, vectors = np.linalg.eigh(-1j * (below - below.T))
kept = vectors[:, :32]  # one of each pair
B = kept.conj().T @ b
clipped = B.real + 1j * np.clip(B.imag, -2, 2)
print(f"B changed by {np.linalg.norm(clipped - B) / np.linalg.norm(B):.0%} of its norm")

# %% [markdown]
# What that does to the memory shows in the impulse responses, which should be
# $r_ne^{-t}P_n(2e^{-t}-1)$. The first coefficient hardly notices. The others lose their beginning,
# the newest part of the past, and with it the more the higher they are.

# %%
t = np.geomspace(1e-6, 20, 300)
start = np.stack([b, 2 * (kept @ clipped).real], axis=1)
responses = np.array([rv.discretize.expm(A, lag) @ start for lag in t])  # (t, n, which)
fig, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
for n, ax in zip((1, 8, 24), axes, strict=True):
    ax.semilogx(t, responses[:, n, 0], lw=1.5, label="LegS")
    ax.semilogx(t, responses[:, n, 1], lw=1.5, label="with B clipped")
    ax.set(xlabel="t", xlim=(1e-4, 10), title=f"coefficient {n}")
axes[0].legend(frameon=False)
plt.show()

# dt = t d(ln t), and the grid is even in ln t
size = np.sum(responses[..., 0] ** 2 * t[:, None], axis=0)
change = np.sum((responses[..., 1] - responses[..., 0]) ** 2 * t[:, None], axis=0)
for n in (1, 8, 24, 63):
    print(f"coefficient {n:2} changed by {np.sqrt(change[n] / size[n]):4.0%} in mean square")
print(f"all of them by {np.sqrt(change.sum() / size.sum()):.0%}")

# %% [markdown]
# With B as it is, the recurrence in normal coordinates is LegS's, at O(N) per step. Here both run
# the bilinear rule on the same noise, the dense one with a 64×64 matrix, the other with its
# eigenvalues and one vector:

# %%
rng = np.random.default_rng(1)
u, C = rng.standard_normal(500), rng.standard_normal(64)
step = 0.01
dense = rv.discretize.discretize(legs(64), step, "bilinear")
light = rv.discretize.discretize(form, step, "bilinear")
read = form.multiplicity * form.transform(C)
x, z = np.zeros(64), np.zeros(32, complex)
difference = largest = 0.0
for value in u:
    x = dense.A @ x + dense.B * value
    # Q*z over all 64 entries: those that are not kept are the conjugates.
    inner = 2 * (light.Q.conj().T @ z).real
    z = light.A * z - light.P @ inner + light.B * value
    difference = max(difference, abs(C @ x - (read @ z).real))
    largest = max(largest, abs(C @ x))
print(f"largest output {largest:.2f}, largest difference {difference:.0e}")

# %% [markdown]
# ## What S4D keeps
#
# S4D drops the rank-one part as well, and replaces the frequencies by formulas. The phase equation
# says how close these are. Far out $2\arctan(p/\mu)\approx2p/\mu$ and $\sum2p_k=N^2$, so
# $\mu_j\approx N^2/((2j+1)\pi)$: that is S4D-Inv up to a term of size N.

# %%
order = 64
exact = rv.spectral.diagonal(order, "legs", half=True).eigenvalues.imag
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
left.semilogy(exact, "k.", label="LegS, exact")
for kind in ("inv", "lin", "quad"):
    values = np.sort(rv.spectral.diagonal(order, kind, half=True).eigenvalues.imag)[::-1]
    left.semilogy(values, lw=1, label=f"S4D-{kind.capitalize()}")
    right.semilogy(np.abs(values / exact - 1), lw=1.5, label=f"S4D-{kind.capitalize()}")
left.set(xlabel="j", title="Frequencies, N = 64")
right.set(xlabel="j", title="Relative difference from LegS")
left.legend(frameon=False)
plt.show()

# %% [markdown]
# The low rank can be restored exactly. $b^{\mathsf T}(sI-K)^{-1}b=2\frac{1-R}{1+R}$, so
#
# $$(sI-A)^{-1}b=\tfrac12\,(1+R(s))\,(sI-K)^{-1}b ,$$
#
# and for LegS R(s) vanishes as N grows, like $N^{-2s}$ for the poles $p_k=k+\tfrac12$ (before the
# shift by ½): S4D-LegS, with half of B, tends to LegS, slowly.

# %%
s = 0.5 + 1.0j
for order in (8, 64, 512):
    b = legs(order).B
    R = np.prod((s - 0.5 * b**2) / (s + 0.5 * b**2))
    A_shifted = legs(order).A + 0.5 * np.eye(order)
    K = A_shifted + 0.5 * np.outer(b, b)
    left = np.linalg.solve(s * np.eye(order) - A_shifted, b)
    right = np.linalg.solve(s * np.eye(order) - K, b) * (1 + R) / 2
    print(f"N = {order:3}: |R| = {abs(R):.3f}, identity to {np.abs(left - right).max():.0e}")

# %% [markdown]
# Where to go from here: the theory page on spectral structure has the formulas for the other
# measures, LegT as a Padé delay and the numerics of the roots; the page on discretisation says what
# each rule does to these eigenvalues.
