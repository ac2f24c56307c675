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
# # Aligning with full fine-tuning
#
# LoRA does not train a weight $W$ but two thin factors, $W=W_0+s\,AB$ with $A$ of shape
# $n\times r$ and $B$ of shape $r\times m$. A step of theirs takes $W$ somewhere; full fine-tuning
# would have taken it somewhere else. How far apart are the two, and can a start bring them
# together? This notebook follows a post on kexue.fm (J. Su, archives 10226) and LoRA-GA
# (arXiv:2407.05000), on real gradients first and along a whole training after that. It takes about
# half a minute.

# %%
import matplotlib.pyplot as plt
import numpy as np

import resolvent as rv
from resolvent import lora
from resolvent.figures.lora import minilm, peft_variant, spectrum_values

rv.__version__

# %% [markdown]
# ## A weight and its gradient
#
# The package carries three layers of a pretrained sentence encoder, with the gradients of its own
# loss on sentences of the Python language reference. A layer is $y=xW$, so that $W$ and $G=\partial
# L/\partial W$ are in × out; PyTorch has the transposes.

# %%
layers = list(minilm().values())
for layer in layers:
    found = lora.low_rank(layer.gradient, 16)
    left = (found.residual / found.norm) ** 2
    print(f"{layer.label:15} {layer.gradient.shape}  {1 - left:.1%} of ‖G‖² in 16 directions")

layer = layers[1]
W, G = layer.weight, layer.gradient
lora.low_rank(G, 16)

# %%
spectra = spectrum_values()
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
for label, sigma in spectra.sigma.items():
    ax.loglog(np.arange(1, sigma.size + 1), sigma, label=label)
ax.set(xlabel="singular value", title="Relative to the norm", ylim=(1e-4, 1.3))
ax.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# Three gradients of one model and one loss, and they differ a lot: one direction is nearly all of
# the value matrix, the query of the first layer has dozens. The signs, which Adam follows, spread
# the energy, and noise has no leading directions at all.
#
# ## The first step of LoRA
#
# With $B=0$ and a random $A$, a step of gradient descent changes the weight by
# $-\eta s^2AA^{\mathsf T}G$: what $G$ happens to have in $r$ random directions of the input. The
# *report card* puts it beside $-\eta G$.

# %%
start = lora.initialize("lora", shape=G.shape, rank=8)
card = lora.alignment(G, start, weight=W)
card

# %% [markdown]
# A random direction has $1/n$ of the energy, eight have 2%, and the cosine is about $\sqrt{r/n}$:

# %%
print(f"cosine {card.cosine:.3f}, √(r/n) = {np.sqrt(8 / 384):.3f}")
print(f"the loss falls {card.effective_scale:.4f} times as fast, s²r/(3n) = {8 / (3 * 384):.4f}")

# %% [markdown]
# ## The best first step
#
# With both factors at work the step is $-\eta s^2(AA^{\mathsf T}G+GB^{\mathsf T}B)$, of rank $2r$
# at most. No matrix of rank $2r$ is nearer to $G=U\Sigma V^{\mathsf T}$ than its first $2r$
# singular triplets, and $A=U_I$, $B=V_J^{\mathsf T}$ make exactly that of it, for any split of the
# first $2r$ indices into $I$ and $J$. That is LoRA-GA. As $AB$ does not start at 0, it is taken off
# the frozen weight: the *offset*.

# %%
aligned = lora.initialize("lora-ga", gradient=G, rank=8)
print(aligned)
print("still the same model:", np.abs(aligned.merged(W) - W).max() < 1e-6)
lora.alignment(G, aligned, weight=W)

# %%
for directions in lora.DIRECTIONS:
    split = lora.initialize("lora-ga", gradient=G, rank=8, directions=directions)
    print(f"{directions:12} cosine {lora.alignment(G, split).cosine:.4f}")

ax = lora.alignment(G, aligned).plot()
plt.show()

# %% [markdown]
# ## All starts in one table
#
# PiSSA and OLoRA look at the weight, not at the gradient. `compare` makes every start and its card:

# %%
table = lora.compare(lora.METHODS, W, G, rank=8)
table

# %%
table.plot()
plt.show()

