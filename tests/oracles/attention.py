"""Causal attention, linear recurrences and a small transformer, from their definitions.

Everything runs one position at a time on arrays with time on axis -2 and any leading axes. The
arithmetic is that of the inputs: 64-bit mantissas (`numpy.longdouble`; 53 bits where a platform has
no more) for arrays of floats, 50 digits for object arrays of mpmath numbers. No exponent is shifted
but that of a softmax: e^1000 fits both.

The recurrences return their outputs and the last state. Beside each is its `_size`, the same with
absolute values: the sum of the absolute terms of every output, of which rounding errors are
multiples of eps. Derivatives come from central differences of order 8 of any of these.

`Transformer` is a stack of attention layers by lists of numbers that count what is done to them.

Sources: Vaswani et al. 2017 (attention, positions); Katharopoulos et al. 2020 (linear attention);
Sun et al. 2023 (RetNet); Peng et al. 2023 (RWKV-4); Orvieto et al. 2023 (LRU); Smith et al. 2023
(S5); Gu & Dao 2023 (Mamba); Dao & Gu 2024 (Mamba-2).
"""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np

from oracles import exact

__all__ = [
    "NOISE",
    "STEP",
    "Counted",
    "Transformer",
    "causal",
    "causal_error",
    "causal_map",
    "gradient",
    "linear_attention",
    "linear_attention_size",
    "lru",
    "lru_size",
    "mamba",
    "mamba2",
    "mamba2_size",
    "mamba_size",
    "retnet",
    "retnet_size",
    "rwkv",
    "rwkv_size",
    "s5",
    "s5_size",
    "slope",
    "stack_output",
    "wide",
]


# ---------------------------------------------------------------------------------------------
# Arithmetic.


def wide(x):
    """The same numbers with more digits; object arrays stay."""
    array = np.asarray(x)
    if array.dtype == object:
        return array
    return array.astype(np.clongdouble if np.iscomplexobj(array) else np.longdouble)


def _wide(*arrays):
    return tuple(None if x is None else wide(x) for x in arrays)


def _size_of(x):
    return None if x is None else np.abs(wide(x))


def _apply(name, x):
    """A function of mpmath on object arrays, NumPy's on the others."""
    x = np.asarray(x)
    if x.dtype != object:
        return getattr(np, name)(x)
    return np.frompyfunc(getattr(mp, name), 1, 1)(x)


def _exp(x):
    return _apply("exp", x)


def _phi_1(z):
    """(e^z - 1)/z, and 1 at 0."""
    zero = z == 0
    ratio = _apply("expm1", z) / np.where(zero, z + 1, z)
    return np.where(zero, z * 0 + 1, ratio)


def _real(x):
    return np.array([v.real for v in x.ravel()]).reshape(x.shape) if x.dtype == object else x.real


def _at(x, t):
    """Position t of a sequence."""
    return x[..., t, :]


def _sequence(rows, like, width):
    """Rows as a sequence; without any, one of length 0."""
    if rows:
        return np.stack(np.broadcast_arrays(*rows), axis=-2)
    return np.zeros((*like.shape[:-2], 0, width), like.dtype)


def _outer(x, y):
    return x[..., :, None] * y[..., None, :]


def _times(matrix, vector):
    """Σ_j M_ij x_j."""
    return (matrix * vector[..., None, :]).sum(axis=-1)


def _read(state, q):
    """Sᵀq."""
    return (state * q[..., :, None]).sum(axis=-2)


# ---------------------------------------------------------------------------------------------
# Softmax attention.


def _keep(mask, t, batch):
    if mask is None:
        return np.ones((*batch, t + 1), bool)
    return np.broadcast_to(mask[..., : t + 1], (*batch, t + 1))


def _weights(q, k, t, scale, mask):
    """Softmax of scale q_t·k_i over the keys that are left; all 0 where none is."""
    x = scale * (k[..., : t + 1, :] * q[..., t, None, :]).sum(axis=-1)
    keep = _keep(mask, t, x.shape[:-1])
    largest = np.where(keep, x, -mp.inf if x.dtype == object else -np.inf).max(axis=-1)
    some = keep.any(axis=-1)
    largest = np.where(some, largest, 0)
    # What is masked is replaced before the exponential, where it could overflow.
    w = np.where(keep, _exp(np.where(keep, x, largest[..., None]) - largest[..., None]), 0)
    total = np.where(some, w.sum(axis=-1), 1)
    return w / total[..., None]


