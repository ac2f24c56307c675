"""Every route to the same kernel and output, compared, and the differences explained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from resolvent._arrays import Array, ArrayLike, read_only
from resolvent._warnings import IllConditionedWarning
from resolvent.discretize import Rule
from resolvent.ssm._batch import as_sequence
from resolvent.ssm._kernel import Kernel, kernel
from resolvent.ssm._realisation import Model, Realisation, realise
from resolvent.ssm._recur import recur
from resolvent.ssm._routes import advance_read_out, applicable, compute
from resolvent.ssm._sums import positive_length
from resolvent.ssm._time import convolve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PARTS", "Audit", "Finding", "audit"]

Part = Literal[
    "agreement", "eigenvectors", "coefficients", "cauchy", "fft", "truncation", "precision"
]

#: What a difference can be due to, and what it is called in words.
PARTS: dict[str, str] = {
    "agreement": "routes without eigenvectors or coefficients",
    "eigenvectors": "eigenvectors of A",
    "coefficients": "polynomial coefficients",
    "cauchy": "Cauchy sums and the circle",
    "fft": "fast convolution",
    "truncation": "C read as C(I − Āᴸ)",
    "precision": "single precision",
}

_EPS = float(np.finfo(np.float64).eps)
_EPS32 = float(np.finfo(np.float32).eps)

#: The route that the others are compared with, which every model has.
_REFERENCE = "recurrence"


@dataclass(frozen=True)
class Finding:
    """One possible cause of disagreement, isolated.

    Attributes
    ----------
    part : str
        A key of :data:`PARTS`.
    routes : tuple of str
        What was compared.
    difference : float
        Relative to the largest entry.
    expected : float
        What rounding explains: eps times a size or a condition number.
    statement : str
    """

    part: Part
    routes: tuple[str, ...]
    difference: float
    expected: float
    statement: str


@dataclass(frozen=True, eq=False)
class Audit:
    """What every route gives; from :func:`audit`.

    Attributes
    ----------
    routes : tuple of str
    kernels, outputs : dict of str to ndarray
        Per route, shape (..., L): the kernel, and its convolution with the input; for "recurrence"
        the model's own steps.
    kernel_differences, output_differences : ndarray, shape (R, R)
        Largest differences between two routes, relative to the largest entry of the reference's.
    reference : str
        The route that serves as reference.
    findings : tuple of Finding
    failed : dict of str to str
        Routes that could not be run, and why.
    """

    routes: tuple[str, ...]
    kernels: dict[str, Array]
    outputs: dict[str, Array]
    kernel_differences: Array
    output_differences: Array
    reference: str
    findings: tuple[Finding, ...]
    failed: dict[str, str]

    def __post_init__(self) -> None:
        for found in (self.kernels, self.outputs):
            for name in found:
                found[name] = read_only(np.array(found[name]))
        for matrix in (self.kernel_differences, self.output_differences):
            read_only(matrix)

    def finding(self, part: Part) -> Finding | None:
        """The finding about one part, if it was looked at."""
        return next((f for f in self.findings if f.part == part), None)

    def __repr__(self) -> str:
        worst = max(self.findings, key=lambda f: f.difference)
        return (
            f"Audit({len(self.routes)} routes, largest difference {worst.difference:.1e} "
            f"by {PARTS[worst.part]})"
        )

    def _repr_html_(self) -> str:
        head = "<tr><th>due to</th><th>compared</th><th>difference</th><th>rounding</th></tr>"
        body = "".join(
            f"<tr><th>{escape(PARTS[f.part])}</th><td>{escape(', '.join(f.routes))}</td>"
            f"<td>{f.difference:.1e}</td><td>{f.expected:.1e}</td></tr>"
            for f in self.findings
        )
        names = "".join(f"<th>{escape(name)}</th>" for name in self.routes)
        matrix = "".join(
            f"<tr><th>{escape(name)}</th>"
            + "".join(f"<td>{value:.0e}</td>" for value in row)
            + "</tr>"
            for name, row in zip(self.routes, self.kernel_differences, strict=True)
        )
        failures = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(reason)}</td></tr>"
            for name, reason in self.failed.items()
        )
        missing = f"<table><caption>Not run</caption>{failures}</table>" if failures else ""
        return (
            f"<table><caption>What differences are due to</caption>{head}{body}</table>"
            f"<table><caption>Differences of kernels</caption><tr><th></th>{names}</tr>{matrix}"
            f"</table>{missing}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draws the differences from the reference along the kernel; returns the axes."""
        from resolvent.plot.ssm import plot_audit

        return plot_audit(self, ax)


