"""Low-rank adapters from their definitions: dense, slow, and in extended precision where it counts.

y = x W with W n×m, adapters A n×r and B r×m, and G = ∂L/∂W. Sums and products are taken in
`numpy.longdouble`; singular values come from LAPACK's dense SVD in double precision, or in 50
digits for matrices of a few entries. Nothing here is approximate on purpose: spectra are complete,
projectors are formed as matrices, steps are taken and subtracted.

Two things are searched exhaustively. The least that one Adam step of a rank-one adapter can miss
sign(G) by is found over all sign patterns of Aᵀ G and G Bᵀ: a pattern turns the problem into
non-negative least squares, because A = G⁻ᵀ(S ∘ Λ)ᵀ with Λ ≥ 0 where G is square and invertible.
Derivatives are central differences with steps of one, which are exact for quadratic functions.

Sources: Hu et al. 2021 (LoRA); Wang, Yu & Li 2024 (LoRA-GA); Meng, Wang & Zhang 2024 (PiSSA);
Büyükakyüz 2024 (OLoRA); Zhang et al. 2023 (AdaLoRA); Liu et al. 2024 (DoRA); Kalajdzievski 2023
(rsLoRA); Halko, Martinsson & Tropp 2011 (randomised range finder).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import mpmath as mp
import numpy as np
from scipy import linalg, optimize

__all__ = [
    "DIRECTIONS",
    "Card",
    "Parts",
    "Quadratic",
    "adam_infimum",
    "adam_miss",
    "alignment",
    "card",
    "changes",
    "clusters",
    "cosine",
    "derivative_of_step",
    "dora_magnitude",
    "fitted_adam_miss",
    "frobenius",
    "gradients",
    "halko",
    "kaiming_bound",
    "lora_ga",
    "merged",
    "olora",
    "orthonormal",
    "peft_lora_ga",
    "pissa",
    "precise_singular_values",
    "scale_of",
    "sgd_direction",
    "sgd_miss",
    "spectra",
    "svd",
    "tail",
    "triplet_errors",
    "truncation_residual",
    "with_spectrum",
]

Long = np.longdouble

#: The first 2r singular directions that A and B take, counted from 0.
DIRECTIONS: dict[str, Callable[[int], tuple[list[int], list[int]]]] = {
    "a-first": lambda r: (list(range(r)), list(range(r, 2 * r))),
    "b-first": lambda r: (list(range(r, 2 * r)), list(range(r))),
    "interleaved": lambda r: (list(range(1, 2 * r, 2)), list(range(0, 2 * r, 2))),
}
DIGITS = 50


def _long(value):
    return np.asarray(value, dtype=Long)


def frobenius(matrix):
    """‖M‖_F, without overflow, as a longdouble."""
    matrix = _long(matrix)
    largest = np.abs(matrix).max(initial=0)
    return largest * np.sqrt(((matrix / largest) ** 2).sum()) if largest else largest


def cosine(first, second):
    """<X, Y>/(‖X‖‖Y‖), 0 where one of them vanishes."""
    size = frobenius(first) * frobenius(second)
    return float((_long(first) * _long(second)).sum() / size) if size else 0.0


# ---------------------------------------------------------------------------------------------
# Singular values.


def orthonormal(rows, columns, seed=0):
    """Random orthonormal columns, in double precision."""
    gaussian = np.random.default_rng(seed).standard_normal((rows, columns))
    return np.linalg.qr(gaussian)[0]


def with_spectrum(sigma, n, m, seed=0, dtype=np.float64):
    """An n×m matrix with these singular values (and zeros), up to rounding to `dtype`."""
    sigma = np.asarray(sigma, float)
    left, right = orthonormal(n, sigma.size, seed), orthonormal(m, sigma.size, seed + 1)
    return ((left * sigma) @ right.T).astype(dtype)


def spectra(size):
    """Decreasing singular values of many shapes, the largest about one."""
    i = np.arange(1, size + 1)
    return {
        "flat": np.ones(size),
        "root": i**-0.5,
        "harmonic": 1.0 / i,
        "cubic": i**-3.0,
        "geometric": 0.6 ** (i - 1),
        "steps": 10.0 ** -((i - 1) // 4),
        "cliff": np.where(i <= max(1, size // 3), 1.0, 1e-9),
        "lone": np.where(i == 1, 1.0, 1e-3),
        "linear": 1 - (i - 1) / (size + 1),
        "pairs": 0.8 ** ((i - 1) // 2),
        "low rank": np.where(i <= max(1, size // 4), 1.0 / i, 0.0),
    }


def svd(matrix):
    """U, σ, Vᵀ of LAPACK in double precision, by the sign rule; any scale."""
    matrix = np.asarray(matrix, float)
    exponent = int(np.frexp(np.abs(matrix).max(initial=0.0))[1])
    U, sigma, Vh = np.linalg.svd(np.ldexp(matrix, -exponent), full_matrices=False)
    return fixed_signs(U, np.ldexp(sigma, exponent), Vh)


def fixed_signs(U, sigma, Vh):
    """The same triplets; the first of the largest entries of each column of U is positive."""
    largest = np.take_along_axis(U, np.abs(U).argmax(axis=0)[None], axis=0)[0]
    sign = np.where(largest < 0, -1.0, 1.0)
    return U * sign, sigma, Vh * sign[:, None]


def precise_singular_values(matrix):
    """Singular values in 50 digits, of a matrix of a few entries."""
    with mp.workdps(DIGITS):
        values = mp.svd_r(mp.matrix(np.asarray(matrix, float).tolist()), compute_uv=False)
        return np.array([float(v) for v in values])


def tail(sigma, rank):
    """√(Σ_{i>rank} σ_i²): what no matrix of this rank can avoid missing (Eckart & Young)."""
    return float(frobenius(np.asarray(sigma)[rank:]))


def truncation_residual(matrix, U, sigma, Vh):
    """‖M − UΣVᵀ‖_F."""
    return float(frobenius(_long(matrix) - (_long(U) * _long(sigma)) @ _long(Vh)))


def triplet_errors(matrix, U, sigma, Vh):
    """‖Mᵀu_i − σ_i v_i‖ and ‖M v_i − σ_i u_i‖ of each triplet."""
    matrix, U, sigma, V = _long(matrix), _long(U), _long(sigma), _long(Vh).T
    sides = (matrix.T @ U - V * sigma, matrix @ V - U * sigma)
    return [np.array([float(frobenius(column)) for column in side.T]) for side in sides]


def halko(matrix, rank, *, oversample, power, seed=0):
    """‖M − Q(QᵀM)_rank‖_F of the randomised range finder with power iterations."""
    matrix = np.asarray(matrix, float)
    rng = np.random.default_rng(seed)
    width = min(rank + oversample, *matrix.shape)
    Q = np.linalg.qr(matrix @ rng.standard_normal((matrix.shape[1], width)))[0]
    for _ in range(power):
        Q = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ Q)[0])[0]
    U, sigma, Vh = np.linalg.svd(Q.T @ matrix, full_matrices=False)
    return float(np.linalg.norm(matrix - (Q @ U[:, :rank] * sigma[:rank]) @ Vh[:rank]))


def clusters(sigma, count, gap):
    """Index ranges of the first `count` values that belong together: neighbours within `gap`."""
    sigma = np.asarray(sigma)
    starts = [0, *(i for i in range(1, sigma.size) if sigma[i - 1] - sigma[i] > gap), sigma.size]
    return [range(a, b) for a, b in itertools.pairwise(starts) if b <= count]


# ---------------------------------------------------------------------------------------------
# The parametrisations.


@dataclass(frozen=True)
class Parts:
    """An adapter's numbers: merged weight W₀ + offset + s·A diag(Λ) B, or DoRA's scaling of it."""

    A: np.ndarray
    B: np.ndarray
    s: float = 1.0
    offset: np.ndarray | float = 0.0
    importance: np.ndarray | None = None
    magnitude: np.ndarray | None = None

    @property
    def trained(self):
        """What an optimiser moves, by name."""
        named = {"A": self.A, "B": self.B}
        named |= {} if self.importance is None else {"importance": self.importance}
        return named | ({} if self.magnitude is None else {"magnitude": self.magnitude})

    def moved(self, **parameters):
        constants = {"s": self.s, "offset": self.offset}
        return Parts(**(constants | self.trained | parameters))


def direction(weight, parts):
    """V = W₀ + offset + s·A diag(Λ) B."""
    A = _long(parts.A) if parts.importance is None else _long(parts.A) * _long(parts.importance)
    return _long(weight) + _long(parts.offset) + Long(parts.s) * (A @ _long(parts.B))


def column_norms(matrix):
    return np.sqrt((_long(matrix) ** 2).sum(axis=0))


dora_magnitude = column_norms


def merged(weight, parts, norms=None):
    """What the model computes with; DoRA divides by the column norms of V, or by those given."""
    V = direction(weight, parts)
    if parts.magnitude is None:
        return V
    return V * (_long(parts.magnitude) / (column_norms(V) if norms is None else norms))


@dataclass(frozen=True)
class Quadratic:
    """L(W) = ½‖X W − Y‖² + <C, W>, a loss whose gradient is known."""

    X: np.ndarray
    Y: np.ndarray
    C: np.ndarray

    @classmethod
    def random(cls, n, m, seed=0, samples=5):
        rng = np.random.default_rng(seed)
        return cls(*(rng.standard_normal(shape) for shape in ((samples, n), (samples, m), (n, m))))

    def __call__(self, W):
        miss_of_data = _long(self.X) @ _long(W) - _long(self.Y)
        return (miss_of_data**2).sum() / 2 + (_long(self.C) * _long(W)).sum()

    def gradient(self, W):
        return _long(self.X).T @ (_long(self.X) @ _long(W) - _long(self.Y)) + _long(self.C)


def slopes(function, value):
    """Central differences with steps of one: exact where the function is quadratic in an entry."""
    value = _long(value)
    result = np.empty_like(value)
    for place in np.ndindex(value.shape):
        step = np.zeros_like(value)
        step[place] = 1
        result[place] = (function(value + step) - function(value - step)) / 2
    return result


def gradients(loss, weight, parts):
    """∂L/∂parameter by differences; DoRA's column norms are constants, as its authors train it."""
    norms = column_norms(direction(weight, parts))
    return {
        name: slopes(lambda v, name=name: loss(merged(weight, parts.moved(**{name: v}), norms)), x)
        for name, x in parts.trained.items()
    }


