"""Recurrences with a matrix for a state: linear attention, retention, Mamba-2.

All are S_t = a_t S_{t−1} + k_t v_tᵀ, o_t = S_tᵀ q_t, with different decays a_t.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, name_parameter
from resolvent.attention.linear._common import (
    Arguments,
    Form,
    Outputs,
    all_rows,
    chunk_parameter,
    form_parameter,
    gather,
    outputs,
    own_rows,
    refuses_overflow,
    require_range,
    schedule,
    start,
)

__all__ = [
    "FEATURES",
    "LinearAttentionGradient",
    "Mamba2Gradient",
    "RetNetGradient",
    "linear_attention",
    "linear_attention_vjp",
    "mamba2",
    "mamba2_vjp",
    "retnet",
    "retnet_vjp",
]

#: What :func:`linear_attention` may do to queries and keys.
FEATURES = ("identity", "elu")

Feature = Literal["identity", "elu"]

#: The state before the first step: S, or with `normalize` the pair (S, z).
Initial: TypeAlias = ArrayLike | tuple[ArrayLike, ArrayLike]


# ---------------------------------------------------------------------------------------------
# The compiled recurrence.


class _Recurrence(NamedTuple):
    """q, k, v, decay as rows and the places of the batch in them, and the first states."""

    q: tuple[Array, Array]
    k: tuple[Array, Array]
    v: tuple[Array, Array]
    decay: tuple[Array, Array]
    start: Array
    chunk: int  # 0: step by step

    def run(self) -> tuple[Array, Array]:
        """The outputs (H, L, D) and the states (H, N, D) after."""
        rows, places = zip(self.q, self.k, self.v, self.decay, strict=True)
        return _core.attention.outer(*rows, *places, self.start, self.chunk)

    def adjoint(self, g: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Gradients by q, k, v, decay (one for every step) and start, of every row."""
        rows, places = zip(self.q, self.k, self.v, self.decay, strict=True)
        return _core.attention.outer_adjoint(*rows, *places, self.start, g, self.chunk)


def _steps(form: object, chunk: object, length: int) -> int:
    """The chunk of the compiled recurrence: all steps are one in the parallel form."""
    chosen, steps = form_parameter(form), chunk_parameter(chunk)
    within, _ = schedule(chosen, steps, length)
    return {"recurrent": 0, "parallel": max(length, 1), "chunked": within}[chosen]


# ---------------------------------------------------------------------------------------------
# Linear attention.


def _feature(x: Array, feature: str) -> Array:
    """φ, entry by entry: elu(x) + 1 is x + 1 above 0 and eˣ below."""
    if feature == "identity":
        return x
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def _feature_slope(x: Array, feature: str) -> Array:
    if feature == "identity":
        return np.ones_like(x)
    return np.exp(np.minimum(x, 0))


