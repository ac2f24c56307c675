"""The noises of perturb_max: by name, or from the caller's functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from resolvent import _core
from resolvent._arrays import Array, as_real, positive_parameter

__all__ = ["NOISES", "Noise", "NoiseName", "Perturbation"]

NoiseName = Literal[
    "gumbel", "normal", "logistic", "laplace", "uniform", "exponential", "student-t", "cauchy"
]
NOISES: tuple[str, ...] = get_args(NoiseName)

#: A name, or (pdf, cdf, quantile), functions of arrays.
Noise: TypeAlias = (
    NoiseName | tuple[Callable[[Array], Any], Callable[[Array], Any], Callable[[Array], Any]]
)

Draw: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], Array]

_DRAWS: dict[str, Draw] = {
    "gumbel": lambda rng, shape: rng.gumbel(size=shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "logistic": lambda rng, shape: rng.logistic(size=shape),
    "laplace": lambda rng, shape: rng.laplace(size=shape),
    "uniform": lambda rng, shape: rng.random(shape),
    "exponential": lambda rng, shape: rng.standard_exponential(shape),
    "cauchy": lambda rng, shape: rng.standard_cauchy(shape),
}


@dataclass(frozen=True)
class Perturbation:
    """A noise, ready to be integrated over and drawn from."""

    core: _core.probmap.Noise
    draw: Draw

    @classmethod
    def of(cls, noise: Any, df: Any) -> Perturbation:
        """Checks what the caller gave."""
        if isinstance(noise, str):
            return cls._named(noise, df)
        if not (isinstance(noise, tuple | list) and len(noise) == 3 and all(map(callable, noise))):
            listed = ", ".join(repr(name) for name in NOISES)
            raise _core.InvalidArgument(
                f"noise must be one of {listed}, or three functions (pdf, cdf, quantile); "
                f"got {noise!r}"
            )
        _refuse_df(df)
        return cls._from_functions(*noise)

    @classmethod
    def _named(cls, name: str, df: Any) -> Perturbation:
        if name != "student-t":
            _refuse_df(df)
            # An unknown name is refused there.
            return cls(_core.probmap.noise_named(name, 1.0), _DRAWS.get(name, _DRAWS["normal"]))
        if df is None:
            raise _core.InvalidArgument("noise 'student-t' needs df=, its degrees of freedom")
        freedom = positive_parameter(df, "df")
        return cls(
            _core.probmap.noise_named(name, freedom),
            lambda rng, shape: rng.standard_t(freedom, size=shape),
        )

    @classmethod
    def _from_functions(
        cls,
        pdf: Callable[[Array], Any],
        cdf: Callable[[Array], Any],
        quantile: Callable[[Array], Any],
    ) -> Perturbation:
        quartiles = as_real(quantile(np.array([0.25, 0.5, 0.75])), "quantile")
        if quartiles.shape != (3,):
            raise _core.ShapeMismatch(
                "quantile must return an array of the shape of its argument, (3,), "
                f"got {quartiles.shape}"
            )
        low, middle, high = quartiles.astype(np.float64)
        if not (np.isfinite([low, middle, high]).all() and low < high):
            raise _core.InvalidArgument(
                f"quantile must be finite and rise, got {low:g}, {middle:g}, {high:g} "
                f"at 0.25, 0.5, 0.75"
            )
        return cls(
            _core.probmap.noise_from(pdf, cdf, float(middle), float(high - low)),
            functools.partial(_draw_from, quantile),
        )

    def maximum(self, x: Array, temperature: Array, refuse_empty: bool, out: Array) -> None:
        """Writes P[argmax(x/τ + ε) = i], integrated in double precision."""
        into = _as_double(out)
        _core.probmap.perturb_max(
            x.astype(np.float64, copy=False), self.core, temperature, refuse_empty, into
        )
        _copy_back(into, out)

    def product(self, x: Array, temperature: Array, g: Array, out: Array) -> None:
        """Writes Jg."""
        into = _as_double(out)
        _core.probmap.perturb_max_product(
            x.astype(np.float64, copy=False),
            g.astype(np.float64, copy=False),
            self.core,
            temperature,
            into,
        )
        _copy_back(into, out)

    def jacobian(self, x: Array, temperature: Array) -> Array:
        """J of every row, (H, n, n), in the type of x."""
        found = _core.probmap.perturb_max_jacobian(
            x.astype(np.float64, copy=False), self.core, temperature
        )
        return found.astype(x.dtype, copy=False)


def _refuse_df(df: Any) -> None:
    if df is not None:
        raise _core.InvalidArgument(f"df is for noise 'student-t' alone, got {df!r}")


def _draw_from(
    quantile: Callable[[Array], Any], rng: np.random.Generator, shape: tuple[int, ...]
) -> Array:
    # The middles of 2⁵² cells: never 0 or 1, where quantile may be infinite.
    uniform = (rng.integers(0, 1 << 52, shape) + 0.5) * 2.0**-52
    return np.asarray(quantile(uniform), dtype=np.float64)


def _as_double(out: Array) -> Array:
    return out if out.dtype == np.float64 else np.empty(out.shape)


def _copy_back(result: Array, out: Array) -> None:
    if result is not out:
        out[...] = result