OPTIMIZERS = {"sgd": lambda g: g, "adam": np.sign}


def _step(G, weight, parts, optimizer):
    """The direction in which each parameter goes: −gradient, or its sign; dL = <G, dW>."""
    slope = gradients(lambda W: (_long(G) * W).sum(), weight, parts)
    return {name: -OPTIMIZERS[optimizer](g) for name, g in slope.items()}


def changes(G, weight, parts, optimizer, learning_rate):
    """The merged weight after one step of this size less the one before."""
    step = _step(G, weight, parts, optimizer)
    after = parts.moved(**{k: _long(v) + learning_rate * step[k] for k, v in parts.trained.items()})
    return merged(weight, after) - merged(weight, parts)


def derivative_of_step(G, weight, parts, optimizer):
    """The change of the merged weight per learning rate, where that is small: term by term."""
    step = _step(G, weight, parts, optimizer)
    A, B = _long(parts.A), _long(parts.B)
    weights = _long(np.ones(A.shape[1])) if parts.importance is None else _long(parts.importance)
    dV = Long(parts.s) * ((step["A"] * weights) @ B + (A * weights) @ step["B"])
    if parts.importance is not None:
        dV = dV + Long(parts.s) * ((A * step["importance"]) @ B)
    if parts.magnitude is None:
        return dV
    V = direction(weight, parts)
    norms, magnitude = column_norms(V), _long(parts.magnitude)
    along = (V * dV).sum(axis=0) / norms**2  # d log‖V‖
    return (V * step["magnitude"] + magnitude * (dV - V * along)) / norms