# %% [markdown]
# Residuals are compared with the least that a step of rank 16 leaves; only LoRA-GA has it. The
# leading directions of the weight are of some use too, here: PiSSA's step has more than twice the
# cosine of LoRA's, and the loss falls 80 times as fast at the same learning rate.
#
# ## Scale
#
# The factors of LoRA-GA are multiplied by $c=m^{1/4}/\sqrt\gamma$ ("stable"). The step is quadratic
# in them, $-\eta s^2c^2G_{2r}$; the output of the adapter has the size $s\sqrt r/\gamma$ whatever
# $n$ and $m$ are. With $s=\alpha/r$ that depends on the rank, with rsLoRA's $s=\alpha/\sqrt r$ it
# does not:

# %%
x = np.random.default_rng(0).standard_normal((1000, 384)).astype(np.float32)
for scaling in lora.SCALINGS:
    sizes = []
    for rank in (1, 4, 16, 64):
        a = lora.initialize("lora-ga", gradient=G, rank=rank, alpha=16, scaling=scaling)
        sizes.append(f"{np.std((x @ a.A) @ a.B * a.s):.2f}")
    print(f"{scaling:6}  size of the output at ranks 1, 4, 16, 64: {', '.join(sizes)}")

# %% [markdown]
# $\gamma$ and $c$ do not change the direction of the first step, only its size:

# %%
for options in ({"gamma": 4.0}, {"gamma": 16.0}, {"scale": "unit"}, {"scale": "weight"}):
    a = lora.initialize("lora-ga", weight=W, gradient=G, rank=8, **options)
    c = lora.alignment(G, a, weight=W)
    print(
        f"{options!s:20} cosine {c.cosine:.4f}   effective scale {c.effective_scale:6.3f}   "
        f"offset {c.offset_ratio:.1%} of the weight"
    )

# %% [markdown]
# ## What PEFT calls `lora_ga`
#
# PEFT (0.21) lets $B$ carry the singular values, $B=c\,\Sigma_JV_J^{\mathsf T}$, and scales $B$
# alone. The directions of $J$ then come with the factor $c^2\sigma_j^2$, so that the direction of
# the step depends on the unit of the loss. Below, the loss is multiplied by a factor. The paper's
# start does not see it.

# %%
print("factor     PEFT's   the paper's")
for factor in (0.01, 1, 10, 100, 1000):
    scaled = np.float32(factor) * G
    theirs = lora.alignment(scaled, peft_variant(scaled, 8))
    ours = lora.alignment(scaled, lora.initialize("lora-ga", gradient=scaled, rank=8))
    print(f"{factor:6g}     {theirs.cosine:.3f}    {ours.cosine:.3f}")

# %% [markdown]
# As gradients of models are small, $B$ is next to nothing and half of the directions are lost; with
# a large factor $B$'s half is all there is.
#
# ## Adam
#
# Adam's first step is the sign of the gradient, for the factors as for the weight:
# $A\operatorname{sign}(A^{\mathsf T}G)+\operatorname{sign}(GB^{\mathsf T})B$ is to be near
# $\operatorname{sign}(G)$. There is no closed form. Three ways: the singular vectors of $G$ all the
# same, those of $\operatorname{sign}(G)$, or to minimise the distance. It is piecewise quadratic,
# and from the better of the first two a few least-squares problems lead down.

# %%
ways = {how: {"method": "lora-ga-adam", "adam": how} for how in lora.ADAM_OPTIONS}
adam = lora.compare({"lora": {"method": "lora"}, **ways}, W, G, rank=4, optimizer="adam")
best = np.sqrt(1 - adam["lora"].optimum ** 2)
print(f"a step of rank 8 has a cosine of {best:.3f} at most")
adam

# %% [markdown]
# The bound is for matrices that choose their entries; the adapter's signs are not free. Minimised
# factors are larger than singular vectors: their offset is as large as the weight. And after the
# first step Adam divides by averages, and no longer follows signs.
#
# ## Along the training
#
# A start chooses the first step. Then the gradient turns, and so do the factors. A perceptron was
# pre-trained on upright digits, and learns digits turned by 20°:

