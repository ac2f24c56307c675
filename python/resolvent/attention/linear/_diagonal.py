"""Linear recurrences with a complex diagonal transition: LRU and S5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_real64, name_parameter, summed_to
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
from resolvent.discretize import discretize, phi_scalar
from resolvent.discretize._rules import EXPONENTIAL, positive_steps, rule_weight
from resolvent.ssm import scan, scan_vjp

__all__ = [
    "S5_RULES",
    "LruGradient",
    "S5Gradient",
    "S5Rule",
    "lru",
    "lru_vjp",
    "phi1_slope",
    "s5",
    "s5_vjp",
]

#: How :func:`s5` may be discretised.
S5_RULES = ("zoh", "bilinear", "forward", "backward", "mamba")

S5Rule = Literal["zoh", "bilinear", "forward", "backward", "mamba"]

#: What |λ| may exceed 1 by, in eps: a phase e^{iθ} is rounded twice.
_UNIT_ROUNDING = 4.0


def phi1_slope(z: Array) -> Array:
    """φ_1'(z) = φ_1 − φ_2 = (e^z − φ_1)/z, by the form whose terms do not cancel."""
    first = phi_scalar(z)
    far = np.abs(z) > 1.0
    quotient = (np.exp(z) - first) / np.where(far, z, 1.0)
    return np.where(far, quotient, first - phi_scalar(z, 2))


# ---- the recurrence ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Diagonal:
    """x_t = λ x_{t−1} + B u_t, y_t = Re(C x_t), discrete. u (H, L, h), first states (H, N)."""

    u: Array
    eigenvalues: Array
    B: Array
    C: Array
    start: Array
    form: str
    chunk: int

    def run(self) -> tuple[Array, Array]:
        """Outputs (H, L, g) and last states (H, N)."""
        if self.form == "parallel":
            states = self._states()
            y = (self.C @ states).real.swapaxes(1, 2)
            return np.ascontiguousarray(y), states[..., -1] if self.u.shape[1] else self.start
        # Step by step: the products of one step only.
        chunk = 1 if self.form == "recurrent" else self.chunk
        options = schedule(self.form, chunk, self.u.shape[1])
        return _core.attention.diagonal_scan(*self._arrays, *options)

    def adjoint(self, g: Array) -> tuple[Array, Array, Array, Array, Array]:
        """By u, eigenvalues, B, C and the first states."""
        if self.form != "parallel":
            options = schedule(self.form, self.chunk, self.u.shape[1])
            return _core.attention.diagonal_scan_adjoint(*self._arrays, g, *options)
        states = self._states()
        by_states = self.C.conj().T @ g.swapaxes(1, 2)
        by_eigenvalues, by_drive, by_start = scan_vjp(
            self.eigenvalues[:, np.newaxis], states, by_states, self.start
        )
        return (
            (self.B.conj().T @ by_drive).real.swapaxes(1, 2),
            by_eigenvalues[:, 0],
            (by_drive @ self.u).sum(axis=0),
            (states.conj() @ g).sum(axis=0).T,
            by_start,
        )

    @property
    def _arrays(self) -> tuple[Array, Array, Array, Array, Array]:
        return self.u, self.eigenvalues, self.B, self.C, self.start

    def _states(self) -> Array:
        """(H, N, L)."""
        drive = self.B @ self.u.swapaxes(1, 2)
        return scan(self.eigenvalues[:, np.newaxis], drive, self.start)