# ---------------------------------------------------------------------------------------------
# The initialisations that a formula determines.


def directions(name, rank):
    """Which of the first 2·rank singular directions A and B take."""
    return DIRECTIONS[name](rank)


def scale_of(name, *, m, s, gamma=16.0, weight_sigma=None, rank=None):
    """The factor c that A and B carry in LoRA-GA."""
    if name == "weight":
        return float(np.mean(np.sqrt(np.asarray(weight_sigma)[:rank] / s)))
    return {"stable": m**0.25 / gamma**0.5, "unit": 1.0, "gd": 1 / s}[name]


def lora_ga(G, rank, name="a-first", c=1.0):
    """A = U[:, I]·c and B = V[:, J]ᵀ·c."""
    U, _, Vh = svd(G)
    left, right = directions(name, rank)
    return U[:, left] * c, Vh[right] * c


def peft_lora_ga(G, rank, *, gamma=16.0):
    """What PEFT 0.21 makes of it ("ArB2r", "stable"): B alone carries c and singular values."""
    U, sigma, Vh = svd(G)
    c = G.shape[1] ** 0.25 / gamma**0.5
    return U[:, :rank], c * sigma[rank : 2 * rank, None] * Vh[rank : 2 * rank]


def pissa(W, rank, s):
    """A = U√(Σ/s) and B = √(Σ/s)Vᵀ, so that s·A B is the best approximation of W."""
    U, sigma, Vh = (part[..., :rank] if i < 2 else part[:rank] for i, part in enumerate(svd(W)))
    root = np.sqrt(sigma / s)
    return U * root, root[:, None] * Vh