# %%
problem = lora.digits("mlp", "rotation")
images = problem.x[:8].reshape(8, 8, 8).transpose(1, 0, 2).reshape(8, 64)
fig, ax = plt.subplots(figsize=(6.5, 1), layout="constrained")
ax.imshow(images, cmap="gray_r")
ax.set_axis_off()
plt.show()
problem

# %%
runs = lora.trajectory(
    problem,
    ["full", "lora", "lora+", "rslora", "pissa", "lora-ga", "adalora", "dora"],
    steps=60,
    learning_rates=[0.1, 0.3, 0.6, 1.0],
    record_every=3,
)
runs

# %%
fig, axes = plt.subplots(3, 1, figsize=(7.5, 8), layout="constrained", sharex=True)
for ax, quantity in zip(axes, ("loss", "alignment", "drift_left"), strict=True):
    runs.plot(ax, quantity=quantity)
    ax.set_title("")
    ax.label_outer()
    ax.get_legend().remove()
axes[0].legend(frameon=False, fontsize=8, ncols=3)
axes[0].set_title("Each method at its best rate")
plt.show()

# %% [markdown]
# The alignment is the cosine between every step and the one that full fine-tuning would take *from
# there*; the drift is how far the columns of $A$ have turned. LoRA-GA starts near the full step and
# does not stay there. LoRA starts with half of it frozen, since $B=0$ gives $A$ no gradient, and
# catches up as $B$ grows. AdaLoRA's factors start near 0, and so does all it does.
#
# Each method has a learning rate of its own: at a common one the comparison would be one of rates.
# The last column of the table counts rates that were too large.
#
# ## How many batches?
#
# The gradient that LoRA-GA is given is that of some batches. Of 12 batches of the encoder, how well
# does an adapter made from $b$ of them follow the mean of the *others*?

# %%
noise = lora.batch_noise(layer.gradients, rank=8, counts=(1, 2, 4, 6))
noise

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.8), layout="constrained", sharey=True)
noise.plot(left)
left.set_title("encoder, batches of 40 pairs", fontsize=10)
lora.batch_noise(problem.batch_gradients(8)[0], rank=4).plot(right)
right.set_title("digits, batches of 8", fontsize=10)
right.label_outer()
for ax in (left, right):
    ax.get_legend().remove()
fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
plt.show()

# %% [markdown]
# With about as many batches as the *noise scale* says, noise and signal are equally large. The
# directions with most of the energy are found first, so that cosines are ahead of the overlap of
# the singular spaces. The others are noisy too: for the encoder 6 batches against 6 tell little
# more than 1 against 11.
#
# ## To PEFT
#
# `convert` is the one function that knows PEFT's names and PyTorch's orientation:

# %%
saved = lora.convert(aligned, "peft", module=layer.module)
for name, array in saved.items():
    print(name, array.shape)
back = lora.convert(saved, "post", alpha=8)
print(np.array_equal(back.A, aligned.A), np.array_equal(back.B, aligned.B))

# %% [markdown]
# The offset is not in there: the base has to have it added. Or, after training, it becomes a part
# of the adapter, $AB-A_0B_0=[A\ A_0]\,[B;-B_0]$, of twice the rank. For a whole model the command
#
# ```sh
# resolvent lora init --weights model.safetensors --gradients gradients.safetensors \
#     --rank 8 --method lora-ga --out adapter/
# ```
#
# does all of it, a layer in memory at a time: the adapter and its settings for PEFT, the offset,
# the adapter of twice the rank, and a report card for every layer. `resolvent lora compare` prints
# the table of all methods and writes nothing.
#
# ## In short
#
# | you want | take |
# |---|---|
# | the best first step of SGD | `lora-ga`; the split does not matter, the scale is its size alone |
# | that of Adam | `lora-ga-adam`, `adam="minimise"` |
# | no gradient, but the weight | `pissa` |
# | neither | `lora`; with $\alpha/\sqrt r$ its step does not depend on the rank |
# | to know which of them | `compare`, on your own gradients |
# | to know what it is worth | `trajectory`: the first step is only the first |
#
# The theory page has the formulas, how the singular vectors are computed, and what other packages
# do differently.
