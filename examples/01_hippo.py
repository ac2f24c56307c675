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
# # HiPPO on real recordings
#
# A HiPPO memory keeps the past of a signal in N coefficients and updates them sample by sample.
# This notebook projects two recordings, compares what different memories hold, recognises a
# matrix copied from elsewhere, and shows what goes wrong with which rule. It runs in a few
# seconds.

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pywt.data

import resolvent as rv

ecg = pywt.data.ecg().astype(float)
years, nino = pywt.data.nino()
rv.__version__

# %% [markdown]
# An electrocardiogram of 1024 samples, and the El Niño 3 sea-surface temperature index, four
# values a year since 1950.

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 2.6), layout="constrained")
left.plot(ecg, lw=1)
left.set(title="Electrocardiogram", xlabel="sample")
right.plot(years, nino, lw=1)
right.set(title="El Niño 3 index", xlabel="year")
plt.show()

# %% [markdown]
# ## Project and reconstruct
#
# `system` names what is remembered, here the whole past in Legendre polynomials. `project` runs
# the memory over the signal; `reconstruct` evaluates what it holds. Sample k holds on [k, k+1),
# so after 1024 samples the time is 1024.

# %%
middles = np.arange(ecg.size) + 0.5

fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
ax.plot(middles, ecg, color="0.7", lw=1, label="recording")
for order in (16, 64, 256):
    legs = rv.hippo.system("legs", order)
    c = rv.hippo.project(ecg, legs, rule="exact")
    held = rv.hippo.reconstruct(c, legs, middles, now=ecg.size)
    rmse = np.sqrt(np.mean((held - ecg) ** 2))
    ax.plot(middles, held, lw=1, label=f"N = {order}, RMSE {rmse:.1f}")
ax.set(xlabel="sample", title="The whole past, LegS")
ax.legend(ncols=4, loc="upper center", frameon=False)
ax.set_ylim(-130, 330)
plt.show()

# %% [markdown]
# The sharp R waves need many polynomials. That is a property of the basis, not of the algorithm:
# with the rule `"exact"` the coefficients *are* the best approximation. `optimal` computes that
# from the signal directly, with no time stepping, and the two agree to rounding.

# %%
difference = np.abs(c - rv.hippo.optimal(ecg, legs)).max()
print(f"largest coefficient {np.abs(c).max():.1f}, largest difference {difference:.1e}")

# %% [markdown]
# ## Compare memories
#
# - LegT and FouT hold a window: here the last 256 samples.
# - LagT holds everything, fading over its unit of time.
# - LegS holds everything with the same weight.
#
# All get 65 numbers, and we look at the last 256 samples. (Fourier windows take an odd order: a
# cosine without its sine cannot be remembered.)

# %%
recent = middles[-256:]
memories = {
    "LegT, window 256": rv.hippo.system("legt", 65, window=256),
    "FouT, window 256": rv.hippo.system("fout", 65, window=256),
    "LagT, unit of time 8": rv.hippo.system("lagt", 65, window=8),
    "LegS, the whole past": rv.hippo.system("legs", 65),
}
fig, axes = plt.subplots(4, 1, figsize=(10, 7), layout="constrained", sharex=True, sharey=True)
for ax, (title, system) in zip(axes, memories.items(), strict=True):
    c = rv.hippo.project(ecg, system, rule="exact")
    held = rv.hippo.reconstruct(c, system, recent, now=ecg.size)
    rmse = np.sqrt(np.mean((held - ecg[-256:]) ** 2))
    ax.plot(recent, ecg[-256:], color="0.7", lw=1)
    ax.plot(recent, held, lw=1)
    ax.set_title(f"{title}: RMSE {rmse:.1f}", loc="left", fontsize=10)
axes[-1].set_xlabel("sample")
plt.show()

# %% [markdown]
# The windows spend their numbers on these 256 samples only. LagT and LegS have more to hold, and
# with them the R wave comes out too low and too wide.
#
# Is a window's error its basis's or its equation's? A window must guess the value that leaves it
# at the far end. `reconstruction_error` reports both: `rmse` of the memory, `optimal_rmse` of the
# exact projection on the same functions.

# %%
for title, system in memories.items():
    e = rv.hippo.reconstruction_error(ecg, system, rule="exact")
    print(f"{title:22} RMSE {e.rmse:6.2f}   exact projection {e.optimal_rmse:6.2f}")

# %% [markdown]
# ## A stream in real time
#
# `Memory` takes samples as they come. El Niño with time in years: a step of a quarter, a window
# of 20 years. The memory is asked twice, and the answers cost 33 numbers each: 16 frequencies in
# 20 years. So what is slower than 1.25 years is kept, and the annual cycle is not.