def causal(q, k, v, *, scale=1.0, mask=None):
    """o_t = Σ_{i≤t} e^{scale q_t·k_i} v_i/Σ; 0 where the mask leaves no key."""
    q, k, v = _wide(q, k, v)
    scale = mp.mpf(scale) if q.dtype == object else np.longdouble(scale)
    rows = []
    for t in range(q.shape[-2]):
        p = _weights(q, k, t, scale, mask)
        rows.append((p[..., None] * v[..., : t + 1, :]).sum(axis=-2))
    return _sequence(rows, v, v.shape[-1])


def causal_error(q, k, v, *, scale=1.0, mask=None):
    """What rounding to one eps can do to the outputs of `causal`, to first order; by plain doubles.

    The sums of t + 1 terms and the running rescaling give (t + 1) Σ p_i |v_i|. A dot product of
    width d is off by d Σ_c |scale q_c k_c|, and so is log p_i.
    """
    q, k, v = (np.asarray(x, float) for x in (q, k, v))
    length, d = q.shape[-2:]
    turned = k.swapaxes(-1, -2)
    logits, sizes = scale * (q @ turned), abs(scale) * (np.abs(q) @ np.abs(turned))
    keep = np.broadcast_to(np.tri(length, dtype=bool), logits.shape)
    if mask is not None:
        keep = keep & mask[..., None, :]
    logits = np.where(keep, logits, -np.inf)
    largest = logits.max(axis=-1, keepdims=True, initial=-np.finfo(float).max)
    p = np.where(keep, np.exp(logits - largest), 0)
    total = p.sum(axis=-1, keepdims=True)
    spread = (p / np.where(total == 0, 1, total)) @ np.abs(v)
    size = np.where(keep, sizes, 0).max(axis=-1, keepdims=True, initial=0)
    return spread * (np.arange(1, length + 1)[:, None] + (d + 2) * size)


def causal_map(q, k, v, row_map, *, scale=1.0, mask=None):
    """Attention by a map of rows of 50 digits, `oracles.probmap`; no leading axes."""
    q, k, v = (exact.to_mp(x) for x in (q, k, v))
    out = []
    for t in range(len(q)):
        x = [mp.mpf(scale) * mp.fsum(a * b for a, b in zip(q[t], key, strict=True))
             for key in k[: t + 1]]  # fmt: skip
        if mask is not None:
            x = [logit if keep else -mp.inf for logit, keep in zip(x, mask, strict=False)]
        p = row_map(x)
        out.append([mp.fsum(w * value for w, value in zip(p, column, strict=False))
                    for column in v.T])  # fmt: skip
    return exact.to_float(np.array(out, dtype=object))


# ---------------------------------------------------------------------------------------------
# States that are matrices.


def _matrix_state(q, k, v, decay, initial):
    """S_t = a_t S_{t-1} + k_t v_tᵀ and o_t = S_tᵀ q_t; decay(t) broadcasts to the leading axes."""
    state = _outer(_first(k), _first(v)) * 0 if initial is None else initial
    rows = []
    for t in range(k.shape[-2]):
        state = np.asarray(decay(t))[..., None, None] * state + _outer(_at(k, t), _at(v, t))
        rows.append(_read(state, _at(q, t)))
    return _sequence(rows, v, v.shape[-1]), state


def _first(x):
    """Any vector of the right shape and type."""
    return x[..., 0, :] if x.shape[-2] else np.zeros((*x.shape[:-2], x.shape[-1]), x.dtype)


def _feature(x, feature):
    """φ: x itself, or elu(x) + 1."""
    if feature == "identity":
        return x
    below = x <= 0
    return np.where(below, _exp(np.where(below, x, 0)), x + 1)


