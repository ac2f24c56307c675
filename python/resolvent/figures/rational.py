"""The figures of rational transfer functions, and the experiments that they show.

An experiment is a function with named parameters that returns numbers; a figure draws them. The
tests assert on the same experiments what the captions claim.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from resolvent import (
    IllConditionedWarning,
    StabilityWarning,
    discretize,
    hippo,
    rational,
    spectral,
    ssm,
)
from resolvent._arrays import Array
from resolvent.figures._registry import figure, new_figure
from resolvent.plot.style import measure_color, measure_label, muted
from resolvent.rational import Fit, TransferFunction

__all__ = [
    "Losses",
    "Perturbed",
    "Reductions",
    "bode",
    "delay",
    "digits",
    "fit",
    "fits",
    "form_losses",
    "hankel",
    "perturbation",
    "perturbed_poles",
    "recall",
    "reduction_errors",
]

_EPS = float(np.finfo(np.float64).eps)


def _legs_model(order: int, step: float, seed: int = 0) -> ssm.StateSpace:
    """LegS under the bilinear rule with a random read-out."""
    made = discretize.discretize(hippo.system("legs", order), step, "bilinear")
    C = np.random.default_rng(seed).standard_normal(order)
    return ssm.StateSpace(made.A, made.B, C)


# ---- perturbations of training size -------------------------------------------------------------


@dataclass(frozen=True)
class Perturbed:
    """A stable denominator, changed in two ways; from :func:`perturbed_poles`.

    Attributes
    ----------
    poles : ndarray, shape (d,)
        Before.
    of_coefficients : ndarray, shape (draws, d)
        After every a_i has moved by ±`step`.
    of_reflection : ndarray, shape (draws, d)
        After every atanh k_i has moved by ±`far`.
    step, far : float
    sizes : ndarray
    unstable : dict of ndarray
        Of both, the share of draws with a pole on or outside the circle, by size of the change.
    """

    poles: Array
    of_coefficients: Array
    of_reflection: Array
    step: float
    far: float
    sizes: Array
    unstable: dict[str, Array]


def perturbed_poles(
    *, order: int = 16, step: float = 1e-3, far: float = 0.1, draws: int = 60, seed: int = 0
) -> Perturbed:
    """The denominator of LegS, and what steps of Adam's kind, all of one size, make of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditionedWarning)  # any denominator near it will do
        a = rational.from_state_space(_legs_model(order, 0.1)).transfer_function.a
    angles = np.arctanh(rational.reflection(a))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (draws, order))
    sizes = 10.0 ** np.arange(-7.0, -0.4, 0.5)
    return Perturbed(
        _poles(a),
        _poles(a + step * signs),
        _poles(rational.from_reflection(np.tanh(angles + far * signs))),
        step,
        far,
        sizes,
        {
            "coefficients": np.array([_unstable(a + size * signs) for size in sizes]),
            "reflection": np.array(
                [
                    _unstable(rational.from_reflection(np.tanh(angles + size * signs)))
                    for size in sizes
                ]
            ),
        },
    )


def _poles(a: Array) -> Array:
    return TransferFunction(np.ones_like(a), a).poles()


def _unstable(a: Array) -> float:
    return float(np.mean(np.abs(_poles(a)).max(axis=-1) >= 1.0))


