"""Mamba's selective scan: a diagonal recurrence whose step, input and read-out follow the input."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, name_parameter
from resolvent.attention.linear._common import (
    Arguments,
    Form,
    Outputs,
    chunk_parameter,
    form_parameter,
    gather,
    outputs,
    refuses_overflow,
    require_no_batch,
    require_range,
    schedule,
    start,
)
from resolvent.attention.linear._diagonal import phi1_slope
from resolvent.discretize import phi_scalar
from resolvent.ssm import scan, scan_vjp

__all__ = ["MAMBA_RULES", "MambaGradient", "MambaRule", "mamba", "mamba_vjp"]

#: What a step of :func:`mamba` takes of the input.
MAMBA_RULES = ("mamba", "zoh")

MambaRule = Literal["mamba", "zoh"]


class _Mamba:
    """Checked arguments, as rows of the batch."""

    def __init__(
        self,
        u: ArrayLike,
        dt: ArrayLike,
        A: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike | None,
        rule: object,
        form: object,
        chunk: object,
        initial: ArrayLike | None,
    ) -> None:
        self.zoh = name_parameter(rule, MAMBA_RULES, "rule") == "zoh"
        self.form, self.chunk = form_parameter(form), chunk_parameter(chunk)
        self.a: Arguments = gather({
            "u": (u, "Lc"), "dt": (dt, "Lc"), "A": (A, "cN"), "B": (B, "LN"), "C": (C, "LN"),
            "D": (D, "c"), "initial": (initial, "cN"),
        })  # fmt: skip
        require_no_batch(self.a, "A", "D")
        require_range(self.a.arrays["dt"], "dt", self.a.arrays["dt"] >= 0, "at least 0")
        require_range(self.a.arrays["A"], "A", self.a.arrays["A"] <= 0, "at most 0")
        self.u, self.dt, self.B, self.C = (self.a.all_rows(name) for name in ("u", "dt", "B", "C"))
        self.A = self.a.working("A")
        given = "D" in self.a.arrays
        self.D = self.a.working("D") if given else np.zeros(self.a.sizes["c"], self.a.dtype)
        self.start = start(self.a, "cN")

    @property
    def arrays(self) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
        """As the compiled scans take them."""
        return self.u, self.dt, self.A, self.B, self.C, self.D, self.start

    def run(self) -> tuple[Array, Array]:
        if self.form == "parallel":
            return _Parallel(self).run()
        options = schedule(self.form, self.chunk, self.a.sizes["L"])
        return _core.attention.selective_scan(*self.arrays, self.zoh, *options)

    def adjoint(self, g: Array) -> tuple[Array, ...]:
        """By u, dt, A, B, C, D and the first state."""
        if self.form == "parallel":
            return _Parallel(self).adjoint(g)
        options = schedule(self.form, self.chunk, self.a.sizes["L"])
        return _core.attention.selective_scan_adjoint(*self.arrays, g, self.zoh, *options)


class _Parallel:
    """All steps at once: decays and inputs of every step and state, (H, c, N, L)."""

    def __init__(self, model: _Mamba) -> None:
        self.model = model
        self.u, self.dt = (x.swapaxes(1, 2)[:, :, np.newaxis] for x in (model.u, model.dt))
        self.B, self.C = (x.swapaxes(1, 2)[:, np.newaxis] for x in (model.B, model.C))
        with np.errstate(over="ignore"):
            product = self.dt * model.A[..., np.newaxis]
        self.z = np.maximum(product, np.finfo(product.dtype).min)
        self.decay = np.exp(self.z)
        self.weight = self.dt * self._mean() if model.zoh else self.dt
        self.states = scan(self.decay, self.weight * (self.B * self.u), model.start)

    def _mean(self) -> Array:
        return phi_scalar(self.z).astype(self.z.dtype)

    def run(self) -> tuple[Array, Array]:
        y = (self.C * self.states).sum(axis=2).swapaxes(1, 2) + self.model.D * self.model.u
        last = self.states[..., -1] if self.states.shape[-1] else self.model.start
        return y, last

    def adjoint(self, g: Array) -> tuple[Array, ...]:
        """With f the weight of B u: ∂f/∂dt = 1, or e^z (zoh); ∂f/∂A = 0, or dt² φ_1'(z)."""
        m = self.model
        upstream = g.swapaxes(1, 2)[:, :, np.newaxis]
        by_decay, by_input, by_start = scan_vjp(self.decay, self.states, self.C * upstream, m.start)
        by_z = by_decay * self.decay
        by_weight = by_input * (self.B * self.u)
        by_A = by_z * self.dt
        if m.zoh:
            by_A += by_weight * (self.dt * (self.dt * phi1_slope(self.z).astype(self.z.dtype)))
            by_weight *= self.decay
        by_dt = by_z * m.A[..., np.newaxis] + by_weight
        by_drive = by_input * self.weight
        return (
            (by_drive * self.B).sum(axis=2).swapaxes(1, 2) + m.D * g,
            by_dt.sum(axis=2).swapaxes(1, 2),
            by_A.sum(axis=(0, 3)),
            (by_drive * self.u).sum(axis=1).swapaxes(1, 2),
            (self.states * upstream).sum(axis=1).swapaxes(1, 2),
            (m.u * g).sum(axis=(0, 1)),
            by_start,
        )