def audit(
    model: Model | list[Any] | tuple[Any, ...],
    u: ArrayLike,
    *,
    step: ArrayLike | None = None,
    length: int | None = None,
    rule: Rule = "bilinear",
    alpha: float = 0.5,
    C: ArrayLike | None = None,
) -> Audit:
    """Runs every applicable route and says what their disagreements are due to.

    Parameters
    ----------
    model, step, rule, alpha, C
        As in :func:`kernel`.
    u : array_like, shape (..., L)
        An input for the outputs.
    length : int, optional
        Of the kernels; the length of `u` unless given.

    Returns
    -------
    Audit
        Differences are relative to the largest entry of the reference, the step-by-step recurrence.
        Each finding isolates one part by two computations
        that differ in nothing else, and puts beside the difference what rounding explains.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> a = rv.ssm.audit(rv.hippo.system("legs", 16), np.ones(200), step=0.02, C=np.ones(16))
    >>> a.routes
    ('power', 'recurrence', 'dplr', 'allpass', 'diagonal', 'rational', 'scan')
    >>> a.finding("eigenvectors").difference > 1e6 * a.finding("agreement").difference
    True
    """
    signal = as_sequence(u, "u", "L")
    count = positive_length(signal.shape[-1] if length is None else length)
    r = realise(model, step=step, rule=rule, alpha=alpha, C=C)
    options: dict[str, Any] = {"step": step, "rule": rule, "alpha": alpha, "C": C}
    kernels, failed = _kernels(model, count, applicable(r), options)
    reference = _REFERENCE
    outputs = {name: convolve(signal, np.asarray(K)) for name, K in kernels.items()}
    outputs["recurrence"] = recur(signal, model, **options).outputs
    names = tuple(kernels)
    return Audit(
        routes=names,
        kernels={name: np.asarray(K) for name, K in kernels.items()},
        outputs=outputs,
        kernel_differences=_pairwise([np.asarray(kernels[n]) for n in names], reference, names),
        output_differences=_pairwise([outputs[n] for n in names], reference, names),
        reference=reference,
        findings=tuple(_findings(r, kernels, reference, signal, count)),
        failed=failed,
    )


def _kernels(
    model: Any, length: int, names: tuple[str, ...], options: dict[str, Any]
) -> tuple[dict[str, Kernel], dict[str, str]]:
    """Of every route; the warnings of lost digits are what an audit reports itself."""
    found: dict[str, Kernel] = {}
    failed: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IllConditionedWarning)
        for name in names:
            try:
                found[name] = kernel(model, length, route=name, **options)  # type: ignore[arg-type]
            except ValueError as error:
                if name == _REFERENCE:
                    raise
                failed[name] = str(error)
    return found, failed


def relative(found: Array, expected: Array) -> float:
    """The largest difference relative to the largest expected entry."""
    size = float(np.max(np.abs(expected), initial=0.0)) or 1.0
    return float(np.max(np.abs(found - expected), initial=0.0)) / size


def _pairwise(arrays: list[Array], reference: str, names: tuple[str, ...]) -> Array:
    size = float(np.max(np.abs(arrays[names.index(reference)]), initial=0.0)) or 1.0
    differences = np.zeros((len(arrays), len(arrays)))
    for i, one in enumerate(arrays):
        for j, other in enumerate(arrays[:i]):
            differences[i, j] = differences[j, i] = np.max(np.abs(one - other), initial=0.0) / size
    return differences


def _findings(
    r: Realisation, kernels: dict[str, Kernel], reference: str, u: Array, length: int
) -> list[Finding]:
    K = np.asarray(kernels[reference])
    found = [_agreement(kernels, reference, length)]
    for part, names in (("eigenvectors", ("diagonal", "scan")), ("coefficients", ("rational",))):
        worst = _conditioned(part, names, kernels, reference, length)
        found += [] if worst is None else [worst]
    circle = tuple(name for name in ("dplr", "allpass") if name in kernels)
    if circle:
        found.append(_circle(circle, kernels, reference, length))
        found.append(_truncation(r, kernels, reference, length))
    found.append(_convolution(K, u))
    found.append(_precision(K, u))
    return found


