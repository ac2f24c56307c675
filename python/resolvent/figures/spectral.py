"""The figures of the spectral structure, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from resolvent import hippo, spectral
from resolvent._arrays import Array
from resolvent.figures._registry import figure, new_figure
from resolvent.hippo import System
from resolvent.plot.spectral import plot_pseudospectrum, plot_step_response
from resolvent.plot.style import measure_color, measure_label, muted

__all__ = [
    "Clipping",
    "Conditions",
    "EigenvalueErrors",
    "PhaseRoots",
    "Poles",
    "Scatter",
    "clipped_input",
    "clipping",
    "conditioning",
    "eigenvalue_errors",
    "eigenvector_conditions",
    "pade",
    "pade_poles",
    "perturbed_eigenvalues",
    "phase",
    "phase_roots",
    "pseudospectra",
    "relative_pseudospectra",
    "s4_eigenvalues",
]

_EPS = float(np.finfo(np.float64).eps)


def _skew_part(system: System) -> Array:
    """K of A = shift + K − ½ b bᵀ: LegS's A with its rank one and its shift taken away."""
    dense = system.A + 0.5 * np.outer(system.B, system.B) + 0.5 * np.eye(system.order)
    return np.asarray(0.5 * (dense - dense.T))


# ---- S4's eigenvalues ---------------------------------------------------------------------------

_KINDS = ("lin", "inv", "quad")


@dataclass(frozen=True)
class EigenvalueErrors:
    """Relative errors of LegS's frequencies μ > 0; from :func:`eigenvalue_errors`.

    Attributes
    ----------
    order : int
    mu : ndarray
        The frequencies, ascending; of many some.
    approximations : dict of ndarray
        By kind of S4D: the relative error at each `mu`, frequencies paired by rank.
    dense : ndarray or None
        That of ``numpy.linalg.eigvalsh``; None where it was not run.
    checked, exact : ndarray
        At a few frequencies: the relative error that the phase equation itself, summed in
        extended precision, finds.
    """

    order: int
    mu: Array
    approximations: dict[str, Array]
    dense: Array | None
    checked: Array
    exact: Array