class _Layer:
    """Checked arguments that LRU and S5 share."""

    def __init__(
        self,
        u: ArrayLike,
        eigenvalues: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike | None,
        form: object,
        chunk: object,
        initial: ArrayLike | None,
    ) -> None:
        self.form, self.chunk = form_parameter(form), chunk_parameter(chunk)
        self.a: Arguments = gather(
            {
                "u": (u, "Lh"), "eigenvalues": (eigenvalues, "N"), "B": (B, "Nh"), "C": (C, "gN"),
                "D": (D, "h"), "initial": (initial, "N"),
            },
            complex_names=("eigenvalues", "B", "C", "initial"),
        )  # fmt: skip
        require_no_batch(self.a, "eigenvalues", "B", "C", "D")
        sizes = self.a.sizes
        if "D" in self.a.arrays and sizes["g"] != sizes["h"]:
            raise _core.ShapeMismatch(
                f"D needs as many outputs as inputs, got C {self.a.arrays['C'].shape} "
                f"and B {self.a.arrays['B'].shape}"
            )
        self.complex = np.dtype(np.complex64 if self.a.dtype == np.float32 else np.complex128)
        #: Rounded to the precision of the result; what is made of them is made in double.
        self.eigenvalues, self.B, self.C = (
            self.a.working(name).astype(np.complex128) for name in ("eigenvalues", "B", "C")
        )

    def discrete(self, eigenvalues: Array, B: Array, C: Array) -> _Diagonal:
        """The recurrence with these, in the precision of the result."""
        return _Diagonal(
            self.a.all_rows("u"),
            self.narrow(eigenvalues),
            self.narrow(B),
            self.narrow(C),
            start(self.a, "N", dtype=self.complex),
            self.form,
            self.chunk,
        )

    def run(self, model: _Diagonal, return_state: bool) -> Outputs:
        y, state = model.run()
        if "D" in self.a.arrays:
            y += self.a.working("D") * model.u
        return outputs(self.a, y, state, return_state)

    def adjoint(self, model: _Diagonal, g: ArrayLike) -> _Parts:
        upstream = self.a.upstream(g, "Lg")
        by_u, by_eigenvalues, by_B, by_C, by_start = model.adjoint(upstream)
        by_D = None
        if "D" in self.a.arrays:
            by_u = by_u + self.a.working("D") * upstream
            by_D = (model.u * upstream).sum(axis=(0, 1))
        return _Parts(
            self.a.gradient("u", by_u),
            by_eigenvalues,
            by_B,
            by_C,
            by_D,
            self.a.gradient("initial", by_start),
        )

    def narrow(self, values: Array) -> Array:
        """Complex numbers in the precision of the result."""
        return np.ascontiguousarray(values, dtype=self.complex)


class _Parts(NamedTuple):
    """Gradients by u, D and the first state, and by what the discrete recurrence is made of."""

    u: Array
    eigenvalues: Array
    B: Array
    C: Array
    D: Array | None
    initial: Array


def _real_product(a: Array, b: Array) -> Array:
    """Re(conj(a) b): the gradient by a real factor of a, where b is that by the product."""
    product: Array = (a.conj() * b).real
    return product


# ---- LRU -----------------------------------------------------------------------------------------


class _Lru(_Layer):
    def __init__(
        self,
        u: ArrayLike,
        eigenvalues: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike | None,
        normalize: object,
        form: object,
        chunk: object,
        initial: ArrayLike | None,
    ) -> None:
        super().__init__(u, eigenvalues, B, C, D, form, chunk, initial)
        given = self.a.arrays["eigenvalues"]
        slack = _UNIT_ROUNDING * np.finfo(given.dtype).eps
        require_range(given, "eigenvalues", np.abs(given) <= 1.0 + slack, "at most 1 in modulus")
        size = np.abs(self.eigenvalues)
        self.normalize = bool(normalize)
        self.gamma = np.sqrt(np.maximum((1.0 - size) * (1.0 + size), 0.0))
        scale = self.gamma[:, np.newaxis] if self.normalize else 1.0
        self.model = self.discrete(self.eigenvalues, scale * self.B, self.C)

    def by_parameters(self, parts: _Parts) -> tuple[Array, Array]:
        """Gradients by the eigenvalues and B: γ = √(1 − |λ|²) has the gradient −λ/γ."""
        if not self.normalize:
            return parts.eigenvalues, parts.B
        require_range(
            self.a.arrays["eigenvalues"], "eigenvalues", self.gamma > 0.0,
            "inside the unit circle, where the factor has a derivative",
        )  # fmt: skip
        by_gamma = _real_product(self.B, parts.B).sum(axis=1)
        by_eigenvalues = parts.eigenvalues - by_gamma * self.eigenvalues / self.gamma
        return self.narrow(by_eigenvalues), self.narrow(self.gamma[:, np.newaxis] * parts.B)


