"""What a transfer function can be fitted to: a kernel, or samples of G."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.rational._aaa import split
from resolvent.rational._polynomial import EPS, evaluate, with_leading_one
from resolvent.rational._transfer import TransferFunction

#: Sample points this close to each other or to the real axis, relative to the largest, are the same
#: or on it: e^{−iπ} is −1, and e^{iω} and e^{−iω} are conjugates, however they were computed.
_SAME = 2.0**-40


class _Places:
    """Finds points in a grid of cells, the neighbours of a cell included."""

    def __init__(self, z: Array) -> None:
        self._unit = _SAME * float(np.abs(z).max(initial=0.0))
        self._index: dict[tuple[int, int], int] = {}
        for index, point in enumerate(z):
            if self.find(point) is None:
                self._index[self._cell(point)] = index

    @property
    def first(self) -> list[int]:
        """One index for every place."""
        return list(self._index.values())

    def _cell(self, point: complex) -> tuple[int, int]:
        return round(point.real / self._unit), round(point.imag / self._unit)

    def find(self, point: complex) -> int | None:
        """The index of the first point at the same place."""
        row, column = self._cell(point)
        cells = ((row + i, column + j) for i in (0, -1, 1) for j in (0, -1, 1))
        return next((self._index[cell] for cell in cells if cell in self._index), None)


class Kernel:
    """K_0 … K_{L−1}."""

    def __init__(self, values: Array) -> None:
        self.values = values
        self.is_real = not np.iscomplexobj(values)

    def require_enough(self, order: int) -> None:
        """Two samples for every pole: its place and its residue."""
        if self.values.size < 2 * order:
            raise _core.InvalidArgument(
                f"data must have at least 2 order = {2 * order} samples, got {self.values.size}"
            )

    def circle(self) -> tuple[Array, Array]:
        """The DFT, G_L at the roots of unity; of real kernels the half with Im z ≤ 0."""
        length = self.values.size
        samples = np.fft.rfft(self.values) if self.is_real else np.fft.fft(self.values)
        turns = np.arange(samples.size) / length
        points = np.exp(-2j * np.pi * turns)
        points[turns == 0.5] = -1.0
        return points, samples

    def allowed(self, poles: Array) -> Array:
        """A decaying kernel has no poles outside the circle."""
        return poles[np.abs(poles) < 1.0]

    def predicted(self, made: TransferFunction) -> Array:
        return made.kernel(self.values.size)

    def pole_columns(self, poles: Array) -> Array:
        """ζ_iᵏ, (L, d): what residues multiply."""
        with np.errstate(over="ignore", invalid="ignore"):
            powers: Array = poles ** np.arange(self.values.size)[:, np.newaxis]
        return powers

    def numerator_columns(self, a: Array) -> Array | None:
        """The kernel of 1/(1 + a_1 z + …), shifted: what b multiplies. None where it grows."""
        inner = TransferFunction(np.eye(1, a.size)[0], a)
        if not inner.is_stable():
            return None
        kernel = inner.kernel(self.values.size)
        columns = np.zeros((kernel.size, a.size), kernel.dtype)
        for j in range(a.size):
            columns[j:, j] = kernel[: kernel.size - j]
        return columns

    def direct_column(self) -> Array:
        return np.eye(self.values.size, 1)

    def equations(self, columns: Array) -> Array:
        """Of real models, in real numbers."""
        return columns.real


class Samples:
    """G at points z."""

    def __init__(self, values: Array, z: Array) -> None:
        if z.shape != values.shape:
            raise _core.ShapeMismatch(f"z must have shape {values.shape} as data, got {z.shape}")
        if (z == 0.0).any():
            raise _core.InvalidArgument(f"z must not be 0, but z[{(z == 0.0).argmax()}] is")
        self.values = values.astype(np.complex128)
        on_axis = np.abs(z.imag) <= _SAME * np.abs(z).max(initial=0.0)
        self.z = np.where(on_axis, z.real, z).astype(np.complex128)
        self._tolerance = np.sqrt(EPS) * np.abs(self.values).max(initial=0.0)
        places = _Places(self.z)
        self._require_consistent(places)
        self.is_real = self._may_be_real(places)

    def _require_consistent(self, places: _Places) -> None:
        for index, value in enumerate(self.values):
            first = places.find(self.z[index])
            if first is not None and abs(value - self.values[first]) > self._tolerance:
                raise _core.InvalidArgument(
                    f"z must be distinct points, but z[{first}] and z[{index}] are the same, with "
                    "different data"
                )

    def _may_be_real(self, places: _Places) -> bool:
        """Whether no two samples contradict G(z̄) = conj(G(z))."""
        mirrored = (
            (value, places.find(z.conj())) for z, value in zip(self.z, self.values, strict=True)
        )
        return all(
            abs(value - self.values[other].conj()) <= self._tolerance
            for value, other in mirrored
            if other is not None
        )

    def require_enough(self, order: int) -> None:
        """One equation more than there are poles."""
        if self.values.size <= order:
            raise _core.InvalidArgument(
                f"data must have more than order = {order} samples, got {self.values.size}"
            )

    def circle(self) -> tuple[Array, Array]:
        """Every point once; of real models those with Im z ≤ 0, and the others as conjugates."""
        above = self.is_real & (self.z.imag > 0.0)
        points = np.where(above, self.z.conj(), self.z)
        first = _Places(points).first
        return points[first], np.where(above, self.values.conj(), self.values)[first]

    def allowed(self, poles: Array) -> Array:
        """Samples may be those of an unstable model."""
        return poles

    def predicted(self, made: TransferFunction) -> Array:
        return made._evaluated(self.z)[0]

    def pole_columns(self, poles: Array) -> Array:
        """1/(1 − ζ_i z), (L, d): what residues multiply."""
        return 1.0 / (1.0 - np.multiply.outer(self.z, poles))

    def numerator_columns(self, a: Array) -> Array:
        """zʲ/(1 + a_1 z + …): what b multiplies."""
        denominator = evaluate(with_leading_one(a), self.z)
        columns: Array = self.z[:, np.newaxis] ** np.arange(a.size) / denominator[:, np.newaxis]
        return columns

    def direct_column(self) -> Array:
        return np.ones((self.z.size, 1))

    def equations(self, columns: Array) -> Array:
        """Of real models, in real numbers."""
        return split(columns)


Data: TypeAlias = Kernel | Samples
