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
# # Attention is a quadratic RNN
#
# A recurrent network carries a state of constant size from step to step; a transformer keeps all
# that it has seen. So one says. But a causal transformer computes its outputs one after the other,
# from tokens that it could as well read again, and nothing forces it to keep anything else. This
# notebook follows a post on kexue.fm (J. Su, archives 10017): softmax attention as a recurrence,
# what it costs to run it with constant memory, and what the recurrences that are *linear* in their
# state gain and lose. It takes a few seconds.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import resolvent as rv
from resolvent import attention
from resolvent.attention import linear
from resolvent.figures.attention import contexts, excerpt_weights, guesses, licence
from resolvent.plot.probmap import plot_attention

rv.__version__

# %% [markdown]
# ## One query meets its keys
#
# $$o=\frac{\sum_i e^{q\cdot k_i}v_i}{\sum_i e^{q\cdot k_i}}$$
#
# Both sums can be made key by key. So that no exponential overflows they are kept relative to the
# largest logit so far, and rescaled when a larger one comes. That is a recurrence over keys with a
# state of $e+2$ numbers for values of $e$: maximum, denominator, numerator.

# %%
rng = np.random.default_rng(1)
q, k, v = rng.standard_normal((3, 200, 8))
query = q[-1]

m, z, n = -np.inf, 0.0, np.zeros(8)
for key, value in zip(k, v, strict=True):
    x = query @ key
    larger = max(m, x)
    old, new = np.exp(m - larger), np.exp(x - larger)
    m, z, n = larger, old * z + new, old * n + new * value

print("as a recurrence: ", (n / z)[:4])
print("with all weights:", (rv.probmap.softmax(k @ query) @ v)[:4])

# %% [markdown]
# To watch it on its way, ask the same question at every step: row $t$ of causal attention is the
# answer from the keys up to $t$.

# %%
answers = attention.causal(np.tile(query, (200, 1)), k, v)
fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.5, 3.6), layout="constrained", sharex=True)
logits = k @ query
top.vlines(range(200), 0, logits, color="0.7", lw=1)
top.step(range(200), np.maximum.accumulate(logits), where="post", color="C1", lw=2)
top.set_title("Logits and their maximum so far", fontsize=10)
bottom.plot(answers[:, :2])
bottom.plot([199, 199], (n / z)[:2], "k.")
bottom.set_title("Two entries of the output so far", fontsize=10)
bottom.set_xlabel("keys so far")
plt.show()

# %% [markdown]
# ## Four routes
#
# `causal` does this for all queries. *full* makes the $L\times L$ weights; *cached* takes one query
# after the other against keys and values in memory, as a decoder does; *recompute* is the
# recurrence above, and *streaming* the same in tiles of queries and keys.

# %%
full = attention.causal(q, k, v, route="full")
for route in attention.ROUTES:
    difference = np.abs(attention.causal(q, k, v, route=route) - full).max()
    print(f"{route:9} differs by {difference:.1e}")

big = rng.standard_normal((3, 8, 4096, 64)).astype(np.float32)  # 8 heads
start = time.perf_counter()
attention.causal(*big, scale=64**-0.5)
print(f"8 heads of 4096 × 64: {time.perf_counter() - start:.2f} s, no 4096 × 4096 array")

# %% [markdown]
# Other maps may stand in for softmax. One of the form $f(x_i)/\sum_jf(x_j)$ has a recurrence too;
# where a threshold depends on the whole row, there is none:

# %%
for m in (rv.probmap.softmax, rv.probmap.taylor_softmax, rv.probmap.sparsemax, rv.probmap.entmax):
    print(f"{m.__name__:15} streams: {attention.streams(m)}")
try:
    attention.causal(q, k, v, map=rv.probmap.sparsemax())
except rv.InvalidArgument as error:
    print(error)