def eigenvalue_errors(
    order: int, *, dense: bool = True, points: int = 200, checks: int = 8
) -> EigenvalueErrors:
    """LegS's exact frequencies against a dense solver's and those of S4D; the order is even."""
    system = hippo.system("legs", order)
    mu = spectral.normal_spectrum(system).mu[: order // 2][::-1]
    shown = _spread(order // 2, points)
    approximations = {
        kind: np.sort(spectral.diagonal(order, kind, half=True).eigenvalues.imag)  # type: ignore[arg-type]
        for kind in _KINDS
    }
    computed = np.linalg.eigvalsh(-1j * _skew_part(system))[-len(mu) :] if dense else None
    few = _spread(order // 2, checks)
    return EigenvalueErrors(
        order,
        mu[shown],
        {kind: np.abs(a - mu)[shown] / mu[shown] for kind, a in approximations.items()},
        None if computed is None else np.abs(computed - mu)[shown] / mu[shown],
        mu[few],
        np.array([_phase_residual(system, float(mu[i]), int(i)) for i in few]),
    )


def _spread(count: int, points: int) -> Array:
    """Ranks 0 … count − 1, at most `points`, dense at both ends."""
    half = np.geomspace(1.0, max(count / 2.0, 1.0), max(points // 2, 1)).astype(np.intp) - 1
    return np.unique(np.concatenate([half, count - 1 - half]).clip(0, count - 1))


def _phase_residual(system: System, mu: float, rank: int) -> float:
    """Relative error of the root of this rank above 0, by N arctangents in extended precision.

    Φ(μ) = Σ 2 arctan(μ/p_k) where it is below Nπ/2, else Nπ − Φ(μ) = Σ 2 arctan(p_k/μ): a sum
    of few. The residual over Φ'(μ) μ is the relative error of μ.
    """
    order = system.order
    poles = np.arange(order).astype(np.longdouble) + np.longdouble(0.5)
    pi = 4.0 * np.arctan(np.longdouble(1.0))
    place = np.longdouble(mu)
    above = 2 * rank + 1  # Φ(μ) = above · π, for even order
    if 2 * above < order:
        residual = 2.0 * np.sum(np.arctan(place / poles)) - above * pi
    else:
        residual = (order - above) * pi - 2.0 * np.sum(np.arctan(poles / place))
    slope = float(spectral.phase(system, mu, derivative=True))
    return float(np.abs(residual)) / (slope * mu)


@figure(
    "spectral-s4-eigenvalues",
    "The eigenvalues of S4, exactly",
    "Relative error of each eigenvalue of LegS's normal part. S4D-Inv and -Quad come close at the "
    "fast end only, S4D-Lin at neither. At N = 1024 a dense solver (numpy's eigvalsh) loses four "
    "digits of the slow eigenvalues; a million is beyond it. The phase equation has them all.",
)
def s4_eigenvalues(
    *, orders: Sequence[int] = (64, 1024, 10**6), dense_up_to: int = 1024, points: int = 160
) -> Figure:
    """Errors of S4D, of a dense solver and of the phase equation at several orders."""
    made = new_figure(9.6, 4.4)
    panels = made.subplots(1, len(orders), sharey=True)
    for ax, order in zip(panels, orders, strict=True):
        found = eigenvalue_errors(order, dense=order <= dense_up_to, points=points)
        _draw_errors(ax, found)
        ax.set_title(f"N = {_thousands(order)}")
    panels[0].set_ylabel("relative error")
    panels[0].set_yticks(10.0 ** np.arange(-18.0, 7.0, 3.0))
    handles, labels = panels[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return made


def _draw_errors(ax: Axes, found: EigenvalueErrors) -> None:
    for kind, color, style in zip(_KINDS, ("C3", muted(0.75), "C2"), ("--", "-", ":"), strict=True):
        error = np.maximum(found.approximations[kind], _EPS)
        ax.plot(found.mu, error, style, color=color, linewidth=2.0, label=f"S4D-{kind.title()}")
    if found.dense is not None:
        error = np.maximum(found.dense, 0.1 * _EPS)
        ax.plot(found.mu, error, ".", color="C1", markersize=4, label="dense solver")
    else:
        ax.text(
            0.5, 0.45, "no dense solver\ncomes this far", transform=ax.transAxes, color="C1",
            ha="center", va="center",
        )  # fmt: skip
        ax.annotate(
            "rounding", (0.5, 0.5 * _EPS), xycoords=("axes fraction", "data"), xytext=(0, 9),
            textcoords="offset points", fontsize=9, color=muted(0.8), ha="center",
        )  # fmt: skip
    ax.plot(found.checked, found.exact, "D", color="C0", markersize=5, label="phase equation")
    ax.axhline(0.5 * _EPS, color=muted(0.8), linewidth=1.0, linestyle=(0, (4, 3)))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(1e-19, 1e7)
    ax.set_xlabel("eigenvalue Im λ = μ")


def _thousands(order: int) -> str:
    power = round(np.log10(order))
    return f"$\\mathbf{{10^{power}}}$" if order >= 10**4 and order == 10**power else str(order)


# ---- the phase function -------------------------------------------------------------------------


@dataclass(frozen=True)
class PhaseRoots:
    """Φ over the frequencies, and where it is an odd (even) multiple of π; from `phase_roots`."""

    mu: Array
    phase: Array
    roots: Array
    levels: Array
    weights: Array


def phase_roots(*, measure: str = "legs", order: int = 8, points: int = 800) -> PhaseRoots:
    """The phase of a cascade of all-pass sections, and the eigenvalues that it gives."""
    system = hippo.system(measure, order)  # type: ignore[arg-type]
    spectrum = spectral.normal_spectrum(system)
    reach = np.arcsinh(3.0 * float(spectrum.mu[0]))
    mu = np.sinh(np.linspace(-reach, reach, points))
    return PhaseRoots(
        mu,
        spectral.phase(system, mu),
        spectrum.mu,
        np.pi * (order - 1.0 - 2.0 * np.arange(order)),
        spectrum.weights,
    )


@figure(
    "spectral-phase",
    "Eigenvalues are the roots of one increasing function",
    "Top: the phase Φ of LegS's all-pass cascade rises once through each odd multiple of π; where "
    "it does is an eigenvalue. Bottom: the flatter the phase there, the more of the input that "
    "mode takes: its weight is 4/Φ'.",
)
def phase(*, order: int = 8) -> Figure:
    """Φ with its levels and roots, and the weights underneath."""
    found = phase_roots(order=order)
    made = new_figure(8.4, 5.4)
    top, bottom = made.subplots(2, 1, sharex=True, height_ratios=(1.9, 1.0))
    top.hlines(found.levels / np.pi, found.mu[0], found.roots, color=muted(0.35), linewidth=0.9)
    top.vlines(
        found.roots, -float(order), found.levels / np.pi, color="C1", linewidth=0.9, alpha=0.7
    )
    top.plot(found.mu, found.phase / np.pi, color="C0", linewidth=2.2)
    top.plot(found.roots, found.levels / np.pi, "o", color="C1", markersize=7)
    top.axhline(order, color=muted(0.7), linestyle="--", linewidth=1.0)
    top.set_yticks(found.levels / np.pi, [_multiple(level) for level in found.levels / np.pi])
    top.set_ylim(-order, order + 0.8)
    top.set_xlim(found.mu[0], found.mu[-1])
    top.grid(False)
    top.set_ylabel("phase Φ(μ)")
    top.annotate(
        f"{order}π", (0.0, order), xycoords=("axes fraction", "data"), xytext=(4, -4),
        textcoords="offset points", va="top", fontsize=9, color=muted(0.9),
    )  # fmt: skip
    top.set_title(f"LegS, N = {order}: each crossing is an eigenvalue")
    bottom.vlines(found.roots, 0.0, found.weights, color="C1", linewidth=2.0)
    bottom.plot(found.roots, found.weights, "o", color="C1", markersize=7)
    bottom.set_ylim(0.0, 1.15 * float(found.weights.max()))
    bottom.set_xscale("asinh", linear_width=1.0)
    bottom.set_xticks([-30, -10, -3, -1, 0, 1, 3, 10, 30], minor=False)
    bottom.set_xticklabels(["−30", "−10", "−3", "−1", "0", "1", "3", "10", "30"])
    bottom.minorticks_off()
    bottom.grid(False, axis="x")
    bottom.set_ylabel("weight 4/Φ'(μ)")
    bottom.set_xlabel("frequency μ")
    return made


def _multiple(level: float) -> str:
    whole = round(level)
    size = "" if abs(whole) == 1 else str(abs(whole))
    return f"{'−' if whole < 0 else ''}{size}π" if whole else "0"


# ---- conditioning -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditions:
    """log10 of condition numbers of eigenvector matrices; from :func:`eigenvector_conditions`.

    Attributes
    ----------
    orders : ndarray
    exact : ndarray
        Of LegS's A, in closed form.
    dense : ndarray
        The same, from the eigenvectors that ``numpy.linalg.eig`` returns.
    normal : ndarray
        Of the normal part, whose closed-form eigenvectors are measured densely.
    """

    orders: Array
    exact: Array
    dense: Array
    normal: Array


def eigenvector_conditions(
    *,
    orders: Sequence[int] = (2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128),
) -> Conditions:
    """How ill-conditioned the eigenvectors of LegS are, exactly and as a dense solver sees it."""
    exact, dense, normal = [], [], []
    for order in orders:
        system = hippo.system("legs", order)
        exact.append(spectral.conditioning(system).log10_condition)
        dense.append(np.log10(np.linalg.cond(np.linalg.eig(system.A).eigenvectors)))
        normal.append(np.log10(np.linalg.cond(spectral.dplr(system).eigenvectors())))
    return Conditions(np.array(orders), np.array(exact), np.array(dense), np.array(normal))


@dataclass(frozen=True)
class Scatter:
    """Eigenvalues of LegS, exact and after perturbations of relative size eps.

    Attributes
    ----------
    exact : ndarray, shape (N,)
    perturbed : ndarray, shape (draws, N)
        Of A + E, ‖E‖₂ = eps ‖A‖₂.
    normal : ndarray, shape (draws, N)
        Of the normal part, perturbed in the same way: how far each eigenvalue moved.
    """

    exact: Array
    perturbed: Array
    normal: Array


def perturbed_eigenvalues(*, order: int = 64, draws: int = 12, seed: int = 0) -> Scatter:
    """What the least perturbation that double precision knows does to LegS's eigenvalues."""
    system = hippo.system("legs", order)
    exact = spectral.eigenvalues(system)
    skew = _skew_part(system)
    own = np.linalg.eigvalsh(-1j * skew)
    rng = np.random.default_rng(seed)
    perturbed, normal = [], []
    for _ in range(draws):
        noise = rng.standard_normal((order, order))
        noise /= np.linalg.norm(noise, 2)
        perturbed.append(np.linalg.eigvals(system.A + _EPS * np.linalg.norm(system.A, 2) * noise))
        moved = np.linalg.eigvals(skew + _EPS * np.linalg.norm(skew, 2) * noise)
        normal.append(np.abs(np.sort(moved.imag) - own))
    return Scatter(exact, np.array(perturbed), np.array(normal))


@figure(
    "spectral-conditioning",
    "Why S4 does not diagonalise A",
    "Left: the condition number of LegS's eigenvectors grows by 0.77 digits per coefficient; from "
    "N ≈ 24 double precision has none left, and numpy.linalg.eig no longer notices. The normal "
    "form has κ = 1. Right: perturbing A by one rounding throws its eigenvalues −1 … −64 this far.",
)
def conditioning(
    *, order: int = 64, draws: int = 12, orders: Sequence[int] | None = None
) -> Figure:
    """Condition numbers against N, and a cloud of perturbed eigenvalues."""
    found = eigenvector_conditions() if orders is None else eigenvector_conditions(orders=orders)
    digits = -np.log10(_EPS)
    made = new_figure(9.4, 4.3)
    left, right = made.subplots(1, 2, width_ratios=(1.15, 1.0))
    left.axhspan(digits, 1.08 * float(found.exact.max()), color="C1", alpha=0.12, linewidth=0.0)
    left.plot(found.orders, found.exact, color="C0", linewidth=2.4, label="A, exact")
    left.plot(found.orders, found.dense, "s", color="C3", markersize=4, label="A, numpy.linalg.eig")
    left.plot(
        found.orders, found.normal, "D-", color="C2", markersize=4, label="normal form: κ = 1"
    )
    left.axhline(digits, color="C1", linewidth=1.4, linestyle="--")
    left.annotate(
        "all digits of a double", (0.98, digits), xycoords=("axes fraction", "data"),
        xytext=(0, -5), textcoords="offset points", color="C1", fontsize=9, ha="right", va="top",
    )  # fmt: skip
    left.set_ylim(-4.0, 1.05 * float(found.exact.max()))
    left.set_xlim(0.0, 1.02 * float(found.orders[-1]))
    left.set_xlabel("order N")
    left.set_ylabel("digits lost: log₁₀ κ")
    left.set_title("Eigenvectors of LegS")
    left.legend(loc="upper left")
    cloud = perturbed_eigenvalues(order=order, draws=draws)
    places = cloud.perturbed.ravel()
    right.plot(places.real, places.imag, ".", color="C1", markersize=3)
    right.plot(cloud.exact, 0.0 * cloud.exact, "o", color="C0", markersize=3)
    middle = 0.5 * float(places.real.min())
    right.annotate(
        "of A + one rounding", (middle, 0.55 * float(places.imag.max())), color="C1", ha="center"
    )
    right.annotate(
        f"of A: −1 … −{order}", (0.66 * float(cloud.exact.min()), 0.0), xytext=(0, -22),
        textcoords="offset points", color="C0", ha="center", va="top",
    )  # fmt: skip
    right.set_title(f"Eigenvalues, N = {order}")
    right.set_xlabel("Re λ")
    right.set_ylabel("Im λ")
    return made


# ---- pseudospectra ------------------------------------------------------------------------------

#: Box of each measure in units of its order: left, right, half height.
_BOXES = {
    "legs": (-2.4, 0.6, 1.5),
    "legt": (-3.2, 0.8, 2.0),
    "lagt": (-0.16, 0.04, 0.1),
    "fout": (-5.4, 1.4, 3.4),
}


def relative_pseudospectra(
    *, order: int = 25, points: int = 100, measures: Sequence[str] = tuple(_BOXES)
) -> dict[str, spectral.Pseudospectrum]:
    """σ_min(zI − A) of several measures, each over the surroundings of its eigenvalues."""
    found = {}
    for measure in measures:
        left, right, half = (order * side for side in _BOXES[measure])
        found[measure] = spectral.pseudospectrum(
            hippo.system(measure, order),  # type: ignore[arg-type]
            (left, right, -half, half),
            points,
        )
    return found


@figure(
    "spectral-pseudospectra",
    "How far a small perturbation moves the eigenvalues",
    "Inside a line, some perturbation of that size relative to ‖A‖ makes the point an eigenvalue. "
    "FouT's eigenvalues move about as far as they are pushed. Those of LegS, LegT and LagT spread: "
    "1e-10 ‖A‖ takes LegS's, all real, further into the plane than they are apart.",
)
def pseudospectra(*, order: int = 25, points: int = 100) -> Figure:
    """Contours of the smallest singular value for four measures."""
    found = relative_pseudospectra(order=order, points=points)
    made = new_figure(9.8, 3.1)
    panels = made.subplots(1, len(found))
    levels = np.arange(-16.0, 0.1, 2.0)
    for ax, (measure, result) in zip(panels, found.items(), strict=True):
        relative = replace(
            result, sigma=result.sigma / result.norm, floor=result.floor / result.norm
        )
        plot_pseudospectrum(relative, ax, levels, colorbar=False)
        ax.set_title(measure_label(measure), color=measure_color(measure))
        ax.set_ylabel("")
        ax.set_aspect("equal")
        ax.locator_params(nbins=4)
    panels[0].set_ylabel("Im z")
    bar = made.colorbar(panels[0].collections[0], ax=panels, shrink=0.9, pad=0.02)
    bar.set_ticks(levels[::2].tolist(), labels=[f"$10^{{{p:.0f}}}$" for p in levels[::2]])
    bar.set_label("perturbation / ‖A‖")
    return made


# ---- clipping -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clipping:
    """LegS's input vector in normal coordinates, as it is and clipped; from `clipped_input`.

    Attributes
    ----------
    mu : ndarray, shape (N,)
        Frequencies, ascending.
    given, clipped : ndarray, shape (N,)
        V*B with the phases that ``numpy.linalg.eigh`` gives, and with its imaginary part clipped.
    angles, change : ndarray
        ‖clipped − given‖/‖given‖ if every entry had this phase instead (in degrees).
    loss : ndarray, shape (N,)
        Of each component of the kernel e^{tA}B: the relative change, in the 2-norm over t ≥ 0.
    times : ndarray, shape (K,)
    exact, kernel : ndarray, shape (K,)
        C e^{tA}B, and C e^{tA} times the clipped vector, for a random C.
    """

    mu: Array
    given: Array
    clipped: Array
    angles: Array
    change: Array
    loss: Array
    times: Array
    exact: Array
    kernel: Array

    @property
    def relative_change(self) -> float:
        """‖clipped − given‖/‖given‖, as run."""
        return float(np.linalg.norm(self.clipped - self.given) / np.linalg.norm(self.given))


def _clip(values: Array, limit: float) -> Array:
    return np.asarray(values.real + 1j * np.clip(values.imag, -limit, limit))


def clipped_input(
    *, order: int = 64, limit: float = 2.0, points: int = 600, seed: int = 0
) -> Clipping:
    """LegS's input vector as S4's public code sets it up, and the kernel that it makes.

    That code takes V from a Hermitian eigensolver, which leaves the phase of each column open, and
    then clips the imaginary part of V*B. Of each conjugate pair one is kept and counted twice. C is
    normal in those coordinates, as at the start of training.
    """
    system = hippo.system("legs", order)
    mu, vectors = np.linalg.eigh(-1j * _skew_part(system))
    given = vectors.conj().T @ system.B
    clipped = _clip(given, limit)
    kept = mu > 0.0
    back = 2.0 * np.real(vectors[:, kept] @ clipped[kept])
    angles = np.linspace(0.0, 90.0, 91)
    turned = np.abs(given) * np.exp(1j * np.radians(angles))[:, np.newaxis]
    change = np.linalg.norm(_clip(turned, limit) - turned, axis=1) / np.linalg.norm(given)
    rng = np.random.default_rng(seed)
    read_out = rng.standard_normal(kept.sum()) + 1j * rng.standard_normal(kept.sum())
    C = np.real(vectors[:, kept].conj() @ read_out)
    times = np.geomspace(1e-4, 4.0, points)
    return Clipping(
        mu,
        given,
        clipped,
        angles,
        change,
        _relative_loss(system.B, back),
        times,
        _impulse_response(system.B, times) @ C,
        _impulse_response(back, times) @ C,
    )


def _impulse_response(start: Array, times: Array) -> Array:
    """e^{tA} v for LegS's A, v in the basis r_n P_n(2x − 1), without a matrix.

    LegS's clock makes of f(x) = Σ v_n r_n P_n(2x − 1), x in [0, 1], the same f on a share e^{−t} of
    the past: the coefficients of that, by Gauss–Legendre quadrature, are exact.
    """
    order = len(start)
    places, share = np.polynomial.legendre.leggauss(order)
    scale = np.sqrt(2.0 * np.arange(order) + 1.0)
    values = np.polynomial.legendre.legvander(places, order - 1) @ (scale * start)
    shrink = np.exp(-times)[:, np.newaxis]
    inside = shrink * (places + 1.0) - 1.0
    basis = np.polynomial.legendre.legvander(inside, order - 1) * scale
    return np.asarray(0.5 * shrink * np.einsum("i,kin->kn", share * values, basis))


def _relative_loss(exact: Array, other: Array) -> Array:
    """Of each component of e^{tA}: ‖difference‖/‖exact‖ in L²(0, ∞).

    In x = e^{−t} both are x times a polynomial, and dt = −dx/x: quadrature is exact again.
    """
    places, share = np.polynomial.legendre.leggauss(len(exact))
    x = 0.5 * (places + 1.0)
    want = _impulse_response(exact, -np.log(x))
    got = _impulse_response(other, -np.log(x))
    weight = (share / x)[:, np.newaxis]
    loss = np.sum(weight * (got - want) ** 2, axis=0) / np.sum(weight * want**2, axis=0)
    return np.asarray(np.sqrt(loss))


@figure(
    "spectral-clipping",
    "What clipping B does to S4's kernel",
    "S4's public code clips the imaginary part of V*B at ±2. With the phases of numpy's eigh at "
    "N = 64 this cuts the fast modes and changes B by 91% in norm; other phases, which no solver "
    "fixes, change it by another amount. Low components of the kernel survive, high ones do not.",
)
def clipping(*, order: int = 64) -> Figure:
    """The input vector, its change by phase, and what becomes of the kernel."""
    found = clipped_input(order=order)
    made = new_figure(9.2, 6.4)
    modes, phases, losses, kernel = made.subplots(2, 2, width_ratios=(1.0, 1.15)).flat
    _draw_modes(modes, found)
    _draw_phases(phases, found)
    losses.plot(100.0 * found.loss, color="C1", linewidth=2.2)
    losses.set_xlim(0, order - 1)
    losses.set_ylim(0.0, 100.0)
    losses.yaxis.set_major_formatter("{x:.0f}%")
    losses.set_xlabel("component n of the kernel")
    losses.set_title(r"Change of $(e^{tA}B)_n$")
    kernel.semilogx(found.times, found.exact, color="C0", linewidth=2.0, label="exact")
    kernel.semilogx(found.times, found.kernel, color="C1", linewidth=1.6, label="clipped")
    kernel.set_xlim(found.times[0], found.times[-1])
    kernel.set_xlabel("time t")
    kernel.set_title("Kernel of a random C")
    kernel.legend(loc="upper right")
    return made


def _draw_modes(ax: Axes, found: Clipping) -> None:
    up = found.mu > 0.0
    ax.loglog(found.mu[up], np.abs(found.given[up]), "o", color="C0", label="exact")
    ax.loglog(
        found.mu[up], np.abs(found.clipped[up]), "s", color="C1", markersize=4, label="clipped"
    )
    ax.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    ax.minorticks_off()
    ax.set_xlabel("eigenvalue Im λ")
    ax.set_title("|B| of each mode")
    ax.legend(loc="upper left")


def _draw_phases(ax: Axes, found: Clipping) -> None:
    ax.plot(found.angles, 100.0 * found.change, color=muted(0.8), linewidth=2.0)
    ax.plot(0.0, 0.0, "o", color="C0", markersize=9, clip_on=False, zorder=5)
    ax.annotate(
        "B > 0, as in Resolvent: none",
        (0.0, 0.0),
        xytext=(84, 6),
        textcoords="offset points",
        color="C0",
    )
    ax.axhline(100.0 * found.relative_change, color="C1", linewidth=1.8, linestyle="--")
    ax.annotate(
        f"numpy's eigh: {found.relative_change:.0%}",
        (0.0, 100.0 * found.relative_change),
        xytext=(6, -5),
        textcoords="offset points",
        color="C1",
        va="top",
    )
    ax.set_xticks([0, 30, 60, 90], ["0°", "30°", "60°", "90°"])
    ax.set_xlim(0, 90)
    ax.set_ylim(0.0, 100.0)
    ax.yaxis.set_major_formatter("{x:.0f}%")
    ax.set_xlabel("phase of V*B, if all modes had the same")
    ax.set_title("Change of B in norm")


# ---- Padé ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Poles:
    """Of LegT, times its window; from :func:`pade_poles`.

    Attributes
    ----------
    exact : dict of ndarray
        By order: the roots of the integer polynomial.
    dense : ndarray
        Of the largest order: what ``numpy.linalg.eigvals`` finds.
    """

    exact: dict[int, Array]
    dense: Array

    @property
    def dense_error(self) -> float:
        """Largest relative distance from an exact pole to the nearest that was found."""
        exact = self.exact[max(self.exact)]
        apart = np.abs(exact[:, np.newaxis] - self.dense).min(axis=1)
        return float((apart / np.abs(exact)).max())


def pade_poles(*, orders: Sequence[int] = (4, 8, 16, 32)) -> Poles:
    """The poles of the delay that LegT is, and those of a dense solver."""
    return Poles(
        {order: spectral.pade_delay(order).poles() for order in orders},
        np.linalg.eigvals(hippo.system("legt", max(orders)).A),
    )


@figure(
    "spectral-pade",
    "LegT is the Padé approximant of a delay",
    "Left: LegT's poles, from the integer polynomial, lie on arcs that grow with N. A dense solver "
    "(crosses) misses those of N = 32 by up to 16%. Right: the answer to a step at time 0: the "
    "larger N, the more sharply the step comes out one window later.",
)
def pade(*, orders: Sequence[int] = (4, 8, 16, 32)) -> Figure:
    """Poles and step responses of several orders."""
    found = pade_poles(orders=orders)
    made = new_figure(9.4, 4.2)
    left, right = made.subplots(1, 2, width_ratios=(1.0, 1.5))
    left.axvline(0.0, color=muted(0.5), linewidth=0.8)
    for k, (order, poles) in enumerate(found.exact.items()):
        left.plot(poles.real, poles.imag, "o", color=f"C{k}", markersize=4.5)
        plot_step_response(spectral.pade_delay(order), right)
    left.plot(
        found.dense.real,
        found.dense.imag,
        "x",
        color=muted(0.75),
        markersize=5,
        label=f"dense, N = {max(orders)}",
    )
    left.set_title("Poles · window")
    left.set_xlabel("Re s")
    left.set_ylabel("Im s")
    left.legend(loc="lower left")
    right.set_title("Step response")
    right.set_xlabel("time / window")
    right.legend(loc="lower right")
    return made