def _agreement(kernels: dict[str, Kernel], reference: str, length: int) -> Finding:
    K = np.asarray(kernels[reference])
    names = tuple(n for n, other in kernels.items() if other.info and other.info.condition is None)
    difference = max(relative(np.asarray(kernels[n]), K) for n in names)
    expected = length * _EPS
    return Finding(
        "agreement", names, difference, expected,
        f"{len(names)} routes that take neither eigenvectors nor coefficients agree to "
        f"{difference:.1e} (L eps = {expected:.1e}).",
    )  # fmt: skip


def _conditioned(
    part: Any, names: tuple[str, ...], kernels: dict[str, Kernel], reference: str, length: int
) -> Finding | None:
    """Routes with a condition number: it predicts what they lose."""
    there = tuple(n for n in names if n in kernels and _condition(kernels[n]) is not None)
    if not there:
        return None
    K = np.asarray(kernels[reference])
    difference = max(relative(np.asarray(kernels[n]), K) for n in there)
    condition = max(_condition(kernels[n]) or 1.0 for n in there)
    return Finding(
        part, (*there, reference), difference, min(condition * _EPS, 1.0),
        f"{', '.join(there)} lose {max(np.log10(max(difference, _EPS) / _EPS), 0.0):.0f} digits to "
        f"{PARTS[part]} (condition number {condition:.1e}).",
    )  # fmt: skip


def _condition(K: Kernel) -> float | None:
    return None if K.info is None else K.info.condition


def _circle(
    names: tuple[str, ...], kernels: dict[str, Kernel], reference: str, length: int
) -> Finding:
    K = np.asarray(kernels[reference])
    difference = max(relative(np.asarray(kernels[n]), K) for n in names)
    expected = length * _EPS
    return Finding(
        "cauchy", (*names, reference), difference, expected,
        f"Sums over the circle and their inverse transform differ from {reference} by "
        f"{difference:.1e}.",
    )  # fmt: skip


def _truncation(r: Realisation, kernels: dict[str, Kernel], reference: str, length: int) -> Finding:
    """What is wrong if a plain C is taken for the truncated one: the wrapped-around tail."""
    rest = advance_read_out(r, length)
    expected = float(np.max(np.abs(rest)) / max(np.max(np.abs(r.read_out)), 1e-300))
    tail = np.asarray(_periodic_tail(r, length))
    K = np.asarray(kernels[reference])
    size = float(np.max(np.abs(K), initial=0.0)) or 1.0
    difference = float(np.max(np.abs(tail), initial=0.0)) / size
    return Finding(
        "truncation", ("plain", "truncated"), difference, expected,
        f"Reading C as C(I − Ā^L) would wrap a tail of {difference:.1e} around "
        f"(|C Ā^L|/|C| = {expected:.1e}).",
    )  # fmt: skip


def _periodic_tail(r: Realisation, length: int) -> Array:
    """What the L-periodic kernel of C has beyond its kernel."""
    route = "dplr" if "dplr" in applicable(r) else "allpass"
    with np.errstate(all="ignore"):
        return np.asarray(
            compute(r, length, route, "truncated").rows - compute(r, length, route, "plain").rows
        )


def _convolution(K: Array, u: Array) -> Finding:
    fast = convolve(u, K, method="fft")
    slow = convolve(u, K, method="direct")
    difference = relative(fast, slow)
    energy = np.sqrt(np.max(np.sum(np.abs(K) ** 2, axis=-1)) * np.max(np.sum(np.abs(u) ** 2, -1)))
    size = float(np.max(np.abs(slow), initial=0.0)) or 1.0
    expected = _EPS * np.log2(2.0 * max(u.shape[-1], 2)) * float(energy) / size
    return Finding(
        "fft", ("fft", "direct"), difference, expected,
        f"Convolving by transforms instead of sums changes the output by {difference:.1e}.",
    )  # fmt: skip


def _precision(K: Array, u: Array) -> Finding:
    narrow = convolve(_narrowed(u), _narrowed(K), method="direct")
    difference = relative(narrow.astype(np.result_type(K, u)), convolve(u, K, method="direct"))
    expected = _EPS32 * np.sqrt(K.shape[-1])
    return Finding(
        "precision", ("float32", "float64"), difference, float(expected),
        f"In single precision the output changes by {difference:.1e}.",
    )  # fmt: skip


def _narrowed(values: Array) -> Array:
    return values.astype(np.complex64 if np.iscomplexobj(values) else np.float32)