@figure(
    "rational-perturbation",
    "One training step can make a stable layer unstable",
    "Poles of LegS, 16 states, all well inside the circle. One step of 0.001 per coefficient "
    "(left) throws poles of every draw outside. Steps a hundred times larger in the reflection "
    "coefficients (middle) cannot: tanh keeps them within ±1, and that is stability.",
)
def perturbation(*, order: int = 16, draws: int = 60) -> Figure:
    """Clouds of poles in both parameterisations, and the share of unstable models."""
    found = perturbed_poles(order=order, draws=draws)
    made = new_figure(10.2, 4.0)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.0, 1.0, 1.1))
    for ax, cloud, title in (
        (left, found.of_coefficients, f"a ± {found.step:g}"),
        (middle, found.of_reflection, f"atanh k ± {found.far:g}"),
    ):
        _draw_cloud(ax, cloud, found.poles)
        ax.set_title(title)
    left.set_ylabel("Im ζ")
    for name, color, marker, height, label in (
        ("coefficients", "C1", "o", 88.0, "coefficients a"),
        ("reflection", "C0", "D", 4.0, "reflection\ncoefficients k"),
    ):
        shares = 100.0 * found.unstable[name]
        right.semilogx(found.sizes, shares, marker=marker, color=color, clip_on=False)
        right.text(found.sizes[-1], height, label, color=color, ha="right", va="bottom")
    right.set_ylim(0.0, 100.0)
    right.yaxis.set_major_formatter("{x:.0f}%")
    right.set_xlabel("size of the step")
    right.set_title("Unstable models")
    right.minorticks_off()
    right.set_box_aspect(1.0)
    return made


def _draw_cloud(ax: Axes, cloud: Array, start: Array) -> None:
    turn = np.linspace(0.0, 2.0 * np.pi, 361)
    ax.plot(np.cos(turn), np.sin(turn), color=muted(0.6), linewidth=1.0)
    places = cloud.ravel()
    outside = np.abs(places) >= 1.0
    for chosen, color in ((~outside, "C0"), (outside, "C1")):
        ax.plot(places[chosen].real, places[chosen].imag, ".", color=color, markersize=3, alpha=0.6)
    ax.plot(start.real, start.imag, "x", color=muted(1.0), markersize=5, markeredgewidth=1.2)
    ax.set_aspect("equal")
    ax.set_xlim(-1.25, 1.45)
    ax.set_ylim(-1.35, 1.35)
    ax.set_xlabel("Re ζ")
    handles = [
        Line2D([], [], marker="x", linestyle="none", color=muted(1.0), label="before"),
        Line2D([], [], marker=".", linestyle="none", color="C0", label="stable"),
        Line2D([], [], marker=".", linestyle="none", color="C1", label="unstable"),
    ]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False,
        columnspacing=0.9, handletextpad=0.1,
    )  # fmt: skip


# ---- digits lost --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Losses:
    """Relative errors of G on the circle, by form and order; from :func:`form_losses`."""

    orders: Array
    errors: dict[str, Array]


def form_losses(
    model: str,
    step: float,
    *,
    orders: Sequence[int] = (2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48),
) -> Losses:
    """Three forms of one model against its own generating function, which needs none of them."""
    forms = {"coefficients": _by_coefficients, "poles": _by_poles, "sections": _by_sections}
    omega = np.concatenate([[0.0], np.geomspace(1e-2 * step, np.pi, 300)])
    errors: dict[str, list[float]] = {name: [] for name in forms}
    for order in orders:
        matrices, exact = _model_and_response(model, order, step, omega)
        for name, form in forms.items():
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore", IllConditionedWarning)
                gap = np.abs(form(matrices, omega) - exact)
            error = float(np.max(gap) / np.max(np.abs(exact)))
            errors[name].append(error if np.isfinite(error) else np.inf)
    return Losses(np.array(orders), {name: np.array(e) for name, e in errors.items()})


def _model_and_response(
    model: str, order: int, step: float, omega: Array
) -> tuple[ssm.StateSpace, Array]:
    """A discrete model with a random read-out, and G(e^{−iω}) without its matrices."""
    z = np.exp(-1j * omega)
    C = np.random.default_rng(order).standard_normal(order)
    if model == "legs":
        system = hippo.system("legs", order)
        made = discretize.discretize(system, step, "bilinear")
        return ssm.StateSpace(made.A, made.B, C), ssm.generating_function(system, z, step=step, C=C)
    form = spectral.diagonal(order, model[4:], half=True)  # type: ignore[arg-type]
    rows = C[::2] + 1j * C[1::2]
    made = discretize.discretize(form, step, "bilinear")
    return _as_blocks(made.A, made.B, 2.0 * rows), ssm.generating_function(
        form, z, step=step, C=rows
    )


