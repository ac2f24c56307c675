"""What the routes compute with: a model, its step and its read-out, as arrays of channels.

A *realisation* is one model whose channels are rows. Continuous ones keep their step and rule;
`Realisation.dense` and `Realisation.modal` discretise when a route asks for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_number64, name_parameter
from resolvent.discretize import discretize
from resolvent.discretize._rules import EXPONENTIAL, positive_steps, rule_weight
from resolvent.hippo import System
from resolvent.spectral import DPLR, Diagonal, dplr
from resolvent.spectral._dplr import _NORMAL_PLUS_LOW_RANK
from resolvent.spectral._normal import CASCADES
from resolvent.ssm._batch import all_rows, broadcast_shapes, few_rows
from resolvent.ssm._models import StateSpace

#: The rules that a kernel can have. foh reads the next input too, so its output is not causal.
KERNEL_RULES: tuple[str, ...] = ("forward", "backward", "bilinear", "gbt", "zoh", "mamba")


@runtime_checkable
class Rational(Protocol):
    """What `rational.TransferFunction` offers to this module."""

    @property
    def b(self) -> Array: ...
    @property
    def a(self) -> Array: ...
    @property
    def direct(self) -> Any: ...
    def __init__(self, b: ArrayLike, a: ArrayLike) -> None: ...
    def kernel(self, length: int, aliased: bool = False) -> Array: ...
    def recur(self, u: ArrayLike, x0: ArrayLike | None = None) -> Any: ...
    def truncate(self, length: int) -> Any: ...
    def _response(self, z: Array) -> Array: ...


Model: TypeAlias = "System | DPLR | Diagonal | StateSpace | Rational"


@dataclass(frozen=True)
class Modal:
    """x⁺ = diag(A)x − P(Q*x) + Bu in rows: A, B (H|1, M), P, Q (H|1, r, M)."""

    A: Array
    P: Array
    Q: Array
    B: Array


@dataclass(frozen=True, eq=False)
class Realisation:
    """A model of one of the kinds "system", "dplr", "diagonal", "dense", "rational".

    Attributes
    ----------
    model
        As given; lists of modal models are one model with a leading axis.
    kind : str
    batch : tuple of int
        The leading axes of everything together; H is their product.
    steps : ndarray, shape (H,) or (1,), or None for discrete models
    rule : str
    alpha : float
        The weight of a rational rule.
    C : ndarray, shape (H, N) or (1, N), or None for transfer functions
    direct : ndarray, shape (H,)
        The feedthrough; a transfer function's is taken out of the model.
    """

    model: Any
    kind: str
    batch: tuple[int, ...]
    steps: Array | None
    rule: str
    alpha: float
    C: Array | None
    direct: Array

    @property
    def channels(self) -> int:
        """H."""
        return math.prod(self.batch)

    @property
    def is_rational_rule(self) -> bool:
        """Whether the resolvent of the continuous model serves."""
        return self.steps is not None and self.rule not in EXPONENTIAL

    @property
    def order(self) -> int:
        """Number of states, conjugates included."""
        if self.kind == "rational":
            return int(self.model.a.shape[-1])
        return int(self.model.order)

    # ---- read-outs -----------------------------------------------------------------------------

    @property
    def read_out(self) -> Array:
        """C, (H, N) or (1, N), of a model that has states."""
        assert self.C is not None
        return self.C

    def with_read_out(self, C: Array) -> Realisation:
        """The same model read out by other rows, (H, N)."""
        return replace(self, C=C)

    @cached_property
    def gain(self) -> Array:
        """εCB̄ in the limit of an infinite σ, per channel: ε·C·B of the continuous model."""
        if self.kind == "system":
            product = self.read_out @ self.model.B
        else:
            weighted = self.read_out * self._modal_weight * few_rows(self.model.B, self.batch)
            product = weighted.sum(axis=-1)
            product = product.real if self.is_half else product
        assert self.steps is not None
        return np.broadcast_to(product * self.steps, (self.channels,))

    # ---- modal models --------------------------------------------------------------------------

    @property
    def is_half(self) -> bool:
        """Whether one of each conjugate pair is kept, so that outputs are real parts."""
        return bool(getattr(self.model, "half", False))

    @property
    def is_real(self) -> bool:
        """Whether the kernel of a real input is real."""
        if self.kind in ("dplr", "diagonal"):
            return self.is_half or not self._has_imaginary_part
        parts: list[Any] = [self.C] if self.C is not None else []
        names = {"system": ("B",), "dense": ("A", "B"), "rational": ("b", "a")}
        parts.append(self.direct)
        parts += [getattr(self.model, name) for name in names[self.kind]]
        return not any(np.iscomplexobj(part) for part in parts)

    @cached_property
    def _has_imaginary_part(self) -> bool:
        low_rank = (self.model.P, self.model.Q) if self.kind == "dplr" else ()
        parts = (self.model.eigenvalues, self.model.B, self.read_out, *low_rank)
        return any(np.imag(part).any() for part in parts)

    @property
    def _modal_weight(self) -> Array:
        return np.asarray(self.model.multiplicity)

    @cached_property
    def weight_rows(self) -> Array:
        """What each entry stands for, (1, M)."""
        return np.ascontiguousarray(self._modal_weight[np.newaxis])

    @cached_property
    def continuous(self) -> Modal:
        """The parameters of a modal model before discretisation."""
        model = self.model
        values = few_rows(model.eigenvalues, self.batch)
        if self.kind == "diagonal":
            none = np.zeros((1, 0, values.shape[-1]), np.complex128)
            return Modal(values, none, none, few_rows(model.B, self.batch))
        return Modal(
            values,
            few_rows(model.P.swapaxes(-1, -2), self.batch, 2),
            few_rows(model.Q.swapaxes(-1, -2), self.batch, 2),
            few_rows(model.B, self.batch),
        )

    @cached_property
    def modal(self) -> Modal:
        """The parameters of a modal model after discretisation by its rule."""
        made = discretize(self._with_rows(), self._step_rows, self.rule, alpha=self.alpha)  # type: ignore[arg-type]
        A, B = made.A, made.B
        if self.kind == "diagonal":
            none = np.zeros((1, 0, A.shape[-1]), np.complex128)
            return Modal(_complex(A), none, none, _complex(B))
        assert made.P is not None
        assert made.Q is not None
        P, Q = (np.ascontiguousarray(part.swapaxes(-1, -2)) for part in (made.P, made.Q))
        return Modal(_complex(A), P, Q, _complex(B))

    def _with_rows(self) -> Any:
        """The modal model with at most one leading axis, that of the steps."""
        if not self.model.channels:
            return self.model
        part = self.continuous
        if self.kind == "diagonal":
            return replace(self.model, eigenvalues=part.A, B=part.B, C=None)
        return replace(
            self.model,
            eigenvalues=part.A,
            P=part.P.swapaxes(-1, -2),
            Q=part.Q.swapaxes(-1, -2),
            B=part.B,
        )

    # ---- dense models --------------------------------------------------------------------------

    @cached_property
    def dense(self) -> tuple[Array, Array, Array]:
        """Ā (H|1, N, N), B̄ (H|1, N) and C (H|1, N) in discrete time, real or complex throughout."""
        if self.kind == "rational":
            companion = self.model.to_companion()
            parts = (
                few_rows(companion.A, self.batch, 2),
                few_rows(companion.B, self.batch),
                few_rows(companion.C, self.batch),
            )
        elif self.kind == "dense":
            parts = (*self._dense_matrices(), self.read_out)
        elif self.kind == "system":
            made = discretize(self.model, self._step_rows, self.rule, alpha=self.alpha)  # type: ignore[arg-type]
            parts = (made.A, made.B, self.read_out)
        else:
            parts = self._dense_modal()
        kind = np.result_type(*parts)
        A, B, C = (np.ascontiguousarray(part, dtype=kind) for part in parts)
        return A, B, C

    @property
    def _step_rows(self) -> Array:
        assert self.steps is not None
        return self.steps

    def _dense_matrices(self) -> tuple[Array, Array]:
        A, B = few_rows(self.model.A, self.batch, 2), few_rows(self.model.B, self.batch)
        if self.steps is None:
            return A, B
        if A.shape[0] == B.shape[0] == 1:
            made = discretize((A[0], B[0]), self.steps, self.rule, alpha=self.alpha)  # type: ignore[arg-type]
            return made.A, made.B
        shape = (max(A.shape[0], B.shape[0]),)
        each = [
            discretize((a, b), float(step), self.rule, alpha=self.alpha)  # type: ignore[arg-type]
            for a, b, step in zip(
                np.broadcast_to(A, shape + A.shape[1:]),
                np.broadcast_to(B, shape + B.shape[1:]),
                np.broadcast_to(self.steps, shape),
                strict=True,
            )
        ]
        return np.stack([one.A for one in each]), np.stack([one.B for one in each])

    def _dense_modal(self) -> tuple[Array, Array, Array]:
        """Both of each pair, in the order of the model with half=False."""
        if self.rule in EXPONENTIAL and self.kind == "dplr":
            A, B = self._dense_by_exponential()
        else:
            A, B = self._expanded_matrices(self.modal)
        return A, B, self.expanded_read_out

    def _dense_by_exponential(self) -> tuple[Array, Array]:
        """A DPLR is dense after an exponential rule; each of several models by itself."""
        if not self.model.channels:
            made = discretize(self.model, self._step_rows, self.rule, alpha=self.alpha)  # type: ignore[arg-type]
            return made.A, made.B
        part = self.continuous
        rows = [np.broadcast_to(x, (self.channels, *x.shape[1:])) for x in
                (part.A, part.P.swapaxes(-1, -2), part.Q.swapaxes(-1, -2), part.B)]  # fmt: skip
        steps = np.broadcast_to(self._step_rows, (self.channels,))
        each = [
            discretize(DPLR(*model, half=self.is_half), float(step), self.rule)  # type: ignore[arg-type, misc]
            for *model, step in zip(*rows, steps, strict=True)
        ]
        return np.stack([one.A for one in each]), np.stack([one.B for one in each])

    def _expanded_matrices(self, part: Modal) -> tuple[Array, Array]:
        pairs = self._pair_places
        A = self._mirrored(part.A, pairs)
        P, Q = self._mirrored(part.P, pairs), self._mirrored(part.Q, pairs)
        dense = A[..., np.newaxis] * np.eye(A.shape[-1])
        dense = dense - P.swapaxes(-1, -2) @ Q.conj()
        return dense, self._mirrored(part.B, pairs)

    @property
    def _pair_places(self) -> Array:
        """Which entries have a conjugate that is not kept, in the order of the conjugates."""
        if not self.is_half:
            return np.arange(0)
        pairs = self._modal_weight == 2.0
        if self.kind == "diagonal":  # B and C need not be real where the eigenvalue is
            parts = (self.continuous.B, self.read_out)
            pairs = pairs | np.any([part.imag.any(axis=0) for part in parts], axis=0)
        places = np.flatnonzero(pairs)
        reversed_too = self.kind == "dplr" or self.model.kind == "legs"
        return places[::-1] if reversed_too else places

    @staticmethod
    def _mirrored(part: Array, places: Array) -> Array:
        return np.concatenate([part, part[..., places].conj()], axis=-1)

    def expanded(self, rows: Array) -> Array:
        """States of the kept entries with the conjugates of the others."""
        return self._mirrored(rows, self._pair_places)

    @property
    def expanded_read_out(self) -> Array:
        """C over both of each pair; the real part of a mode that is alone."""
        C = self.read_out
        if not self.is_half:
            return C
        paired = np.isin(np.arange(C.shape[-1]), self._pair_places)
        return self._mirrored(
            np.where(paired, 0.5 * self._modal_weight * C, C.real), self._pair_places
        )


def _complex(part: Array) -> Array:
    return np.ascontiguousarray(part, dtype=np.complex128)


# ---- from arguments ------------------------------------------------------------------------------


def realise(
    model: Any,
    *,
    step: ArrayLike | None,
    rule: Any,
    alpha: Any,
    C: ArrayLike | None,
) -> Realisation:
    """The realisation of a model, with every argument checked."""
    name, weight = rule_weight(rule, alpha)
    if name not in KERNEL_RULES:
        name_parameter(name, KERNEL_RULES, "rule")
    chosen = _joined(model) if isinstance(model, list | tuple) else model
    kind = _kind_of(chosen)
    if C is None and chosen is not model and isinstance(model[0], System):
        raise _core.InvalidArgument("C must be given for a list of System")
    steps = _steps_of(chosen, kind, step)
    read_out = _read_out_of(chosen, kind, C)
    shapes = {"model": _leading(chosen, kind)}
    if steps is not None:
        shapes["step"] = steps.shape
    if read_out is not None:
        shapes["C"] = read_out.shape[:-1]
    batch = broadcast_shapes(**shapes)
    return Realisation(
        model=_in_double(chosen, kind),
        kind=kind,
        batch=batch,
        steps=None if steps is None else few_rows(steps, batch, 0).ravel(),
        rule=name,
        alpha=weight,
        C=None if read_out is None else few_rows(read_out, batch),
        direct=all_rows(_plain(np.asarray(getattr(model, "direct", 0.0))), batch, 0),
    )


def _in_double(model: Any, kind: str) -> Any:
    """Transfer functions without feedthrough; state spaces real where nothing is complex."""
    if kind == "rational":
        return type(model)(_plain(model.b), _plain(model.a))
    if kind == "dense" and np.iscomplexobj(model.A):
        A, B, C = (_plain(part) for part in (model.A, model.B, model.C))
        if not any(np.iscomplexobj(part) for part in (A, B, C)):
            return StateSpace(A, B, C, time=model.time)
    return model


def _plain(part: Array) -> Array:
    """In double precision, without an imaginary part that is 0 throughout."""
    if np.iscomplexobj(part) and part.imag.any():
        return part.astype(np.complex128)
    return np.asarray(part.real, np.float64)


def _kind_of(model: Any) -> str:
    kinds = {System: "system", DPLR: "dplr", Diagonal: "diagonal", StateSpace: "dense"}
    for type_, kind in kinds.items():
        if isinstance(model, type_):
            return kind
    if isinstance(model, Rational):
        return "rational"
    raise _core.DtypeError(
        "model must be a System, DPLR, Diagonal, StateSpace or TransferFunction, or a list of "
        f"System, DPLR or Diagonal; got {type(model).__name__}"
    )


def _joined(models: list[Any] | tuple[Any, ...]) -> Any:
    """Models of one kind and size as one with a leading axis."""
    if not models:
        raise _core.InvalidArgument("model must not be an empty list")
    first = models[0]
    if any(type(one) is not type(first) for one in models):
        names = ", ".join(dict.fromkeys(type(one).__name__ for one in models))
        raise _core.DtypeError(f"model must be a list of models of one type, got {names}")
    if isinstance(first, System):
        return StateSpace(
            _stacked([one.A for one in models]),
            _stacked([one.B for one in models]),
            np.zeros(first.order),
            time="continuous",
        )
    if isinstance(first, DPLR):
        if len({one.half for one in models}) > 1:
            raise _core.InvalidArgument("model must be a list of models with the same half")
        values, P, Q, B = (
            _stacked([getattr(m, n) for m in models]) for n in ("eigenvalues", "P", "Q", "B")
        )
        return DPLR(values, P, Q, B, half=first.half)
    if isinstance(first, Diagonal):
        values, B = (_stacked([getattr(m, n) for m in models]) for n in ("eigenvalues", "B"))
        if any(
            one.half != first.half or (one.multiplicity != first.multiplicity).any()
            for one in models
        ):
            raise _core.InvalidArgument(
                "model must be a list of models with the same half and multiplicity (of kind 'lin' "
                "the real eigenvalue counts twice)"
            )
        C = None if any(m.C is None for m in models) else _stacked([one.C for one in models])
        return Diagonal(values, B, C, kind=first.kind, half=first.half)
    raise _core.DtypeError(
        f"model must be a list of System, DPLR or Diagonal; {type(first).__name__} has leading axes"
    )


def _stacked(parts: list[Any]) -> Array:
    shapes = {np.shape(part) for part in parts}
    if len(shapes) > 1:
        listed = ", ".join(str(shape) for shape in sorted(shapes))
        raise _core.ShapeMismatch(f"model must be a list of models of one size, got {listed}")
    return np.stack(parts)


def _steps_of(model: Any, kind: str, step: ArrayLike | None) -> Array | None:
    discrete = kind == "rational" or (kind == "dense" and model.time == "discrete")
    if discrete:
        if step is not None:
            raise _core.InvalidArgument("step must not be given for a model in discrete time")
        return None
    if step is None:
        raise _core.InvalidArgument("step must be given for a model in continuous time")
    return positive_steps(step)


def _read_out_of(model: Any, kind: str, C: ArrayLike | None) -> Array | None:
    own = None if kind == "rational" else getattr(model, "C", None)
    if C is None:
        if kind == "rational":
            return None
        if own is None:
            raise _core.InvalidArgument(f"C must be given for a {type(model).__name__} without one")
        return _plain(np.asarray(own)) if kind == "dense" else np.asarray(own)
    if kind == "rational":
        raise _core.InvalidArgument("C must not be given for a TransferFunction, whose b it is")
    rows = as_number64(C, "C")
    size = model.eigenvalues.shape[-1] if kind in ("dplr", "diagonal") else model.order
    if rows.ndim == 0 or rows.shape[-1] != size:
        raise _core.ShapeMismatch(f"C must have shape (..., {size}), got {rows.shape}")
    return rows.astype(np.complex128) if kind in ("dplr", "diagonal") else _plain(rows)


def _leading(model: Any, kind: str) -> tuple[int, ...]:
    if kind == "system":
        return ()
    if kind == "diagonal":
        return tuple(np.broadcast_shapes(model.eigenvalues.shape[:-1], model.B.shape[:-1]))
    if kind == "rational":
        return tuple(
            np.broadcast_shapes(model.b.shape[:-1], model.a.shape[:-1], np.shape(model.direct))
        )
    if kind == "dense":
        return tuple(
            np.broadcast_shapes(model.A.shape[:-2], model.B.shape[:-1], np.shape(model.direct))
        )
    return tuple(model.channels)


def as_dplr(r: Realisation) -> Realisation:
    """A system's realisation in its normal coordinates, one of each pair."""
    form = dplr(r.model, half=not r.model._is_complex)
    return replace(r, model=form, kind="dplr", C=form.transform(r.read_out))


def has_normal_form(r: Realisation) -> bool:
    """Whether :func:`as_dplr` applies, with a real read-out where the half needs one."""
    if r.kind != "system" or r.model.measure not in _NORMAL_PLUS_LOW_RANK:
        return False
    return r.model._is_complex or not np.iscomplexobj(r.read_out)


def has_product_form(r: Realisation) -> bool:
    """Whether the all-pass product applies: a cascade driven by ones, read out by real numbers."""
    if r.kind != "system" or r.model.measure not in CASCADES:
        return False
    return not (r.model.measure == "glagt" and r.model.alpha != 0.0) and r.is_real