def linear_attention(q, k, v, *, feature="identity", normalize=False, initial=None):
    """o_t = S_tᵀφ(q_t), over z_tᵀφ(q_t) where normalised; the state is S, or (S, z)."""
    q, k, v = _wide(q, k, v)
    q, k = _feature(q, feature), _feature(k, feature)
    if not normalize:
        return _matrix_state(q, k, v, lambda t: 1, None if initial is None else wide(initial))
    start, total = (None, _first(k) * 0) if initial is None else _wide(*initial)
    top, state = _matrix_state(q, k, v, lambda t: 1, start)
    rows = []
    for t in range(k.shape[-2]):
        total = total + _at(k, t)
        rows.append((total * _at(q, t)).sum(axis=-1)[..., None])
    return top / _sequence(rows, v, 1), (state, total)


def linear_attention_size(q, k, v, *, feature="identity", normalize=False, initial=None):
    q, k = (np.abs(_feature(wide(x), feature)) for x in (q, k))
    initial = tuple(map(_size_of, initial)) if isinstance(initial, tuple) else _size_of(initial)
    return linear_attention(q, k, np.abs(v), normalize=normalize, initial=initial)


def retnet(q, k, v, decay, *, initial=None):
    """S_t = γ S_{t-1} + k_t v_tᵀ, o_t = S_tᵀ q_t."""
    q, k, v, decay, initial = _wide(q, k, v, decay, initial)
    return _matrix_state(q, k, v, lambda t: decay, initial)


def retnet_size(q, k, v, decay, *, initial=None):
    q, k, v, initial = (_size_of(x) for x in (q, k, v, initial))
    return retnet(q, k, v, decay, initial=initial)


def mamba2(x, dt, A, B, C, D=None, *, initial=None):
    """S_t = e^{dt_t A} S_{t-1} + dt_t B_t x_tᵀ, y_t = S_tᵀC_t + D x_t."""
    x, dt, A, B, C, D, initial = _wide(x, dt, A, B, C, D, initial)
    y, state = _matrix_state(C, dt[..., None] * B, x, lambda t: _exp(dt[..., t] * A), initial)
    return y if D is None else y + D[..., None, None] * x, state


def mamba2_size(x, dt, A, B, C, D=None, *, initial=None):
    x, B, C, D, initial = (_size_of(w) for w in (x, B, C, D, initial))
    return mamba2(x, dt, A, B, C, D, initial=initial)


# ---------------------------------------------------------------------------------------------
# States that are diagonal.


def mamba(u, dt, A, B, C, D=None, *, rule="mamba", initial=None):
    """h = e^{dt A} h + dt B u, or (e^{dt A} - 1)/A B u with zoh; y_c = Σ_n C_n h_cn + D_c u_c."""
    u, dt, A, B, C, D, state = _wide(u, dt, A, B, C, D, initial)
    if state is None:
        state = _outer(_first(u), _first(B)) * 0
    rows = []
    for t in range(u.shape[-2]):
        z = _at(dt, t)[..., :, None] * A
        gain = _at(dt, t)[..., :, None] * (_phi_1(z) if rule == "zoh" else 1)
        state = _exp(z) * state + gain * _outer(_at(u, t), _at(B, t))
        rows.append(_times(state, _at(C, t)))
    y = _sequence(rows, u, u.shape[-1])
    return y if D is None else y + D[..., None, :] * u, state


def mamba_size(u, dt, A, B, C, D=None, *, rule="mamba", initial=None):
    u, B, C, D, initial = (_size_of(x) for x in (u, B, C, D, initial))
    return mamba(u, dt, A, B, C, D, rule=rule, initial=initial)


def rwkv(w, u, k, v, *, initial=None):
    """(Σ_{i<t} e^{-(t-1-i)w + k_i} v_i + e^{u + k_t} v_t)/(the same of v = 1).

    The state is numerator, denominator, and their common exponent m, which stays what it was.
    """
    w, u, k, v, initial = _wide(w, u, k, v, initial)
    if initial is None:
        top = bottom = _first(v) * 0
        exponent = top
    else:
        top, bottom, exponent = (initial[..., i, :] for i in range(3))
        exponent = np.where((top == 0) & (bottom == 0), exponent * 0, exponent)
        top, bottom = top * _exp(exponent), bottom * _exp(exponent)
    rows = []
    for t in range(v.shape[-2]):
        now, weight = _exp(u + _at(k, t)), _exp(_at(k, t))
        rows.append((top + now * _at(v, t)) / (bottom + now))
        top, bottom = _exp(-w) * top + weight * _at(v, t), _exp(-w) * bottom + weight
    state = np.stack(np.broadcast_arrays(top, bottom, bottom * 0), axis=-2)
    return _sequence(rows, v, v.shape[-1]), state