# %% [markdown]
# ## A stack with constant memory
#
# The keys and values of the first layer are functions of one token each, so that they need not be
# stored: for every query they are made again. Those of layer $l$ are functions of the outputs of
# layer $l-1$ at earlier places, each of which is made again in the same way. The state of the whole
# computation is one recurrence for each layer: $O(Dd)$ numbers, whatever the length. `Stack` is a
# transformer with random weights that can do it.

# %%
stack = attention.Stack(layers=3, heads=2, d=16)
prompt = np.frombuffer(b"Attention is", np.uint8)
for route in ("cached", "recompute"):
    start = time.perf_counter()
    new = stack.generate(prompt, 24, route=route)
    print(f"{route:9} {time.perf_counter() - start:.3f} s  {new[:12]} …")

# %% [markdown]
# The same tokens, from the same few numbers at any length. What does it cost? Layer $l$ at place
# $t$ takes $T_l(t)=\sum_{i\le t}T_{l-1}(i)+O(t)$ operations, so that a sequence takes about
# $L^{D+1}/(D+1)!$ evaluations. `cost` has the closed forms; `count` runs the very code with
# numbers that count what is done to them:

# %%
for route in attention.ROUTES:
    counted = stack.count(32, route)
    assert counted == attention.cost(route, 32, 3, heads=2, d=16)
    print(f"{route:9} {counted}")

# %%
lengths = 2 ** np.arange(3, 13)
fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for route in attention.ROUTES:
    costs = [attention.cost(route, int(L), 3, d=16) for L in lengths]
    left.loglog(lengths, [c.operations for c in costs], label=route)
    right.loglog(lengths, [c.peak_bytes for c in costs], label=route)
left.set(title="operations, D = 3", xlabel="length", ylim=(1e4, 1e16))
right.set(title="bytes", xlabel="length")
left.legend(frameon=False)
plt.show()

# %% [markdown]
# So attention *is* a recurrent network: its state is constant, and its step takes longer and
# longer. A cache buys the time back with memory. With two layers and recomputation it is already a
# cubic one; the quadratic one of the title is a single layer.
#
# ## Linear recurrences
#
# Leave out the exponential, and the sums over keys do not need the query:
#
# $$S_t=S_{t-1}+k_tv_t^{\mathsf T},\qquad o_t=S_t^{\mathsf T}q_t$$
#
# That is linear attention, and each of the models below changes how $S$ decays: by a constant
# (RetNet), by what the input says (Mamba, Mamba-2), in channels (RWKV) or in complex modes (LRU,
# S5). As all are linear in the state, each has three forms: step by step; the whole sequence at
# once, which is quadratic again; and in chunks, parallel inside and recurrent between.

# %%
decay = 1 - 2.0 ** -np.arange(5, 9)  # one per head
Q, K, V = rng.standard_normal((3, 4, 2048, 32))
stepped = linear.retnet(Q, K, V, decay, form="recurrent")
for form in linear.FORMS:
    start = time.perf_counter()
    y = linear.retnet(Q, K, V, decay, form=form)
    seconds = time.perf_counter() - start
    print(f"{form:10} {1e3 * seconds:6.1f} ms, differs by {np.abs(y - stepped).max():.0e}")

# %% [markdown]
# A state can be kept and gone on from, and all have exact adjoints. `layer` wraps each model with
# the parameters that its paper starts from:

# %%
u = rng.standard_normal((300, 32))
layers = {name: attention.layer(name, 32, heads=4) for name in attention.LAYERS}
for name, layer in layers.items():
    outputs = [layer(u, form=form) for form in linear.FORMS]
    difference = max(np.abs(y - outputs[0]).max() for y in outputs[1:])
    kept = [layer.state_size(length) for length in (10, 1000)]
    print(f"{name:16} state {kept[0]:5} then {kept[1]:6} numbers; forms differ by {difference:.0e}")

# %% [markdown]
# ## How long is the past felt?
#
# The norm of $\partial y_t/\partial u_{t-k}$ says how much of an input is left after $k$ steps.