def olora(W, rank):
    """QR of PyTorch's weight Wᵀ with a non-negative diagonal: A = R[:r]ᵀ and B = Q[:, :r]ᵀ."""
    Q, R = np.linalg.qr(np.asarray(W, float).T)
    sign = np.where(np.diagonal(R) < 0, -1.0, 1.0)
    return (R * sign[:, None])[:rank].T, (Q * sign)[:, :rank].T


def kaiming_bound(n):
    """The uniform distribution of kaiming_uniform_ with a = √5: gain √(2/6), bound gain·√(3/n)."""
    return np.sqrt(2 / (1 + 5)) * np.sqrt(3 / n)


# ---------------------------------------------------------------------------------------------
# How far one step is from the full one.


def sgd_direction(G, A, B):
    """A Aᵀ G + G Bᵀ B."""
    G, A, B = _long(G), _long(A), _long(B)
    return A @ (A.T @ G) + (G @ B.T) @ B


def adam_terms(G, A, B):
    """A sign(Aᵀ G) and sign(G Bᵀ) B."""
    G, A, B = _long(G), _long(A), _long(B)
    return A @ np.sign(A.T @ G), np.sign(G @ B.T) @ B


def miss(direction_of_step, target):
    return float(frobenius(_long(direction_of_step) - _long(target)))


def sgd_miss(G, A, B):
    """‖A Aᵀ G + G Bᵀ B − G‖_F."""
    return miss(sgd_direction(G, A, B), G)


def adam_miss(G, A, B):
    """‖A sign(Aᵀ G) + sign(G Bᵀ) B − sign(G)‖_F."""
    return miss(sum(adam_terms(G, A, B)), np.sign(G))


def fitted_adam_miss(G, A, B):
    """The same with the best positive factor on A and on B: their scales are free."""
    terms = np.stack([np.asarray(t, float).ravel() for t in adam_terms(G, A, B)], axis=1)
    return float(optimize.nnls(terms, np.sign(np.asarray(G, float)).ravel())[1])


def adam_infimum(G):
    """The infimum of `adam_miss` over all A n×1 and B 1×n, G n×n and invertible."""
    inverse = np.linalg.inv(np.asarray(G, float))
    n = len(inverse)
    target = np.sign(np.asarray(G, float)).ravel()
    half = [p for p in itertools.product((1, 0, -1), repeat=n) if p >= tuple(-v for v in p)]
    # Given p = sign(Aᵀ G) and q = sign(G Bᵀ): A = G⁻ᵀ(p∘λ), B = (G⁻¹(q∘μ))ᵀ; linear in λ, μ ≥ 0.
    by_a = [np.einsum("ki,k,j->ijk", inverse, p, p).reshape(n * n, n) for p in half]
    by_b = [np.einsum("i,jk,k->ijk", q, inverse, q).reshape(n * n, n) for q in half]
    return min(optimize.nnls(np.hstack(pair), target)[1] for pair in itertools.product(by_a, by_b))