class _LinearAttention:
    """Checked arguments of linear attention. The denominator is one more column of the values."""

    def __init__(
        self,
        q: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        feature: str,
        normalize: bool,
        form: str,
        chunk: int,
        initial: Initial | None,
    ) -> None:
        self.feature = name_parameter(feature, FEATURES, "feature")
        self.normalize = bool(normalize)
        self.a = a = gather(
            {"q": (q, "LN"), "k": (k, "LN"), "v": (v, "LD"), **self._parts(initial)}
        )
        self.recurrence = _Recurrence(
            own_rows(_feature(a.arrays["q"], self.feature), 2, a.batch),
            own_rows(_feature(a.arrays["k"], self.feature), 2, a.batch),
            own_rows(self._with_ones(a.arrays["v"]), 2, a.batch),
            (np.ones((1, 1), a.dtype), np.zeros(a.heads, np.int64)),
            self._start(),
            _steps(form, chunk, a.sizes["L"]),
        )

    def _parts(self, initial: Any) -> dict[str, tuple[ArrayLike | None, str]]:
        if not self.normalize:
            return {"initial": (initial, "ND")}
        if initial is None:
            return {"initial[0]": (None, "ND"), "initial[1]": (None, "N")}
        if not isinstance(initial, tuple) or len(initial) != 2:
            raise _core.InvalidArgument(
                f"initial must be a tuple (S, z) where normalize=True, got {type(initial).__name__}"
            )
        return {"initial[0]": (initial[0], "ND"), "initial[1]": (initial[1], "N")}

    def _with_ones(self, v: Array) -> Array:
        if not self.normalize:
            return v
        return np.concatenate([v, np.ones_like(v, shape=(*v.shape[:-1], 1))], axis=-1)

    def _start(self) -> Array:
        if not self.normalize:
            return start(self.a, "ND")
        sums = start(self.a, "ND", "initial[0]")
        return np.concatenate([sums, start(self.a, "N", "initial[1]")[..., np.newaxis]], axis=-1)

    def state(self, rows: Array) -> Array | tuple[Array, Array]:
        """States (H, N, D or D + 1) as what `initial` takes."""
        full = self.a.shaped(rows)
        return (full[..., :-1].copy(), full[..., -1].copy()) if self.normalize else full

    def by_initial(self, rows: Array) -> Array | tuple[Array, Array]:
        if not self.normalize:
            return self.a.gradient("initial", rows)
        return (
            self.a.gradient("initial[0]", rows[..., :-1]),
            self.a.gradient("initial[1]", rows[..., -1]),
        )

    def quotient(self, rows: Array) -> tuple[Array, Array]:
        """The outputs (H, L, D) and the denominators (H, L)."""
        denominator = rows[..., -1]
        zeros = np.argwhere(self.a.shaped(denominator) == 0)
        if len(zeros):
            place = ", ".join(str(i) for i in zeros[0])
            raise _core.InvalidArgument(
                f"normalize=True needs z·φ(q) other than 0 at every step, but it is 0 at [{place}]"
            )
        return rows[..., :-1] / denominator[..., np.newaxis], denominator


@refuses_overflow
def linear_attention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    *,
    feature: Feature = "identity",
    normalize: bool = False,
    form: Form = "chunked",
    chunk: int = 64,
    initial: Initial | None = None,
    return_state: bool = False,
) -> Outputs:
    """Attention whose weights are products of features: S_t = S_{t−1} + φ(k_t)v_tᵀ.

    The outputs are o_t = S_tᵀφ(q_t), that is Σ_{i≤t} (φ(q_t)·φ(k_i)) v_i; with `normalize` divided
    by z_tᵀφ(q_t), z_t = Σ_{i≤t} φ(k_i).

    Parameters
    ----------
    q, k : array_like, shape (..., L, N)
        Queries and keys. Leading axes of all arguments broadcast.
    v : array_like, shape (..., L, D)
        Values.
    feature : {"identity", "elu"}
        φ, entry by entry; "elu" is elu(x) + 1.
    normalize : bool
        Make the weights sum to 1. Features below the root of the smallest number (elu of x < −350,
        in float32 −43) lose digits in the products of which both sums are made.
    form : {"chunked", "recurrent", "parallel"}
        "recurrent": step by step, 5 N D operations each. "parallel": the masked products
        (QKᵀ)V of the whole sequence, quadratic: L (N + D) operations a step. "chunked": parallel
        inside chunks and recurrent between, 4 N D + chunk (N + D) operations a step.
    chunk : int
        Steps of a chunk.
    initial : array_like, shape (..., N, D), optional
        The state before the first step; zeros unless given. With `normalize` a tuple (S, z), z of
        shape (..., N).
    return_state : bool
        Return the state after the last step too: the `initial` of a continuation.

    Returns
    -------
    ndarray, shape (..., L, D)
        float32 where q, k and v are. With `return_state` a tuple (outputs, state). The forms agree
        to rounding: about eps (N + L) times the same sum of absolute terms. No array of L² numbers
        is made; besides the result there are at most 192 states and some 100 KB a thread. The same
        bits for any number of threads and any instruction set.

    Raises
    ------
    ShapeMismatch
        For shapes that do not fit.
    InvalidArgument
        For NaN and infinity, and where a denominator is 0, with the place.

    References
    ----------
    Katharopoulos et al. 2020, arXiv:2006.16236.

    Examples
    --------
    >>> import resolvent as rv
    >>> q = k = [[1.0], [2.0]]
    >>> rv.attention.linear.linear_attention(q, k, [[1.0], [1.0]])
    array([[1.],
           [6.]])
    >>> rv.attention.linear.linear_attention(q, k, [[1.0], [4.0]], normalize=True)
    array([[1.],
           [3.]])
    """
    model = _LinearAttention(q, k, v, feature, normalize, form, chunk, initial)
    rows, state = model.recurrence.run()
    y = model.a.shaped(model.quotient(rows)[0] if model.normalize else rows)
    return (y, model.state(state)) if return_state else y