def _as_blocks(eigenvalues: Array, B: Array, C: Array) -> ssm.StateSpace:
    """y = Re Σ C_j x_j of complex modes as a real model of twice the size."""
    size = 2 * eigenvalues.size
    A = np.zeros((size, size))
    for j, value in enumerate(eigenvalues):
        A[2 * j : 2 * j + 2, 2 * j : 2 * j + 2] = [
            [value.real, -value.imag],
            [value.imag, value.real],
        ]
    inputs = np.column_stack([B.real, B.imag]).ravel()
    return ssm.StateSpace(A, inputs, np.column_stack([C.real, -C.imag]).ravel())


def _by_coefficients(model: ssm.StateSpace, omega: Array) -> Array:
    """The quotient as it stands, also where its denominator has no digit left."""
    numerator, denominator = rational.from_state_space(
        model
    ).transfer_function.control_polynomials()
    zeta = np.exp(1j * omega)
    return np.asarray(np.polyval(numerator, zeta) / np.polyval(denominator, zeta))


def _by_poles(model: ssm.StateSpace, omega: Array) -> Array:
    return rational.PoleResidue.from_state_space(model).frequency_response(omega)


def _by_sections(model: ssm.StateSpace, omega: Array) -> Array:
    parts = [part.frequency_response(omega) for part in rational.cascade(model)]
    return np.asarray(np.prod(parts, axis=0))


_FORMS = {
    "coefficients": ("polynomial coefficients", "C1", "o"),
    "poles": ("poles and residues", "C0", "s"),
    "sections": ("cascade of sections", "C2", "D"),
}


@figure(
    "rational-digits",
    "Digits that polynomial coefficients lose",
    "At a usual step of 0.01 the poles crowd around 1 and the coefficients have lost everything by"
    " 12 states, for LegS and S4D-Lin alike. A sum over poles holds S4D-Lin, whose modes are "
    "apart, but not LegS. A cascade of sections of order 2 loses four digits of either, at any "
    "order.",
)
def digits(*, step: float = 0.01, orders: Sequence[int] | None = None) -> Figure:
    """Errors of three forms against the order, for two models."""
    made = new_figure(9.2, 4.3)
    panels = made.subplots(1, 2, sharey=True)
    for ax, (model, title) in zip(panels, (("legs", "LegS"), ("s4d-lin", "S4D-Lin")), strict=True):
        found = (
            form_losses(model, step) if orders is None else form_losses(model, step, orders=orders)
        )
        for name, (label, color, marker) in _FORMS.items():
            lost = np.clip(np.log10(found.errors[name] / _EPS), 0.0, -np.log10(_EPS))
            ax.plot(found.orders, lost, marker=marker, color=color, label=label, linewidth=2.0)
        ax.axhline(-np.log10(_EPS), color=muted(0.7), linewidth=1.0, linestyle="--")
        ax.set_title(f"{title}, step {step:g}")
        ax.set_xlabel("states N")
        ax.set_xlim(left=0)
        ax.set_ylim(0.0, 17.5)
    panels[0].set_ylabel("digits lost")
    panels[0].annotate(
        "all digits of a double", (0.98, -np.log10(_EPS)), xycoords=("axes fraction", "data"),
        xytext=(0, 4), textcoords="offset points", fontsize=9, ha="right", color=muted(0.9),
    )  # fmt: skip
    made.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    return made


# ---- fits ---------------------------------------------------------------------------------------

_METHODS = ("aaa", "era", "prony")


def fits(
    *, length: int = 512, order: int = 12, noise: float = 0.0, seed: int = 0
) -> dict[str, Fit]:
    """Every method on (k + 1)^{−½}, which no model of finite order has, and noise."""
    kernel = 1.0 / np.sqrt(np.arange(length) + 1.0)
    kernel += noise * np.random.default_rng(seed).standard_normal(length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditionedWarning)
        warnings.simplefilter("ignore", StabilityWarning)
        return {name: rational.fit(kernel, order, name) for name in _METHODS}  # type: ignore[arg-type]


_FIT_LOOKS = {"aaa": ("AAA", "C1", "o"), "era": ("ERA", "C0", "s"), "prony": ("Prony", "C2", "D")}