@refuses_overflow
def lru(
    u: ArrayLike,
    eigenvalues: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    D: ArrayLike | None = None,
    *,
    normalize: bool = True,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
    return_state: bool = False,
) -> Outputs:
    """The linear recurrent unit: x_t = λ∘x_{t−1} + γ∘(B u_t), y_t = Re(C x_t) + D∘u_t.

    Parameters
    ----------
    u : array_like, shape (..., L, h)
        Inputs, real.
    eigenvalues : array_like, shape (N,)
        λ, real or complex, at most 1 in modulus.
    B : array_like, shape (N, h)
        Real or complex.
    C : array_like, shape (g, N)
        Real or complex.
    D : array_like, shape (h,), optional
        For g = h.
    normalize : bool
        Whether γ = √(1 − abs(λ)²), which makes the states of white noise as large as the noise;
        else γ = 1.
    form : {"chunked", "recurrent", "parallel"}
        "recurrent": step by step. "chunked": the products with B and C for a chunk at a time; with
        fewer than 4 rows of the batch, chunks run side by side, twice: for the states at their
        borders, and for the outputs. "parallel": :func:`resolvent.ssm.scan` over all steps.
    chunk : int
        Steps of a chunk, at least 1.
    initial : array_like, shape (..., N), optional
        The state before the first step; 0 unless given. Leading axes broadcast with those of `u`.
    return_state : bool
        Also return the state after the last step.

    Returns
    -------
    ndarray, shape (..., L, g)
        The outputs, in the precision of `u`; with `return_state` a tuple of them and the state
        (..., N), complex. The forms agree up to rounding: the error of y_t is about (t + h + N) eps
        times the sum of its absolute terms. 4 N(h + g + 2) operations a step. Beside the result,
        "recurrent" takes O(N) memory, "chunked" O(chunk·N) for each thread and O(N L/chunk),
        "parallel" some arrays (..., N, L).

    Raises
    ------
    InvalidArgument
        For an eigenvalue outside the unit circle, and for NaN and infinity, with the place.

    References
    ----------
    Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023,
    arXiv:2303.06349.

    Examples
    --------
    >>> import resolvent as rv
    >>> rv.attention.linear.lru([[1.0], [0.0], [0.0]], [0.5j], [[1.0]], [[1.0]], normalize=False)
    array([[ 1.  ],
           [ 0.  ],
           [-0.25]])
    """
    layer = _Lru(u, eigenvalues, B, C, D, normalize, form, chunk, initial)
    return layer.run(layer.model, return_state)


class LruGradient(NamedTuple):
    """Gradients of Σ g∘y by the arguments of :func:`lru`, in their shapes."""

    u: Array
    eigenvalues: Array
    B: Array
    C: Array
    D: Array | None
    initial: Array