class LinearAttentionGradient(NamedTuple):
    """Gradients of Σ g∘y by the arguments of :func:`linear_attention`, in their shapes."""

    q: Array
    k: Array
    v: Array
    initial: Array | tuple[Array, Array]


@refuses_overflow
def linear_attention_vjp(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    g: ArrayLike,
    *,
    feature: Feature = "identity",
    normalize: bool = False,
    form: Form = "chunked",
    chunk: int = 64,
    initial: Initial | None = None,
) -> LinearAttentionGradient:
    """The adjoint of :func:`linear_attention`: gradients of Σ g∘y.

    Parameters
    ----------
    q, k, v, feature, normalize, form, chunk, initial
        As there.
    g : array_like, shape (..., L, D)
        The gradient by the outputs.

    Returns
    -------
    LinearAttentionGradient
        Of the shapes of the arguments, added up over broadcast axes; `initial` for every row of the
        batch if it was not given, and a tuple with `normalize`. "chunked" takes 10 N D + chunk
        (3 N + 2 D) operations a step and keeps two states for every chunk of a row, of as many rows
        as make 64 chunks; "recurrent" 17 N D operations and 2√L states a thread; "parallel" is one
        chunk. `normalize` runs the recurrence forwards once more.

    Examples
    --------
    >>> import resolvent as rv
    >>> q = k = [[1.0], [2.0]]
    >>> gradient = rv.attention.linear.linear_attention_vjp(q, k, [[1.0], [1.0]], [[0.0], [1.0]])
    >>> gradient.k
    array([[2.],
           [2.]])
    """
    model = _LinearAttention(q, k, v, feature, normalize, form, chunk, initial)
    a = model.a
    upstream = a.upstream(g, "LD")
    if model.normalize:
        outputs, denominator = model.quotient(model.recurrence.run()[0])
        upstream = upstream / denominator[..., np.newaxis]
        by_denominator = -np.einsum("hld,hld->hl", upstream, outputs)
        upstream = np.concatenate([upstream, by_denominator[..., np.newaxis]], axis=-1)
    by_q, by_k, by_v, _, by_start = model.recurrence.adjoint(upstream)
    return LinearAttentionGradient(
        a.gradient("q", by_q) * _feature_slope(a.arrays["q"], model.feature),
        a.gradient("k", by_k) * _feature_slope(a.arrays["k"], model.feature),
        a.gradient("v", by_v[..., : a.sizes["D"]]),
        model.by_initial(by_start),
    )


# ---------------------------------------------------------------------------------------------
# Retention.


def _retention(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    decay: ArrayLike,
    form: str,
    chunk: int,
    initial: ArrayLike | None,
) -> tuple[Arguments, _Recurrence]:
    a = gather(
        {"q": (q, "LN"), "k": (k, "LN"), "v": (v, "LD"), "decay": (decay, ""),
         "initial": (initial, "ND")}
    )  # fmt: skip
    gamma = a.arrays["decay"]
    require_range(gamma, "decay", (gamma >= 0) & (gamma <= 1), "in [0, 1]")
    decays, places = a.own_rows("decay")
    return a, _Recurrence(
        a.own_rows("q"),
        a.own_rows("k"),
        a.own_rows("v"),
        (decays.reshape(-1, 1), places),
        start(a, "ND"),
        _steps(form, chunk, a.sizes["L"]),
    )