@figure(
    "rational-fit",
    "A long memory in few poles",
    "A kernel that decays like 1/√k, fitted. AAA and ERA gain more than half a digit per pole as a"
    " sum over the poles (solid); as a quotient of polynomials (dashed) they turn up after order 8"
    " or 9, where coefficients run out of digits. With noise ERA stops at its level, AAA wavers "
    "above it, Prony is far off.",
)
def fit(*, length: int = 512, order: int = 12) -> Figure:
    """Error curves of three methods, without noise and with."""
    made = new_figure(9.2, 4.3)
    panels = made.subplots(1, 2, sharey=True)
    for ax, noise, title in zip(
        panels, (0.0, 1e-3), ("Without noise", "With noise of 0.001"), strict=True
    ):
        for name, result in fits(length=length, order=order, noise=noise).items():
            label, color, marker = _FIT_LOOKS[name]
            orders = np.arange(1, order + 1)
            ax.semilogy(orders, result.parallel_errors, marker=marker, color=color, label=label)
            ax.semilogy(orders, np.minimum(result.errors, 1e3), "--", color=color, linewidth=1.3)
        ax.set_ylim(1e-8, 3.0)
        ax.set_title(title)
        if noise:
            level = noise * np.sqrt(length / np.sum(1.0 / (np.arange(length) + 1.0)))
            ax.axhline(level, color=muted(0.7), linewidth=1.0, linestyle=":")
            ax.text(1.0, 0.85 * level, "noise", va="top", fontsize=9, color=muted(0.9))
        ax.set_xlabel("order")
    panels[0].set_ylabel("relative error of the kernel")
    handles = [
        *panels[0].get_legend_handles_labels()[0],
        Line2D([], [], color=muted(0.8), label="as a sum over poles"),
        Line2D([], [], color=muted(0.8), linestyle="--", label="as coefficients"),
    ]
    made.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    return made


# ---- Hankel singular values ---------------------------------------------------------------------

_MEASURES = ("legs", "legt", "fout", "lagt")


def recall(measure: str, *, order: int = 32, lag: float = 0.5) -> tuple[hippo.System, Array]:
    """A memory, and the read-out that asks it for the value `lag` windows ago."""
    size = order | 1 if measure == "fout" else order
    system = hippo.system(measure, size)  # type: ignore[arg-type]
    if measure == "legs":
        system = system.invariant()
    # Positions: the share of the window, e^{−lag} for legs, the lag itself for lagt.
    place = {"legs": np.exp(-lag), "lagt": lag}.get(measure, 1.0 - lag)
    return system, system.basis(np.array([place]))[:, 0]


@dataclass(frozen=True)
class Reductions:
    """Errors of reduced models, by order; from :func:`reduction_errors`.

    Attributes
    ----------
    orders, bounds : ndarray
        2Σσ of the states left out.
    errors : dict of ndarray
        Per method: the largest abs(G − G_reduced) on the imaginary axis.
    """

    orders: Array
    bounds: Array
    errors: dict[str, Array]


def reduction_errors(
    measure: str = "legt", *, order: int = 32, orders: Sequence[int] = tuple(range(2, 23, 2))
) -> Reductions:
    """Balanced truncation and the form that keeps the gain, against their bound."""
    system, C = recall(measure, order=order)
    s = 1j * np.concatenate([[0.0], np.geomspace(1e-2, 1e4, 500)])
    whole = ssm.StateSpace(system.A, system.B, C, time="continuous")
    exact = _continuous_response(whole, s)
    errors: dict[str, list[float]] = {"truncate": [], "match-dc": []}
    bounds = []
    for size in orders:
        for method, found in errors.items():
            small = rational.reduce(whole, size, method)  # type: ignore[arg-type]
            found.append(np.abs(_continuous_response(small.state_space, s) - exact).max())
        bounds.append(float(small.error_bound))
    return Reductions(
        np.array(orders), np.array(bounds), {name: np.array(e) for name, e in errors.items()}
    )


