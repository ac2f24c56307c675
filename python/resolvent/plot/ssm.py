"""Pictures of kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from resolvent.plot.style import axes_or_new, muted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from resolvent.ssm import Audit, Kernel

__all__ = ["ROUTE_COLORS", "ROUTE_STYLES", "plot_audit", "plot_kernel"]

#: The colour and the line that a route has in every picture.
ROUTE_COLORS = {
    "power": "C5",
    "recurrence": "C0",
    "dplr": "C2",
    "allpass": "C4",
    "diagonal": "C1",
    "rational": "C3",
    "scan": "C1",
}
ROUTE_STYLES = {"scan": (0, (1.0, 1.2)), "allpass": (0, (4.0, 1.5)), "power": (0, (6.0, 2.0))}

#: Of more channels the first are drawn.
_MOST_CHANNELS = 8


def plot_kernel(kernel: Kernel, ax: Axes | None = None) -> Axes:
    """The samples of a kernel, one line per channel; real and imaginary parts of a complex one.

    Parameters
    ----------
    kernel : Kernel
        Of more than 8 channels the first 8 are drawn.
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> K = rv.ssm.kernel(rv.hippo.system("legs", 8), 100, step=0.05, C=np.ones(8))
    >>> len(K.plot().lines[0].get_xdata())
    100
    """
    target = axes_or_new(ax)
    rows = np.asarray(kernel).reshape(-1, kernel.shape[-1])
    for h, row in enumerate(rows[:_MOST_CHANNELS]):
        color = f"C{h % 6}"
        target.plot(row.real, color=color)
        if np.iscomplexobj(row):
            target.plot(row.imag, color=color, linestyle=":")
    target.axhline(0.0, color=muted(0.3), linewidth=0.8, zorder=0)
    target.set_xlabel("k")
    target.set_ylabel("kernel")
    if kernel.info is not None:
        target.set_title(f"Kernel, route {kernel.info.route}")
    return target


def plot_audit(result: Audit, ax: Axes | None = None) -> Axes:
    """How far every route is from the reference, sample by sample, relative to the largest one.

    Parameters
    ----------
    result : Audit
    ax : Axes, optional
        Where to draw; new axes unless given.

    Returns
    -------
    Axes
        One line per route but the reference.

    Examples
    --------
    >>> import numpy as np, resolvent as rv
    >>> legs = rv.hippo.system("legs", 12)
    >>> a = rv.ssm.audit(legs, np.ones(100), step=0.05, C=np.ones(12))
    >>> len(a.plot().lines)
    6
    """
    target = axes_or_new(ax, 4.2)
    expected = _first_channel(result.kernels[result.reference])
    size = np.abs(expected).max() or 1.0
    for name in result.routes:
        if name == result.reference:
            continue
        difference = np.abs(_first_channel(result.kernels[name]) - expected) / size
        target.semilogy(
            np.maximum(difference, 1e-18),
            color=ROUTE_COLORS[name],
            linestyle=ROUTE_STYLES.get(name, "-"),
            label=name,
        )
    target.set_xlabel("k")
    target.set_ylabel("difference / largest sample")
    target.set_title(f"Routes against {result.reference}")
    target.legend(ncols=3, frameon=False)
    return target


def _first_channel(kernel: np.ndarray) -> np.ndarray:
    first: np.ndarray = kernel.reshape(-1, kernel.shape[-1])[0]
    return first