def rwkv_size(w, u, k, v, *, initial=None):
    if initial is not None:
        initial = wide(initial)
        signs = np.where(np.arange(3)[:, None] == 0, np.sign(initial), 1)
        initial = initial * signs
    return rwkv(w, u, k, np.abs(wide(v)), initial=initial)


def _diagonal(u, factors, B, C, D, initial, fold):
    """x_t = λ x_{t-1} + B u_t, y_t = Re(C x_t) fold + D u_t."""
    state = _times(B * 0, _first(u)) if initial is None else initial
    rows = []
    for t in range(u.shape[-2]):
        state = factors * state + _times(B, _at(u, t))
        rows.append(fold * _real(_times(C, state)))
    y = _sequence(rows, u, C.shape[-2])
    return y if D is None else y + D[..., None, :] * u, state


def _squares(x):
    """|x|²."""
    return x.real**2 + x.imag**2 if np.iscomplexobj(x) else x**2


def _lru_gain(lam, normalize):
    """(N, 1): √(1 - |λ|²), or 1."""
    return (np.sqrt(1 - _squares(lam)) if normalize else lam.real * 0 + 1)[..., :, None]


def lru(u, eigenvalues, B, C, D=None, *, normalize=True, initial=None):
    """x_t = λ x_{t-1} + √(1 - |λ|²) B u_t, y_t = Re(C x_t) + D u_t."""
    u, lam, B, C, D, initial = _wide(u, eigenvalues, B, C, D, initial)
    return _diagonal(u, lam, _lru_gain(lam, normalize) * B, C, D, initial, 1)


def lru_size(u, eigenvalues, B, C, D=None, *, normalize=True, initial=None):
    lam = wide(eigenvalues)
    u, B, C, D, initial = (_size_of(x) for x in (u, B, C, D, initial))
    return _diagonal(u, np.abs(lam), _lru_gain(lam, normalize) * B, C, D, initial, 1)


_WEIGHTS = {"forward": 0.0, "bilinear": 0.5, "backward": 1.0}


def _discrete(lam, step, rule):
    """Factor of the state and of the input, for ε and λ."""
    z = step * lam
    if rule in _WEIGHTS:
        alpha = np.longdouble(_WEIGHTS[rule])
        return (1 + (1 - alpha) * z) / (1 - alpha * z), step / (1 - alpha * z)
    return _exp(z), step * (_phi_1(z) if rule == "zoh" else np.ones_like(z))


def s5(u, eigenvalues, B, C, step, D=None, *, rule="zoh", conjugate=False, initial=None):
    """The diagonal system x' = Λx + Bu by a rule; y = Re(Cx) + Du, twice Re for pairs."""
    u, lam, B, C, step, D, initial = _wide(u, eigenvalues, B, C, step, D, initial)
    factor, gain = _discrete(lam, step, rule)
    return _diagonal(u, factor, gain[..., :, None] * B, C, D, initial, 2 if conjugate else 1)


def s5_size(u, eigenvalues, B, C, step, D=None, *, rule="zoh", conjugate=False, initial=None):
    factor, gain = (np.abs(part) for part in _discrete(*_wide(eigenvalues, step), rule))
    u, B, C, D, initial = (_size_of(x) for x in (u, B, C, D, initial))
    return _diagonal(u, factor, gain[..., :, None] * B, C, D, initial, 2 if conjugate else 1)


# ---------------------------------------------------------------------------------------------
# A stack of attention layers, number by number.