@refuses_overflow
def retnet(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    decay: ArrayLike,
    *,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
    return_state: bool = False,
) -> Outputs:
    """Retention: S_t = γS_{t−1} + k_t v_tᵀ, o_t = S_tᵀ q_t, that is Σ_{i≤t} γ^{t−i}(q_t·k_i) v_i.

    The rotation of queries and keys and the group norm of the paper's layer act on each position
    alone and are not part of it.

    Parameters
    ----------
    q, k : array_like, shape (..., L, N)
        Queries and keys. Leading axes of all arguments broadcast.
    v : array_like, shape (..., L, D)
        Values.
    decay : array_like, shape (...)
        γ, from 0 to 1: one number, or with an axis of heads one for each.
    form, chunk, initial, return_state
        As in :func:`linear_attention`; the state is an array (..., N, D).

    Returns
    -------
    ndarray, shape (..., L, D)
        As in :func:`linear_attention`, with the same cost and accuracy. Powers of γ are formed as
        products; those below the smallest normal number count as 0. γ is rounded to the precision
        of the result, and an error of eps in γ is one of (t − i) eps in γ^{t−i}.

    Raises
    ------
    InvalidArgument
        For a decay outside [0, 1], and for NaN and infinity, with the place.

    References
    ----------
    Sun et al. 2023, arXiv:2307.08621.

    Examples
    --------
    >>> import resolvent as rv
    >>> ones = [[1.0], [1.0], [1.0]]
    >>> rv.attention.linear.retnet(ones, ones, ones, 0.5)
    array([[1.  ],
           [1.5 ],
           [1.75]])
    """
    a, recurrence = _retention(q, k, v, decay, form, chunk, initial)
    rows, state = recurrence.run()
    return outputs(a, rows, state, return_state)


class RetNetGradient(NamedTuple):
    """Gradients of Σ g∘y by the arguments of :func:`retnet`, in their shapes."""

    q: Array
    k: Array
    v: Array
    decay: Array
    initial: Array


@refuses_overflow
def retnet_vjp(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    decay: ArrayLike,
    g: ArrayLike,
    *,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
) -> RetNetGradient:
    """The adjoint of :func:`retnet`: gradients of Σ g∘y.

    Parameters
    ----------
    q, k, v, decay, form, chunk, initial
        As there.
    g : array_like, shape (..., L, D)
        The gradient by the outputs.

    Returns
    -------
    RetNetGradient
        As in :func:`linear_attention_vjp`, with the same cost. Nothing is divided by the decay: it
        may be 0.

    Examples
    --------
    >>> import resolvent as rv
    >>> ones = [[1.0], [1.0], [1.0]]
    >>> rv.attention.linear.retnet_vjp(ones, ones, ones, 0.5, [[0.0], [0.0], [1.0]]).decay
    array(2.)
    """
    a, recurrence = _retention(q, k, v, decay, form, chunk, initial)
    by_q, by_k, by_v, by_decay, by_start = recurrence.adjoint(a.upstream(g, "LD"))
    return RetNetGradient(
        a.gradient("q", by_q),
        a.gradient("k", by_k),
        a.gradient("v", by_v),
        a.gradient("decay", by_decay.sum(axis=-1)),
        a.gradient("initial", by_start),
    )


# ---------------------------------------------------------------------------------------------
# Mamba-2.


class _Mamba2:
    """Checked arguments of Mamba-2. k is B, q is C, v is dt x, and the decays are e^{dt A}."""

    def __init__(
        self,
        x: ArrayLike,
        dt: ArrayLike,
        A: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike | None,
        form: str,
        chunk: int,
        initial: ArrayLike | None,
    ) -> None:
        self.a = a = gather(
            {"x": (x, "LP"), "dt": (dt, "L"), "A": (A, ""), "B": (B, "LN"), "C": (C, "LN"),
             "D": (D, ""), "initial": (initial, "NP")}
        )  # fmt: skip
        step, rate = a.working("dt"), a.working("A")
        require_range(step, "dt", step >= 0, "at least 0")
        require_range(rate, "A", rate <= 0, "at most 0")
        with np.errstate(over="ignore"):  # e^{−∞} is the right decay
            exponent = np.multiply(step, rate[..., np.newaxis], dtype=np.float64)
        self.decay = np.exp(exponent).astype(a.dtype)
        self.recurrence = _Recurrence(
            a.own_rows("C"),
            a.own_rows("B"),
            own_rows(step[..., np.newaxis] * a.arrays["x"], 2, a.batch),
            own_rows(self.decay, 1, a.batch),
            start(a, "NP"),
            _steps(form, chunk, a.sizes["L"]),
        )

    @property
    def skip(self) -> Array | None:
        """D as it multiplies rows (H, L, P)."""
        return self.a.all_rows("D").reshape(-1, 1, 1) if "D" in self.a.arrays else None


