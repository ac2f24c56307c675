"""Hankel singular values, balanced realisations, and models of lower order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, ReadOnlyFields, integer_parameter, name_parameter
from resolvent._html import table
from resolvent.hippo import System
from resolvent.rational._convert import one_by_one
from resolvent.rational._lattice import lattice
from resolvent.rational._loss import scalar_or_array
from resolvent.rational._polynomial import EPS
from resolvent.rational._transfer import TransferFunction
from resolvent.ssm import StateSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What can be reduced; a System needs a read-out C.
Model: TypeAlias = StateSpace | TransferFunction | System

Reduction = Literal["truncate", "match-dc"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)

#: Steps h that are tried for the Cayley map.
_STEPS = 64

#: Doublings after which a stable matrix's powers must have vanished: 2^64 of them.
_DOUBLINGS = 64


@dataclass(frozen=True, eq=False)
class Balanced(ReadOnlyFields):
    """A model in coordinates in which both Gramians are diag(σ); from :func:`balance`.

    Attributes
    ----------
    state_space : StateSpace
        (T⁻¹AT, T⁻¹B, CT), the states by σ descending.
    singular_values : ndarray, shape (..., N)
        The Hankel singular values σ.
    T, T_inverse : ndarray, shape (..., N, N)
        x_given = T x_balanced; of a TransferFunction the given state is that of its companion form.
    """

    state_space: StateSpace
    singular_values: Array
    T: Array
    T_inverse: Array

    def __repr__(self) -> str:
        return f"Balanced({self.state_space!r})"

    def _repr_html_(self) -> str:
        return table("Balanced model", _shown(self.state_space, self.singular_values))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the Hankel singular values; returns the axes."""
        from resolvent.plot.rational import plot_singular_values

        return plot_singular_values(self, ax)