# ---------------------------------------------------------------------------------------------
# The report card.


@dataclass(frozen=True)
class Card:
    """Every number of an alignment."""

    cosine: float
    captured: float
    residual: float
    optimum: float
    excess: float
    effective_scale: float
    angles_left: np.ndarray
    angles_right: np.ndarray
    spectrum: np.ndarray = field(repr=False)


def _basis(columns):
    """Orthonormal columns that span the same, as many as the rank in the columns' precision."""
    eps = np.finfo(columns.dtype).eps
    columns = columns.astype(float)
    if not columns.any():
        return columns[:, :0]
    return linalg.orth(columns, rcond=max(columns.shape) * eps)


def _angles(columns, space):
    """Principal angles in ascending order, small ones by their sines; none without a subspace."""
    if columns.shape[1] == 0:
        return np.zeros(0)
    inside = space.T @ columns
    cosines = np.sort(linalg.svdvals(inside))[::-1]
    sines = np.sort(linalg.svdvals(columns - space @ inside))
    return np.arctan2(sines[: cosines.size], cosines)


def _slopes(weight, parts):
    """∂W/∂θ for every number θ that is trained, as columns: steps into the complex plane."""
    weight = np.broadcast_to(np.asarray(weight, float), (len(parts.A), parts.B.shape[1]))

    def merged_of(named):
        A = named["A"] if parts.importance is None else named["A"] * named["importance"]
        V = weight + np.asarray(parts.offset, float) + float(parts.s) * (A @ named["B"])
        return (
            V if parts.magnitude is None else V * named["magnitude"] / np.sqrt((V**2).sum(axis=0))
        )

    slopes, step = [], 1e-200
    for name, values in parts.trained.items():
        for place in np.ndindex(np.shape(values)):
            named = {k: np.asarray(v, float).astype(complex) for k, v in parts.trained.items()}
            named[name][place] += 1j * step
            slopes.append(merged_of(named).imag.ravel() / step)
    return np.array(slopes).T


def captured(F, weight, parts):
    """The share of ‖F‖² that small changes of all parameters together can have."""
    basis, sizes, _ = np.linalg.svd(_slopes(weight, parts), full_matrices=False)
    kind = np.asarray(parts.A).dtype
    eps = np.finfo(kind if kind.kind == "f" else float).eps
    reach = basis[:, sizes > 100 * eps * F.size * sizes[0]]
    return float((reach.T @ F.ravel() @ (reach.T @ F.ravel())) / (F**2).sum())


def card(G, D, parts, optimizer="sgd", weight=0.0):
    """How a step D, made by an adapter, follows F = −G or −sign(G)."""
    A, B = np.asarray(parts.A), np.asarray(parts.B)
    F = -OPTIMIZERS[optimizer](np.asarray(G, float))
    rank = A.shape[1]
    U, sigma, Vh = svd(F)
    size = frobenius(F)
    left, right = _basis(A), _basis(B.T)
    inner = (_long(D) * _long(F)).sum()
    best = inner / frobenius(D) ** 2 if frobenius(D) else Long(0)
    residual = frobenius(best * _long(D) - _long(F)) / size
    optimum = Long(tail(sigma, 2 * rank)) / size
    return Card(
        cosine=cosine(D, F),
        captured=captured(F, weight, parts),
        residual=float(residual),
        optimum=float(optimum),
        excess=float(residual / optimum) if optimum else np.inf,
        effective_scale=float(inner / size**2),
        angles_left=_angles(left, U[:, : 2 * rank]),
        angles_right=_angles(right, Vh[: 2 * rank].T),
        spectrum=sigma,
    )


def alignment(G, parts, optimizer="sgd", weight=0.0):
    """The card of an adapter's first step."""
    D = derivative_of_step(G, np.broadcast_to(weight, np.shape(G)), parts, optimizer)
    return card(G, D, parts, optimizer, weight)