@refuses_overflow
def mamba2(
    x: ArrayLike,
    dt: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    D: ArrayLike | None = None,
    *,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
    return_state: bool = False,
) -> Outputs:
    """Mamba-2, a scalar decay for each head: S_t = e^{dt_t A}S_{t−1} + dt_t B_t x_tᵀ.

    The outputs are y_t = S_tᵀC_t + D x_t.

    Parameters
    ----------
    x : array_like, shape (..., L, P)
        Inputs, P channels of each head. Leading axes of all arguments broadcast: `B` and `C` with
        an axis of length 1 for the heads serve all of them, without copies.
    dt : array_like, shape (..., L)
        Steps, at least 0.
    A : array_like, shape (...)
        The rate of each head, at most 0.
    B, C : array_like, shape (..., L, N)
        Where inputs go to and outputs come from.
    D : array_like, shape (...), optional
        What of the input reaches the output at once.
    form, chunk, initial, return_state
        As in :func:`linear_attention`; the state is an array (..., N, P).

    Returns
    -------
    ndarray, shape (..., L, P)
        As in :func:`linear_attention`, with P for D in the cost. Decays between two steps are
        products of e^{dt A}, never quotients; those below the smallest normal number count as 0.

    Raises
    ------
    InvalidArgument
        For a negative `dt`, a positive `A`, and for NaN and infinity, with the place.

    References
    ----------
    Dao, Gu 2024, arXiv:2405.21060.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> ones = np.ones((3, 1))
    >>> rv.attention.linear.mamba2(ones, np.ones(3), -np.log(2.0), ones, ones)
    array([[1.  ],
           [1.5 ],
           [1.75]])
    """
    model = _Mamba2(x, dt, A, B, C, D, form, chunk, initial)
    rows, state = model.recurrence.run()
    if model.skip is not None:
        rows += model.skip * model.a.all_rows("x")
    return outputs(model.a, rows, state, return_state)


class Mamba2Gradient(NamedTuple):
    """Gradients of Σ g∘y by the arguments of :func:`mamba2`, in their shapes."""

    x: Array
    dt: Array
    A: Array
    B: Array
    C: Array
    D: Array | None
    initial: Array


@refuses_overflow
def mamba2_vjp(
    x: ArrayLike,
    dt: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    g: ArrayLike,
    D: ArrayLike | None = None,
    *,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
) -> Mamba2Gradient:
    """The adjoint of :func:`mamba2`: gradients of Σ g∘y.

    Parameters
    ----------
    x, dt, A, B, C, D, form, chunk, initial
        As there; D comes after g.
    g : array_like, shape (..., L, P)
        The gradient by the outputs.

    Returns
    -------
    Mamba2Gradient
        As in :func:`linear_attention_vjp`, with the same cost; D is None if it was not given.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> ones, g = np.ones((3, 1)), [[0.0], [0.0], [1.0]]
    >>> rv.attention.linear.mamba2_vjp(ones, np.ones(3), -np.log(2.0), ones, ones, g).A
    array(1.)
    """
    model = _Mamba2(x, dt, A, B, C, D, form, chunk, initial)
    a = model.a
    upstream = a.upstream(g, "LP")
    by_c, by_b, by_v, by_decay, by_start = model.recurrence.adjoint(upstream)
    inputs, step, rate = a.all_rows("x"), a.all_rows("dt"), a.all_rows("A")
    by_exponent = all_rows(model.decay, 1, a.batch) * by_decay
    by_step = np.einsum("hlp,hlp->hl", by_v, inputs) + rate[:, np.newaxis] * by_exponent
    by_x, by_skip = step[..., np.newaxis] * by_v, None
    if model.skip is not None:
        by_x += model.skip * upstream
        by_skip = a.gradient("D", np.einsum("hlp,hlp->hl", upstream, inputs).sum(axis=-1))
    return Mamba2Gradient(
        a.gradient("x", by_x),
        a.gradient("dt", by_step),
        a.gradient("A", (step * by_exponent).sum(axis=-1)),
        a.gradient("B", by_b),
        a.gradient("C", by_c),
        by_skip,
        a.gradient("initial", by_start),
    )