def _continuous_response(model: ssm.StateSpace, s: Array) -> Array:
    """C (sI − A)⁻¹ B + direct, by dense solves."""
    shifted = s[:, np.newaxis, np.newaxis] * np.eye(model.order) - model.A
    states = np.linalg.solve(
        shifted, np.broadcast_to(model.B, (s.size, model.order))[..., np.newaxis]
    )
    return np.asarray(states[..., 0] @ model.C + model.direct)


@figure(
    "rational-hankel",
    "How many states a memory needs to recall one instant",
    "Left: Hankel singular values of four memories of 32 states, asked for the value half a window"
    " ago. LegT's drop from 1 to nothing after 16; LagT's and FouT's do not. Right: LegT reduced "
    "to fewer states: the error stays below twice the sum of what was left out.",
)
def hankel(*, order: int = 32, orders: Sequence[int] = tuple(range(2, 23, 2))) -> Figure:
    """Singular values of four systems; errors of reduced models and their bound."""
    made = new_figure(9.2, 4.3)
    left, right = made.subplots(1, 2)
    for measure, marker in zip(_MEASURES, "osD^", strict=True):
        system, C = recall(measure, order=order)
        values = rational.hankel_singular_values(system, C=C)
        left.semilogy(
            np.arange(1, values.size + 1), np.maximum(values, 1e-17), marker, markersize=4,
            color=measure_color(measure), label=measure_label(measure),
        )  # fmt: skip
    left.set_ylim(1e-17, 10.0)
    left.set_xlabel("state")
    left.set_title("Hankel singular values")
    left.legend(frameon=False, loc="lower left")
    found = reduction_errors(order=order, orders=orders)
    right.semilogy(
        found.orders, found.bounds, "--", color=muted(0.9), linewidth=1.6, label="bound 2Σσ"
    )
    for (name, errors), (color, marker, size) in zip(
        found.errors.items(), (("C0", "o", 4.0), ("C1", "s", 8.0)), strict=True
    ):
        right.semilogy(
            found.orders, errors, marker, color=color, markersize=size, markerfacecolor="none",
            markeredgewidth=1.5, label=name,
        )  # fmt: skip
    right.set_xticks(found.orders[1::2])
    right.set_xlabel("order of the reduced model")
    right.set_title("LegT: largest error over all frequencies")
    right.legend(frameon=False, loc="lower left")
    return made


# ---- Bode, poles and zeros ----------------------------------------------------------------------


def delay(*, order: int = 8, window: int = 32) -> TransferFunction:
    """The delay that LegT is, as a quotient of polynomials in z, under the bilinear rule.

    The read-out is the value at the far end of the window.
    """
    system = hippo.system("legt", order, window=float(window))
    made = discretize.discretize(system, 1.0, "bilinear")
    C = system.basis(np.array([0.0]))[:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditionedWarning)  # six digits; a picture has three
        return rational.from_state_space(made.A, made.B, C).transfer_function


@figure(
    "rational-bode",
    "A delay as a rational function",
    "LegT with 8 states, read out at the far end of its window of 32 samples. Below its cut-off "
    "the magnitude (solid) is 1 and the phase (dashed) that of a delay. Poles lie inside the "
    "circle, all zeros but one outside. The impulse comes out one window late, as sharp as 8 "
    "states can.",
)
def bode(*, order: int = 8, window: int = 32) -> Figure:
    """Bode plot, poles and zeros, impulse and step response of one model."""
    G = delay(order=order, window=window)
    made = new_figure(9.4, 6.4)
    (response, places), (pulse, step) = made.subplots(2, 2)
    G.bode(response)
    response.set_title("Bode plot")
    response.set_ylim(0.08, 1.5)
    response.set_yticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
    response.tick_params(which="minor", left=False, labelleft=False)
    G.pole_zero(places)
    places.set_title("Poles and zeros")
    for draw, ax, title in (
        (G.impulse, pulse, "Impulse response"),
        (G.step_response, step, "Step response"),
    ):
        draw(3 * window, ax)
        ax.axvline(window, color=muted(0.6), linewidth=1.0, linestyle="--")
        ax.set_title(title)
    return made