class Counted:
    """A number that enters every operation it takes part in into a tally; comparisons are free."""

    __slots__ = ("tally", "value")

    def __init__(self, value, tally):
        self.value = value
        self.tally = tally

    def _made(self, operation, value):
        self.tally[operation] += 1
        return Counted(value, self.tally)

    def __add__(self, other):
        return self._made("additions", self.value + other.value)

    def __sub__(self, other):
        return self._made("additions", self.value - other.value)

    def __mul__(self, other):
        return self._made("multiplications", self.value * other.value)

    def __truediv__(self, other):
        return self._made("divisions", self.value / other.value)

    def exp(self):
        return self._made("exponentials", math.exp(self.value))

    def sqrt(self):
        return self._made("roots", math.sqrt(self.value))

    def __gt__(self, other):
        return self.value > other.value


class Transformer:
    """x_t^l = x_t^{l-1} + W_o attention(W_q n, W_k n, W_v n), n = x/√(mean x² + epsilon).

    Lists of counted numbers; sums begin with 0. Weights act on rows from the right. The logits are
    scaled key by key where a row of them is stored, and through the query where they are used up
    one by one.
    """

    def __init__(self, weights, heads, epsilon):
        self.tally = dict.fromkeys(
            ("multiplications", "additions", "divisions", "exponentials", "roots"), 0
        )
        self.embedding = weights["embedding"]
        self.layers = [
            {name: [self.numbers(row) for row in weights[name][level]]
             for name in ("query", "key", "value", "output")}
            for level in range(len(weights["query"]))
        ]  # fmt: skip
        self.d = self.embedding.shape[1]
        self.parts = [
            range(h * (self.d // heads), (h + 1) * (self.d // heads)) for h in range(heads)
        ]
        self.scale = self.number((self.d // heads) ** -0.5)
        self.epsilon = epsilon

    def number(self, value):
        return Counted(float(value), self.tally)

    def numbers(self, values):
        return [self.number(v) for v in values]

    def dot(self, x, y):
        total = self.number(0)
        for a, b in zip(x, y, strict=True):
            total = total + a * b
        return total

    def times(self, x, matrix):
        return [self.dot(x, column) for column in zip(*matrix, strict=True)]

    def normalized(self, x):
        mean = self.dot(x, x) / self.number(self.d)
        factor = self.number(1) / (mean + self.number(self.epsilon)).sqrt()
        return [v * factor for v in x]

    def added(self, x, mixed, layer):
        return [a + b for a, b in zip(x, self.times(mixed, layer["output"]), strict=True)]

    def cached(self, tokens):
        """Token by token against stored keys and values."""
        stores = [([], []) for _ in self.layers]
        return [self._cached_position(token, stores) for token in tokens]

    def _cached_position(self, token, stores):
        x = self.numbers(self.embedding[token])
        for layer, (keys, values) in zip(self.layers, stores, strict=True):
            n = self.normalized(x)
            q = self.times(n, layer["query"])
            keys.append(self.times(n, layer["key"]))
            values.append(self.times(n, layer["value"]))
            x = self.added(x, self._against_rows(q, keys, values), layer)
        return x

    def _against_rows(self, q, keys, values):
        mixed = []
        for part in self.parts:
            logits = [self.dot([q[c] for c in part], [key[c] for c in part]) * self.scale
                      for key in keys]  # fmt: skip
            largest = self.largest(logits)
            total, sums = self.number(0), [self.number(0) for _ in part]
            for logit, value in zip(logits, values, strict=True):
                weight = (logit - largest).exp()
                total = total + weight
                sums = [s + weight * value[c] for s, c in zip(sums, part, strict=True)]
            inverse = self.number(1) / total
            mixed += [s * inverse for s in sums]
        return mixed

    @staticmethod
    def largest(numbers):
        found = numbers[0]
        for x in numbers[1:]:
            found = x if x > found else found
        return found

    def recomputed(self, tokens):
        """Token by token with nothing stored: keys and values come from the tokens again."""
        return [self._output(len(self.layers), t, tokens) for t in range(len(tokens))]

    def _output(self, level, t, tokens):
        """x_t^level; the inputs x_i of the keys are made once each, the last is the query's."""
        if level == 0:
            return self.numbers(self.embedding[tokens[t]])
        layer = self.layers[level - 1]
        x = None
        inputs = (self._output(level - 1, i, tokens) for i in (t, *range(t)))
        states = [(self.number(-math.inf), self.number(0), [self.number(0) for _ in part])
                  for part in self.parts]  # fmt: skip
        for source in inputs:
            if x is None:
                x = source
                q = [v * self.scale for v in self.times(self.normalized(x), layer["query"])]
            n = self.normalized(source)
            key, value = self.times(n, layer["key"]), self.times(n, layer["value"])
            states = [self._step(state, q, key, value, part)
                      for state, part in zip(states, self.parts, strict=True)]  # fmt: skip
        mixed = []
        for _, total, sums in states:
            inverse = self.number(1) / total
            mixed += [s * inverse for s in sums]
        return self.added(x, mixed, layer)

    def _step(self, state, q, key, value, part):
        """One key: the running maximum, denominator and numerator."""
        largest, total, sums = state
        logit = self.dot([q[c] for c in part], [key[c] for c in part])
        new = logit if logit > largest else largest
        shrink, weight = (largest - new).exp(), (logit - new).exp()
        sums = [s * shrink + weight * value[c] for s, c in zip(sums, part, strict=True)]
        return new, total * shrink + weight, sums


def stack_output(tokens, weights, heads, epsilon):
    """The last layer by arrays of long doubles, layer by layer."""
    x = wide(weights["embedding"])[np.asarray(tokens, int)]
    length, d = x.shape
    for query, key, value, output in zip(
        *(wide(weights[name]) for name in ("query", "key", "value", "output")), strict=True
    ):
        n = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + np.longdouble(epsilon))
        q, k, v = (
            (n @ w).reshape(length, heads, d // heads).swapaxes(0, 1) for w in (query, key, value)
        )
        mixed = causal(q, k, v, scale=1 / np.sqrt(np.longdouble(d // heads)))
        x = x + mixed.swapaxes(0, 1).reshape(length, d) @ output
    return x


# ---------------------------------------------------------------------------------------------
# Derivatives.

#: Of the differences: their error is h^8 times a ninth derivative, and eps/h of long doubles.
STEP = np.longdouble(2.0**-12)
#: What the sum of the absolute terms of a loss is multiplied by: the rounding of its differences.
NOISE = float(8 * np.finfo(np.longdouble).eps / STEP)
_STENCIL = {1: 4 / np.longdouble(5), 2: -1 / np.longdouble(5), 3: 4 / np.longdouble(105),
            4: -1 / np.longdouble(280)}  # fmt: skip
_OFFSETS = np.array([sign * n for n in _STENCIL for sign in (1, -1)], np.longdouble)
_COEFFICIENTS = np.array([sign * c for c in _STENCIL.values() for sign in (1, -1)])


def slope(of, value, direction):
    """The derivative of of(value + s direction) by s at 0, of any shape."""
    value, direction = wide(value), wide(direction)
    total = sum(c * of(value + STEP * offset * direction)
                for c, offset in zip(_COEFFICIENTS, _OFFSETS, strict=True))  # fmt: skip
    return total / STEP


def gradient(of, value, g, core):
    """The gradient of Σ g ⊙ of(value), ∂/∂Re + i ∂/∂Im for complex ones.

    `of` broadcasts over leading axes; the last `core` axes of the value are its own, so that all
    perturbed values go in at once, along a new first axis.
    """
    value, g = wide(value), wide(g)
    unit = np.eye(value.size).reshape(value.size, *value.shape)
    directions = np.concatenate([unit, 1j * unit]) if np.iscomplexobj(value) else unit
    batch = g.ndim - 2
    moved = value + STEP * _OFFSETS.reshape(-1, *[1] * directions.ndim) * directions
    padded = (*[1] * (batch - (value.ndim - core)), *value.shape)
    y = of(moved.reshape(len(_OFFSETS) * len(directions), *padded))
    losses = (g * y).reshape(len(_OFFSETS), len(directions), -1).sum(axis=-1)
    slopes = (_COEFFICIENTS @ losses) / STEP
    if np.iscomplexobj(value):
        slopes = slopes[: value.size] + 1j * slopes[value.size :]
    return slopes.reshape(value.shape)