# %%
curves = attention.influence_curves(layers, 256, samples=32, probes=2)
curves

# %%
curves.plot()
plt.show()

# %% [markdown]
# Attention has no notion of distance: it finds the place by its key, and what it does not look at
# is as far away a step ago as at the start. Linear attention adds everything and forgets nothing,
# which is not the same as being able to tell things apart. The others fade, at rates that their
# parameters set; training moves those.
#
# ## How much fits in?
#
# Store $n$ keys with values and ask for one. Where a model has keys that can be asked for, they are
# used; for RWKV, LRU and S5 the best linear function of state and query answers.

# %%
recall = attention.memory_test(list(attention.LAYERS), loads=(1, 4, 16, 64))
recall

# %%
sizes = {
    f"{name}, N = {n}": attention.layer(name, 16, heads=2, state=n)
    for name in ("linear_attention", "retnet", "mamba")
    for n in (4, 8, 16, 32)
}
sizes["attention"] = attention.layer("attention", 16, heads=2)
attention.memory_test(sizes, loads=(1, 2, 3, 4, 6, 8, 11, 16, 23, 32)).plot(against="state")
plt.show()

# %% [markdown]
# A constant state holds a constant number of pairs, with about as many numbers for each as
# attention takes. Attention is not thriftier; it lets the state grow, and finds one place in it.
# Training cannot change that for the others: $n$ random values of four bits do not fit into a state
# of fewer than $4n$ bits.
#
# ## Reading a licence
#
# Does it matter on a real text? The Apache licence comes with this package. Nothing is learnt here:
# a *context* is a random code of the last eight bytes, nearer ones with more weight. The query is
# the context now, the key of a byte is the context before it, the value the byte itself. Attention
# then looks at what followed the same bytes earlier; in trained transformers such heads are called
# induction heads.

# %%
sentence, weights = excerpt_weights()
print(sentence.decode())
fig, axes = plt.subplots(1, 3, figsize=(8.5, 3), layout="constrained")
for ax, (label, p) in zip(axes, weights.items(), strict=True):
    plot_attention(p, [""] * len(p), ax)
    ax.set_title(f"{label}: {np.count_nonzero(p) / np.tril(np.ones_like(p)).sum():.0%} above 0")
plt.show()

# %% [markdown]
# Down: the byte that is guessed. Across: where it looks. The diagonal is the phrase that comes
# twice. Softmax leaves a little everywhere; the sparse maps look at copies only, but cannot stream.
#
# Now the whole text, with attention and with two states of constant size:

# %%
found = guesses()
for name in found.right:
    blocks = "  ".join(f"{share:3.0%}" for share in found.blocks(name, 8))
    print(f"{name:16} {found.numbers[name]:8,} numbers, right: {blocks}")

text = licence()[:1800]
read = contexts(text)
o = attention.causal(32 * read.queries, read.keys, read.values)
right = o[:-1].argmax(axis=1) == read.symbols[1:]
guessed = "".join(chr(text[i]) if right[i - 1] else "·" for i in range(1, len(text)))
print()
for start in range(1440, 1800, 90):
    print(guessed[start : start + 90])

# %% [markdown]
# The last lines are what attention guesses right in the middle of the definitions; dots are what it
# does not. It has learnt to spell "shall mean" from having read it. The states of constant size do
# better than always guessing a blank, and do not get better as they read on.
#
# ## In short
#
# | you want | take |
# |---|---|
# | attention over a long sequence | `causal`, which streams; $O(Ld)$ memory |
# | to generate | a cache; `route="recompute"` where there is time and no memory |
# | sparse weights | `map=rv.probmap.entmax()` with `route="full"` or `"cached"` |
# | a constant state and step | one of `rv.attention.linear`; its three forms agree |
# | to know how long it remembers | `influence_curves` |
# | to know how much | `memory_test` |
#
# The theory page has the formulas, the exact counts, what is known of the accuracy, and how the
# chunked forms and their adjoints are made.
