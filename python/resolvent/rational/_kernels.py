"""Kernels of rows of coefficients, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, integer_parameter
from resolvent.rational._polynomial import EPS, roots, with_leading_one

#: Samples of a kernel in which a tone is looked for, at the start and over the whole length.
_PROBES = 64

#: How far rounding moves a double root.
_ROOT_ERROR = 8.0 * EPS**0.5


def checked_length(value: Any) -> int:
    """A length of at least 1."""
    length = integer_parameter(value, "length L")
    if length < 1:
        raise _core.InvalidArgument(f"length L must be at least 1, got {length}")
    return length


def plain_kernels(b: Array, a: Array, length: int, poles: Callable[[], Array]) -> Array:
    """The power series, (H, L). An unstable one that overflows is refused."""
    rows: Array = _core.rational.kernel_series(b, a, length)
    require_in_range(rows, poles)
    return rows


def require_in_range(rows: Array, poles: Callable[[], Array]) -> None:
    """Refuses kernels that overflow; an overflow stays, so that the last sample tells."""
    bad = ~np.isfinite(rows[:, -1])
    if bad.any():
        first = int((~np.isfinite(rows[bad])).argmax(axis=-1).min())
        raise _core.InvalidArgument(
            f"length L = {rows.shape[1]} is too long for an unstable model: its largest |pole| is "
            f"{np.abs(poles()).max():.6g}, and the kernel overflows from length {first + 1} on"
        )


def aliased_kernels(b: Array, a: Array, length: int) -> Array:
    """The L-periodic sums, (H, L). Poles at the sample points are refused."""
    order = a.shape[-1]
    if length < order:
        raise _core.InvalidArgument(
            f"length L must be at least d = {order} for a transform to hold the coefficients, "
            f"got {length}; aliased=False takes any L"
        )
    transform = _complex_aliased if np.iscomplexobj(a) else _core.rational.kernel_fft
    rows = transform(b, a, length)
    _require_regular_samples(rows, b, a, length)
    return rows


def _complex_aliased(b: Array, a: Array, length: int) -> Array:
    """The core's transform is for real coefficients, two of which it takes at a time."""
    shifted = np.exp(-2j * np.pi * np.arange(length) / length) * np.fft.fft(a, length)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.fft.ifft(np.fft.fft(b, length) / (1.0 + shifted))


def _require_regular_samples(rows: Array, b: Array, a: Array, length: int) -> None:
    """Refuses a pole within rounding of a root of unity.

    The kernel then is a tone of amplitude abs(b(z))/(L·abs(1 + a(z))), which shows in a few
    samples, near and far: only channels where they are so large, or NaN, are looked at again.
    """
    eps = float(np.finfo(rows.dtype).eps)
    size = 1.0 + np.abs(a).sum(axis=-1)
    probes = (rows[:, :_PROBES], rows[:, :: max(1, length // _PROBES)])
    largest = np.abs(np.concatenate(probes, axis=-1)).max(axis=-1)
    usual = largest * length * np.sqrt(eps) * size < np.abs(b).sum(axis=-1)
    for channel in np.flatnonzero(~usual):
        turns = np.exp(-2j * np.pi * np.arange(length) / length)
        denominator = np.abs(1.0 + turns * np.fft.fft(a[channel], length))
        sample = int(denominator.argmin())
        vanishes = denominator[sample] <= (a.shape[-1] + 2) * eps * size[channel]
        if vanishes and at_pole(a[channel], turns[sample : sample + 1]).any():
            raise _core.InvalidArgument(
                f"a must have no pole at a sample point of the circle: channel {channel} has one "
                f"at z = exp(-2 pi i {sample}/{length})"
            )


def at_pole(a: Array, z: Array) -> Array:
    """At which of the points (K,) where 1 + a_1 z + … is 0 to rounding there is a pole.

    Simple and double roots on z are found within √eps of it. Those of a cluster nearby are not:
    there the product is as small, but what is lost are the digits of the coefficients.
    """
    poles = roots(with_leading_one(a.astype(np.complex128)))
    distances = np.abs(np.multiply.outer(z, poles) - 1.0)
    result: Array = distances.min(axis=-1) <= _ROOT_ERROR
    return result