@refuses_overflow
def lru_vjp(
    u: ArrayLike,
    eigenvalues: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    g: ArrayLike,
    D: ArrayLike | None = None,
    *,
    normalize: bool = True,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
) -> LruGradient:
    """The adjoint of :func:`lru`: gradients of Σ g∘y.

    Parameters
    ----------
    u, eigenvalues, B, C
        As there.
    g : array_like, shape (..., L, g)
        The gradient by the outputs.
    D, normalize, form, chunk, initial
        As there.

    Returns
    -------
    LruGradient
        By complex arguments ∂/∂Re + i ∂/∂Im, as :func:`resolvent.ssm.cauchy_vjp` does; complex for
        real ones too. D is None if it was not given, `initial` is that by the zeros if it was not.
        "recurrent" and "chunked" keep the states at the borders of chunks, O(N L/chunk), and
        recompute those between; "parallel" holds some arrays (..., N, L). Three times the
        operations of the outputs.

    Raises
    ------
    InvalidArgument
        As :func:`lru`, and with `normalize` for eigenvalues on the unit circle, where γ has no
        derivative.

    Examples
    --------
    >>> import resolvent as rv
    >>> u, g = [[1.0], [0.0], [0.0]], [[0.0], [0.0], [1.0]]
    >>> rv.attention.linear.lru_vjp(
    ...     u, [0.5], [[1.0]], [[1.0]], g, normalize=False
    ... ).eigenvalues
    array([1.+0.j])
    """
    layer = _Lru(u, eigenvalues, B, C, D, normalize, form, chunk, initial)
    parts = layer.adjoint(layer.model, g)
    by_eigenvalues, by_B = layer.by_parameters(parts)
    return LruGradient(parts.u, by_eigenvalues, by_B, parts.C, parts.D, parts.initial)


# ---- S5 ------------------------------------------------------------------------------------------


class _Rule(NamedTuple):
    """A rule at z = step·λ: x⁺ = R(z)x + step·β(z)·B u."""

    growth: Array  # R
    input: Array  # β
    growth_slope: Array  # R'
    input_slope: Array  # β'


def _rule_at(z: Array, rule: str) -> _Rule:
    """R and β of a rule, from :func:`resolvent.discretize.discretize`, and their derivatives.

    zoh: R' = R = e^z, β' = φ_1'. mamba: R' = R, β' = 0. The rational rules with weight α:
    β = 1/(1 − αz), R' = β², β' = αβ².
    """
    if z.size == 0:
        return _Rule(z, z, z, z)
    discrete = discretize((z, np.ones_like(z)), 1.0, rule)  # type: ignore[arg-type]
    growth, weight = discrete.A, discrete.B
    if rule in EXPONENTIAL:
        slope = phi1_slope(z) if rule == "zoh" else np.zeros_like(z)
        return _Rule(growth, weight, growth, slope)
    _, alpha = rule_weight(rule, None)
    return _Rule(growth, weight, weight**2, alpha * weight**2)


class _S5(_Layer):
    def __init__(
        self,
        u: ArrayLike,
        eigenvalues: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        step: ArrayLike,
        D: ArrayLike | None,
        rule: object,
        conjugate: object,
        form: object,
        chunk: object,
        initial: ArrayLike | None,
    ) -> None:
        super().__init__(u, eigenvalues, B, C, D, form, chunk, initial)
        require_range(
            self.a.arrays["eigenvalues"], "eigenvalues", self.eigenvalues.real <= 0.0,
            "at most 0 in their real part",
        )  # fmt: skip
        self.step = positive_steps(as_real64(step, "step"))
        if self.step.shape not in ((), self.eigenvalues.shape):
            raise _core.ShapeMismatch(
                f"step must have shape () or {self.eigenvalues.shape}, got {self.step.shape}"
            )
        name = name_parameter(rule, S5_RULES, "rule")
        self.rule = _rule_at(self.step * self.eigenvalues, name)
        self.weight = self.step * self.rule.input
        self.copies = 2.0 if conjugate else 1.0
        self.model = self.discrete(
            self.rule.growth, self.weight[:, np.newaxis] * self.B, self.copies * self.C
        )

    def by_parameters(self, parts: _Parts) -> tuple[Array, Array, Array, Array]:
        """Gradients by the eigenvalues, B, C and the step."""
        by_weight = (self.B.conj() * parts.B).sum(axis=1)
        slope = self.step * self.rule.input_slope
        by_z = self.rule.growth_slope.conj() * parts.eigenvalues + slope.conj() * by_weight
        by_step = _real_product(self.eigenvalues, by_z) + _real_product(self.rule.input, by_weight)
        return (
            self.narrow(self.step * by_z),
            self.narrow(self.weight.conj()[:, np.newaxis] * parts.B),
            self.narrow(self.copies * parts.C),
            summed_to(by_step, by_step.shape, self.step.shape).astype(self.a.dtype),
        )