@dataclass(frozen=True, eq=False)
class Reduced(ReadOnlyFields):
    """A model of lower order; from :func:`reduce`.

    Attributes
    ----------
    state_space : StateSpace
        Of the order asked for, balanced.
    singular_values : ndarray, shape (..., N)
        All Hankel singular values of the given model.
    error_bound : float, or ndarray over channels
        Twice the sum of those left out: no less than the largest \\|G − G_reduced\\| over all
        frequencies, and than the gain in energy of the error.
    """

    state_space: StateSpace
    singular_values: Array
    error_bound: float | Array

    def __repr__(self) -> str:
        bound = float(np.max(self.error_bound, initial=0.0))
        return f"Reduced({self.state_space!r}, error_bound={bound:.3g})"

    def _repr_html_(self) -> str:
        bound = ("error bound", f"{np.max(self.error_bound, initial=0.0):.4g}")
        return table("Reduced model", [*_shown(self.state_space, self.singular_values), bound])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the Hankel singular values, kept and left out; returns the axes."""
        from resolvent.plot.rational import plot_singular_values

        return plot_singular_values(self, ax)


def _shown(model: StateSpace, singular_values: Array) -> list[tuple[str, str]]:
    largest = np.max(singular_values, initial=0.0)
    smallest = np.min(singular_values, initial=largest)
    return [
        ("time", model.time),
        ("order", str(model.order)),
        ("channels", str(model.channels)),
        ("Hankel singular values", f"{largest:.4g} … {smallest:.4g}"),
    ]


# ---- the public functions ----------------------------------------------------------------------


def hankel_singular_values(model: Model, *, C: ArrayLike | None = None) -> Array:
    """How much each state of the balanced model takes part, from inputs past to outputs to come.

    Parameters
    ----------
    model : StateSpace, TransferFunction or System
        Stable, discrete or continuous. A System is read as x' = A x + B u.
    C : array_like, shape (..., N), optional
        The read-out of a System.

    Returns
    -------
    ndarray, shape (..., N)
        Descending: the singular values of L_o* L_c, where P = L_c L_c* and Q = L_o L_o* are the
        Gramians. For discrete models also those of the Hankel matrix K_{i+j}. Absolute error about
        N eps σ_1 times the condition of the factors.

    Raises
    ------
    InvalidArgument
        For unstable models, naming the largest pole.

    Notes
    -----
    The factors, not the Gramians, come from the squared Smith iteration L ← [L, A L], A ← A²,
    compressed to N columns by QR: values are right down to eps σ_1 where the Gramians themselves
    would lose all below √eps σ_1. Continuous models pass through the Cayley map
    Ā = (I − hA/2)⁻¹(I + hA/2), B̄ = √h (I − hA/2)⁻¹B, C̄ = √h C(I − hA/2)⁻¹, which keeps both
    Gramians, with the h that damps the slowest pole best. Transfer functions are realised as a
    normalised lattice, in which P = I and ‖A‖ ≤ 1, however ill-conditioned the companion form is.
    O(N³ log(1/(1 − ρ))).

    References
    ----------
    Smith, "Matrix Equation XA + BX = C", SIAM J. Appl. Math. 16, 1968. Tombs, Postlethwaite,
    "Truncated Balanced Realization of a Stable Non-Minimal State-Space System", Int. J. Control 46,
    1987.

    Examples
    --------
    >>> import numpy as np, resolvent as rv, resolvent.rational as rational
    >>> all_pass = rv.hippo.system("malmquist", 3, poles=(1.0, 2.0, 4.0))
    >>> rational.hankel_singular_values(all_pass, C=all_pass.B).round(12)
    array([1., 1., 1.])
    """
    given = _stable(model, C)[0]
    values = np.empty((*given.channels, given.order))
    for channel, parts in one_by_one(given):
        values[channel] = _factors(*parts[:3], given.time).singular_values
    return values


def balance(model: Model, *, C: ArrayLike | None = None) -> Balanced:
    """The balanced realisation, by the square-root method.

    Parameters
    ----------
    model : StateSpace, TransferFunction or System
        Stable, discrete or continuous.
    C : array_like, shape (..., N), optional
        The read-out of a System.

    Returns
    -------
    Balanced
        T = L_c V Σ^{−½}, T⁻¹ = Σ^{−½} U* L_o* from L_o* L_c = U Σ V*. Both Gramians of the result
        are diag(σ), to about eps σ_1/σ_N.

    Raises
    ------
    InvalidArgument
        For unstable models, and those whose smallest σ is below rounding: there is no balanced
        realisation of order N. :func:`reduce` takes them.

    Examples
    --------
    >>> import resolvent as rv, resolvent.rational as rational
    >>> model = rv.ssm.StateSpace([[0.5, 1.0], [0.0, 0.25]], [1.0, 1.0], [1.0, 0.0])
    >>> b = rational.balance(model)
    >>> bool(abs(b.T @ b.T_inverse - [[1, 0], [0, 1]]).max() < 1e-14)
    True
    """
    given, coordinates = _stable(model, C)
    made = balanced(given)
    if made is None:
        raise _core.InvalidArgument(
            f"model must be minimal, but its smallest Hankel singular value is below rounding: no "
            f"balanced realisation of order {given.order} exists; reduce() finds smaller ones"
        )
    if coordinates is None:
        return made
    T = np.linalg.solve(coordinates, made.T)
    return Balanced(made.state_space, made.singular_values, T, made.T_inverse @ coordinates)


def reduce(
    model: Model, order: int, method: Reduction = "truncate", *, C: ArrayLike | None = None
) -> Reduced:
    """A model of lower order whose error is bounded.

    Parameters
    ----------
    model : StateSpace, TransferFunction or System
        Stable, discrete or continuous; minimal or not.
    order : int
        From 1 to N.
    method : {"truncate", "match-dc"}
        "truncate" keeps the first states of the balanced model: exact at high frequencies.
        "match-dc" takes the others as settled (singular perturbation): exact at frequency 0.
    C : array_like, shape (..., N), optional
        The read-out of a System.

    Returns
    -------
    Reduced
        Stable, of the order asked for; states beyond those above rounding are 0. "match-dc" changes
        direct.

    Raises
    ------
    InvalidArgument
        For unstable models, and where "match-dc" of a discrete model has a pole at 0.

    Notes
    -----
    The bound is 2 Σ σ over the states left out, each counted as often as it occurs. A discrete
    model reads its output after the update; "match-dc" therefore balances y = (CA) x_k + (CB +
    direct) u_k, whose σ are smaller, so that the bound holds, and goes back by C_r ← C_r A_r⁻¹.

    References
    ----------
    Enns 1984; Glover, "All Optimal Hankel-Norm Approximations of Linear Multivariable Systems and
    their L∞-Error Bounds", Int. J. Control 39, 1984. Liu, Anderson, "Singular Perturbation
    Approximation of Balanced Systems", Int. J. Control 50, 1989.

    Examples
    --------
    >>> import numpy as np, resolvent as rv, resolvent.rational as rational
    >>> legs = rv.hippo.system("legs", 16)
    >>> small = rational.reduce(legs, 6, C=np.ones(16))
    >>> small
    Reduced(StateSpace(continuous, order=6), error_bound=0.875)
    """
    given = _stable(model, C)[0]
    count = integer_parameter(order, "order")
    if not 1 <= count <= given.order:
        raise _core.InvalidArgument(f"order must lie between 1 and {given.order}, got {count}")
    name = name_parameter(method, REDUCTIONS, "method")
    batch = given.channels
    values = np.empty((*batch, given.order))
    kind = given.A.dtype
    A, B, C_ = (np.zeros((*batch, *shape), kind) for shape in ((count, count), (count,), (count,)))
    direct = np.empty(batch, kind)
    for channel, parts in one_by_one(given):
        factors = _factors(*parts[:3], given.time)
        values[channel] = factors.singular_values
        small = (_truncated if name == "truncate" else _settled)(*parts, factors, count, given.time)
        size = small[0].shape[0]
        A[channel][:size, :size], B[channel][:size], C_[channel][:size] = small[:3]
        direct[channel] = small[3]
    bound = 2.0 * values[..., count:].sum(axis=-1)
    return Reduced(StateSpace(A, B, C_, direct, time=given.time), values, scalar_or_array(bound))


def _stable(model: Model, C: ArrayLike | None) -> tuple[StateSpace, Array | None]:
    """The model as matrices; of a TransferFunction its lattice, with R."""
    if C is not None and not isinstance(model, System):
        raise _core.InvalidArgument("C must not be given beside a model that has one")
    if isinstance(model, TransferFunction):
        if not np.all(model.is_stable()):
            _refuse_unstable(model.poles(), "discrete")
        return lattice(model)
    if isinstance(model, System):
        if C is None:
            raise _core.InvalidArgument("C must be given for a System, which has no read-out")
        model = StateSpace(model.A, model.B, C, time="continuous")  # type: ignore[arg-type]
    if not isinstance(model, StateSpace):
        raise _core.DtypeError(
            f"model must be a StateSpace, TransferFunction or System, got {type(model).__name__}"
        )
    if not model.is_stable():
        _refuse_unstable(model.poles(), model.time)
    return model, None


def _refuse_unstable(poles: Array, time: str) -> NoReturn:
    if time == "discrete":
        largest = np.abs(poles).max()
        raise _core.InvalidArgument(
            f"model must be stable, but its largest |pole| is {largest:.6g}, not below 1"
        )
    rightmost = poles.ravel()[poles.real.argmax()]
    raise _core.InvalidArgument(
        f"model must be stable, but its rightmost pole is {rightmost:.6g}, not left of the axis"
    )


# ---- Gramians ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Factors:
    """L_c and L_o with P = L_c L_c*, Q = L_o L_o*, and the SVD U Σ V* of L_o* L_c."""

    controllability: Array
    observability: Array
    U: Array
    singular_values: Array
    V: Array

    @property
    def rank(self) -> int:
        """How many singular values are above rounding."""
        sigma = self.singular_values
        return int(np.count_nonzero(sigma > sigma.size * EPS * sigma[0]))

    def projections(self, count: int) -> tuple[Array, Array]:
        """T = L_c V Σ^{−½} and W* = Σ^{−½} U* L_o* of the first states; W* T = I."""
        root = np.sqrt(self.singular_values[:count])
        T = (self.controllability @ self.V[:, :count]) / root
        W = (self.observability @ self.U[:, :count]) / root
        return T, W.conj().T

    def shifted(self, A: Array) -> _Factors:
        """Those of the read-out C A."""
        return _from_factors(self.controllability, A.conj().T @ self.observability)


def _factors(A: Array, B: Array, C: Array, time: str) -> _Factors:
    if time == "continuous":
        A, B, C = _cayley(A, B, C)
    return _from_factors(_smith(A, B), _smith(A.conj().T, C.conj()))


def _from_factors(controllability: Array, observability: Array) -> _Factors:
    """Both (N, N): fewer columns are filled up by zeros."""
    U, sigma, Vh = np.linalg.svd(observability.conj().T @ controllability)
    return _Factors(controllability, observability, U, sigma, Vh.conj().T)


def _smith(A: Array, B: Array) -> Array:
    """L with L L* = Σ_k Aᵏ B B* A*ᵏ, (N, N), by doubling: L ← [L, A L], A ← A²."""
    order = A.shape[0]
    factor = B[:, np.newaxis]
    for _ in range(_DOUBLINGS):
        factor = _compressed(np.concatenate([factor, A @ factor], axis=1))
        with np.errstate(over="ignore", invalid="ignore"):
            A = A @ A
            size = np.linalg.norm(A)
        if size <= EPS:
            padding = np.zeros((order, order - factor.shape[1]), factor.dtype)
            return np.concatenate([factor, padding], axis=1)
        if not np.isfinite(size):
            break
    raise _core.NotConverged(
        "the Gramians did not converge: the powers of A do not decay, though its computed "
        "eigenvalues are stable"
    )


def _compressed(factor: Array) -> Array:
    """At most N columns with the same L L*."""
    if factor.shape[1] <= factor.shape[0]:
        return factor
    lower: Array = np.linalg.qr(factor.conj().T)[1].conj().T
    return lower


def _cayley(A: Array, B: Array, C: Array) -> tuple[Array, Array, Array]:
    """The discrete model with the same Gramians; h from the spectrum."""
    poles = StateSpace(A, B, C, time="continuous").poles()
    modulus = np.abs(poles)
    steps = np.geomspace(2.0 / modulus.max(), 2.0 / modulus.min(), _STEPS)[:, np.newaxis]
    radius = np.abs((1.0 + 0.5 * steps * poles) / (1.0 - 0.5 * steps * poles)).max(axis=-1)
    h = steps[radius.argmin(), 0]
    half = 0.5 * h * A
    one = np.eye(A.shape[0])
    moved = np.linalg.solve(one - half, np.column_stack([one + half, np.sqrt(h) * B]))
    read = np.linalg.solve((one - half).T, np.sqrt(h) * C)
    return moved[:, :-1], moved[:, -1], read


# ---- reduction ---------------------------------------------------------------------------------

_Parts: TypeAlias = tuple[Array, Array, Array, Any]


def balanced(model: StateSpace) -> Balanced | None:
    """Of a stable model; None where a channel is not minimal to rounding."""
    batch, order, kind = model.channels, model.order, model.A.dtype
    values = np.empty((*batch, order))
    T, inverse, A = (np.empty((*batch, order, order), kind) for _ in range(3))
    B, C = (np.empty((*batch, order), kind) for _ in range(2))
    for channel, parts in one_by_one(model):
        factors = _factors(*parts[:3], model.time)
        if factors.rank < order:
            return None
        values[channel] = factors.singular_values
        T[channel], inverse[channel] = factors.projections(order)
        A[channel], B[channel], C[channel] = _projected(*parts[:3], factors, order)
    made = StateSpace(A, B, C, model.direct, time=model.time)
    return Balanced(made, values, T, inverse)


def _projected(
    A: Array, B: Array, C: Array, factors: _Factors, count: int
) -> tuple[Array, Array, Array]:
    T, W = factors.projections(count)
    return W @ A @ T, W @ B, C @ T


def _truncated(
    A: Array, B: Array, C: Array, direct: Array, factors: _Factors, count: int, time: str
) -> _Parts:
    """The first balanced states, as many of them as are above rounding."""
    return (*_projected(A, B, C, factors, min(count, factors.rank)), direct)


def _settled(
    A: Array, B: Array, C: Array, direct: Array, factors: _Factors, count: int, time: str
) -> _Parts:
    """The other balanced states at the values where they would stay."""
    if time == "discrete":
        factors, C, direct = factors.shifted(A), C @ A, C @ B + direct
    rank = factors.rank
    keep = min(count, rank)
    A, B, C = _projected(A, B, C, factors, rank)
    rest = A[keep:, keep:] - (np.eye(rank - keep) if time == "discrete" else 0.0)
    gone = np.linalg.solve(rest, np.column_stack([A[keep:, :keep], B[keep:]]))
    reduced_A = A[:keep, :keep] - A[:keep, keep:] @ gone[:, :-1]
    reduced_B = B[:keep] - A[:keep, keep:] @ gone[:, -1]
    reduced_C = C[:keep] - C[keep:] @ gone[:, :-1]
    direct = direct - C[keep:] @ gone[:, -1]
    if time == "discrete":
        reduced_C = _read_after(reduced_A, reduced_C)
        direct = direct - reduced_C @ reduced_B
    return reduced_A, reduced_B, reduced_C, direct


def _read_after(A: Array, C: Array) -> Array:
    """C A⁻¹, which reads after the update what C reads before."""
    if A.size and np.linalg.cond(A) * EPS > np.sqrt(EPS):
        raise _core.InvalidArgument(
            'method "match-dc" gives a model with a pole at 0, which cannot be read after the '
            'update; take another order, or "truncate"'
        )
    result: Array = np.linalg.solve(A.T, C)
    return result