@refuses_overflow
def mamba(
    u: ArrayLike,
    dt: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    D: ArrayLike | None = None,
    *,
    rule: MambaRule = "mamba",
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
    return_state: bool = False,
) -> Outputs:
    """Mamba's selective scan: h[c,n] ← e^{dt[c]A[c,n]}h[c,n] + f B[n]u[c], y[c] = Σ_n C[n]h[c,n].

    Parameters
    ----------
    u : array_like, shape (..., L, c)
        Inputs, one state of N numbers for every channel. Leading axes of `u`, `dt`, `B`, `C` and
        `initial` broadcast.
    dt : array_like, shape (..., L, c)
        Steps, at least 0.
    A : array_like, shape (c, N)
        Rates, at most 0.
    B, C : array_like, shape (..., L, N)
        Where inputs go to and outputs come from, the same for all channels.
    D : array_like, shape (c,), optional
        Adds D u to the outputs.
    rule : {"mamba", "zoh"}
        The weight f of the input: dt, as the public code of Mamba has it, or
        (e^{dt A} − 1)/A, as its paper prints it; compare :func:`resolvent.discretize.discretize`.
    form : {"chunked", "recurrent", "parallel"}
        "recurrent": step by step. "chunked": the same where there are at least 4 groups of 64
        bytes of channels; with fewer of them, chunks run side by side, twice: for their maps and,
        from the states at their borders, for the outputs. "parallel": :func:`resolvent.ssm.scan`
        over the decays and inputs of all steps.
    chunk : int
        Steps of a chunk, at least 1.
    initial : array_like, shape (..., c, N), optional
        The state before the first step; 0 unless given.
    return_state : bool
        Also return the state after the last step.

    Returns
    -------
    ndarray, shape (..., L, c)
        The outputs, float32 where `u`, `dt`, `B` and `C` are; with `return_state` a tuple of them
        and the state (..., c, N). The forms agree up to rounding: the error of y_t is about t·eps
        times the sum of its absolute terms. An exponential and 6 operations for each step, channel
        and state. Beside the result "recurrent" and "chunked" take O(c N) memory, the latter
        O(c N L/chunk) where chunks run side by side; "parallel" holds some arrays (..., c, N, L).

    Raises
    ------
    InvalidArgument
        For a negative `dt`, a positive `A`, and for NaN and infinity, with the place.

    References
    ----------
    Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
    arXiv:2312.00752.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> ones = np.ones((3, 1))
    >>> rv.attention.linear.mamba(ones, ones, [[-np.log(2.0)]], ones, ones)
    array([[1.  ],
           [1.5 ],
           [1.75]])
    """
    model = _Mamba(u, dt, A, B, C, D, rule, form, chunk, initial)
    return outputs(model.a, *model.run(), return_state)


class MambaGradient(NamedTuple):
    """Gradients of Σ g∘y by the arguments of :func:`mamba`, in their shapes."""

    u: Array
    dt: Array
    A: Array
    B: Array
    C: Array
    D: Array | None
    initial: Array


@refuses_overflow
def mamba_vjp(
    u: ArrayLike,
    dt: ArrayLike,
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    g: ArrayLike,
    D: ArrayLike | None = None,
    *,
    rule: MambaRule = "mamba",
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
) -> MambaGradient:
    """The adjoint of :func:`mamba`: gradients of Σ g∘y.

    Parameters
    ----------
    u, dt, A, B, C
        As there.
    g : array_like, shape (..., L, c)
        The gradient by the outputs.
    D, rule, form, chunk, initial
        As there.

    Returns
    -------
    MambaGradient
        Added up over broadcast axes; D is None if it was not given, `initial` is that by the zeros
        if it was not. "recurrent" and "chunked" keep the states at the borders of chunks,
        O(c N L/chunk), and recompute those between, chunk by chunk; they take three times the
        operations of the outputs. Nothing is divided by a decay. "parallel" holds some arrays
        (..., c, N, L).

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> ones, g = np.ones((3, 1)), [[0.0], [0.0], [1.0]]
    >>> rv.attention.linear.mamba_vjp(ones, ones, [[-np.log(2.0)]], ones, ones, g).A
    array([[1.]])
    """
    model = _Mamba(u, dt, A, B, C, D, rule, form, chunk, initial)
    a = model.a
    by_u, by_dt, by_A, by_B, by_C, by_D, by_start = model.adjoint(a.upstream(g, "Lc"))
    return MambaGradient(
        a.gradient("u", by_u),
        a.gradient("dt", by_dt),
        by_A,
        a.gradient("B", by_B),
        a.gradient("C", by_C),
        by_D if "D" in a.arrays else None,
        a.gradient("initial", by_start),
    )