@refuses_overflow
def s5(
    u: ArrayLike,
    eigenvalues: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    step: ArrayLike,
    D: ArrayLike | None = None,
    *,
    rule: S5Rule = "zoh",
    conjugate: bool = False,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
    return_state: bool = False,
) -> Outputs:
    """S5: x' = λ∘x + B u, discretised, y_t = Re(C x_t) + D∘u_t.

    Parameters
    ----------
    u : array_like, shape (..., L, h)
        Inputs, real.
    eigenvalues : array_like, shape (N,)
        λ of the continuous model, real or complex, with real parts of at most 0.
    B, C, D
        As in :func:`lru`.
    step : array_like, shape () or (N,)
        Positive.
    rule : {"zoh", "bilinear", "forward", "backward", "mamba"}
        As in :func:`resolvent.discretize.discretize`; foh also takes the input of the next step,
        and is not among them.
    conjugate : bool
        The model has the conjugates of its eigenvalues too, of which `eigenvalues`, `B` and `C`
        keep one each: y_t = 2 Re(C x_t) + D∘u_t.
    form, chunk, initial, return_state
        As in :func:`lru`.

    Returns
    -------
    ndarray, shape (..., L, g)
        As in :func:`lru`, with its cost and accuracy. The model is discretised in double precision.

    Raises
    ------
    InvalidArgument
        For an eigenvalue with a positive real part, step ≤ 0, and for NaN and infinity, with the
        place.

    References
    ----------
    Smith, Warrington, Linderman, "Simplified State Space Layers for Sequence Modeling", 2022,
    arXiv:2208.04933.

    Examples
    --------
    >>> import numpy as np
    >>> import resolvent as rv
    >>> rv.attention.linear.s5([[1.0], [1.0]], [-np.log(2.0)], [[np.log(2.0)]], [[1.0]], 1.0)
    array([[0.5 ],
           [0.75]])
    """
    layer = _S5(u, eigenvalues, B, C, step, D, rule, conjugate, form, chunk, initial)
    return layer.run(layer.model, return_state)


class S5Gradient(NamedTuple):
    """Gradients of Σ g∘y by the arguments of :func:`s5`, in their shapes."""

    u: Array
    eigenvalues: Array
    B: Array
    C: Array
    step: Array
    D: Array | None
    initial: Array


@refuses_overflow
def s5_vjp(
    u: ArrayLike,
    eigenvalues: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    step: ArrayLike,
    g: ArrayLike,
    D: ArrayLike | None = None,
    *,
    rule: S5Rule = "zoh",
    conjugate: bool = False,
    form: Form = "chunked",
    chunk: int = 64,
    initial: ArrayLike | None = None,
) -> S5Gradient:
    """The adjoint of :func:`s5`: gradients of Σ g∘y.

    Parameters
    ----------
    u, eigenvalues, B, C, step
        As there.
    g : array_like, shape (..., L, g)
        The gradient by the outputs.
    D, rule, conjugate, form, chunk, initial
        As there.

    Returns
    -------
    S5Gradient
        As in :func:`lru_vjp`, with the same cost; by eigenvalues and step through the derivatives
        of the rule, of which none cancels as step·λ → 0.

    Examples
    --------
    >>> import resolvent as rv
    >>> one = [[1.0]]
    >>> rv.attention.linear.s5_vjp(one, [0.0], one, one, 1.0, one).eigenvalues
    array([0.5+0.j])
    """
    layer = _S5(u, eigenvalues, B, C, step, D, rule, conjugate, form, chunk, initial)
    parts = layer.adjoint(layer.model, g)
    by_eigenvalues, by_B, by_C, by_step = layer.by_parameters(parts)
    return S5Gradient(parts.u, by_eigenvalues, by_B, by_C, by_step, parts.D, parts.initial)