# %%
memory = rv.hippo.Memory(rv.hippo.system("fout", 33, window=20.0), rule="exact", step=0.25)
fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
ax.plot(years, nino, color="0.7", lw=1, label="index")
for start, stop in ((0, 132), (132, 264)):
    memory.update(nino[start:stop])
    times = np.linspace(memory.time - 20, memory.time, 400)
    label = f"held in {years[0] + memory.time:.0f}"
    ax.plot(years[0] + times, memory.reconstruct(times), lw=1.5, label=label)
ax.set(xlabel="year", title="Twenty years in 33 numbers")
ax.legend(frameon=False, ncols=3, loc="upper left")
ax.set_ylim(-2.5, 5.5)
plt.show()

# %% [markdown]
# ## Which matrix is this?
#
# Public code builds these matrices in several normalisations, signs and windows, mostly without
# saying which. Here is one as it may be found: Legendre, halved, stored with the opposite sign.

# %%
n = np.arange(16)
r = np.sqrt(2 * n + 1)
lower = np.tril(np.ones((16, 16)))
alternating = (-1.0) ** (n[:, None] - n[None, :])
A = 0.5 * np.outer(r, r) * np.where(lower > 0, 1.0, alternating)
B = 0.5 * r

found = rv.hippo.identify(A, B)
found

# %% [markdown]
# A LegT system of window 2 whose A has the wrong sign for x' = Ax + Bu. `found.system` is the one
# to use, and `convert` takes coefficients from one normalisation to another; what they
# reconstruct stays the same.

# %%
system = rv.hippo.system("legt", 16, window=256)
c = rv.hippo.project(ecg, system)
plain = rv.hippo.convert(c, system, "legendre")
a = rv.hippo.reconstruct(c, system, recent, now=ecg.size)
b = rv.hippo.reconstruct(plain, system.to("legendre"), recent, now=ecg.size)
print(f"difference of the coefficients {np.abs(c - plain).max():.1f}")
print(f"difference of the signals {np.abs(a - b).max():.0e}")

# %% [markdown]
# ## Rules
#
# A rule says how one step is taken. Explicit Euler on LegS amplifies rounding noise, and says so
# before it starts:

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    c = rv.hippo.project(ecg, rv.hippo.system("legs", 256), rule="forward", every=1)
print(f"{caught[0].category.__name__}: {caught[0].message}")
print(f"largest coefficient on the way {np.abs(c).max():.0e}, at the end {np.abs(c[-1]).max():.0e}")

# %% [markdown]
# The stable ones differ in accuracy. The usual bilinear rule evaluates the input at the old time
# only, which makes it first order on LegS's 1/t clock; averaging the weight over both ends
# (`"bilinear-split"`) makes it second order. `"exact"` has no step error at all. Measured against
# `optimal` on a smooth signal:

# %%
legs = rv.hippo.system("legs", 16)
lengths = [250, 500, 1000, 2000, 4000, 8000]
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for rule in ("backward", "zoh", "bilinear", "bilinear-split", "exact"):
    errors = []
    for length in lengths:
        t = (np.arange(length) + 0.5) / length
        u = np.sin(7 * t) + 0.3 * np.cos(19 * t)
        c = rv.hippo.project(u, legs, rule=rule)
        errors.append(np.abs(c - rv.hippo.optimal(u, legs)).max())
    order = np.log2(errors[-2] / errors[-1])
    label = rule if rule == "exact" else f"{rule}, order {order:.1f}"
    ax.loglog(lengths, errors, "o-", ms=4, label=label)
ax.set(xlabel="samples", ylabel="largest coefficient error", title="LegS, N = 16")
ax.set_xticks(lengths, labels=lengths)
ax.set_xticks([], minor=True)
ax.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# On a rough signal the step error matters even more. For the ECG in 256 numbers:

# %%
legs = rv.hippo.system("legs", 256)
for rule in ("backward", "bilinear", "bilinear-split", "zoh", "exact"):
    e = rv.hippo.reconstruction_error(ecg, legs, rule=rule)
    print(f"{rule:15} RMSE {e.rmse:6.2f}   exact projection {e.optimal_rmse:6.2f}")

# %%
fig, ax = plt.subplots(figsize=(10, 3), layout="constrained")
rv.hippo.reconstruction_error(ecg, legs, rule="exact").plot(ax)
plt.show()

# %% [markdown]
# Where to go from here: the theory page has every formula behind this notebook, the conventions
# page says what is meant by time, window and normalisation, and `rv.hippo.derive` makes a memory
# from any basis and any map of time.
