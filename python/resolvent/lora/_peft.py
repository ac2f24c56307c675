"""PEFT's names, shapes and settings: the one place that knows them.

PyTorch keeps a layer's weight as out×in and its adapter as lora_A (r×in) and lora_B (out×r); here
W is in×out = n×m, A is n×r and B is r×m. PEFT scales lora_B·lora_A by α/r, with rsLoRA by α/√r, in
AdaLoRA by α/(r + 10⁻⁵). Names and settings are those of PEFT 0.11 to 0.21.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, overload

from resolvent import _core
from resolvent._arrays import Array, ArrayLike, as_real, name_parameter, positive_parameter
from resolvent.lora._adapter import Adapter
from resolvent.lora._factored import Factored
from resolvent.lora._initialize import SCALINGS, scaling_factor

__all__ = [
    "adapter_config",
    "convert",
    "doubled_config",
    "factors",
    "is_other_part",
    "key",
    "module_of",
    "rank_and_scale",
    "split_key",
]

#: PEFT divides AdaLoRA's α by r plus this.
_ADALORA_SHIFT = 1e-5

#: A key of an adapter's file, or of a model's state with the adapter's own name in it.
_KEY = re.compile(
    r"(?:base_model\.model\.)?(?:(?P<module>.+)\.)?lora_(?P<part>A|B|E|magnitude_vector)"
    r"(?:\.(?!(?:weight|bias)$)[^.]+)?(?:\.weight)?"
)

#: Other tensors of adapters: embeddings have theirs. A bias of lora_B is an ordinary bias.
_OTHER_PART = re.compile(r"(?:.*\.)?lora_(?!B\.bias$).*")

#: PEFT's part → the field of Adapter.
_FIELDS = {"A": "A", "B": "B", "E": "importance", "magnitude_vector": "magnitude"}


@overload
def convert(value: Adapter, to: Literal["peft"], *, module: str = ...) -> dict[str, Array]: ...
@overload
def convert(
    value: Mapping[str, ArrayLike],
    to: Literal["post"],
    *,
    module: str = ...,
    alpha: float | None = ...,
    scaling: Literal["lora", "rslora"] = ...,
    offset: Factored | None = ...,
) -> Adapter: ...
@overload
def convert(value: ArrayLike, to: Literal["peft", "post"]) -> Array: ...
def convert(
    value: Any,
    to: str,
    *,
    module: str = "",
    alpha: float | None = None,
    scaling: Literal["lora", "rslora"] = "lora",
    offset: Factored | None = None,
) -> Any:
    """Between the orientation W = W₀ + s·A B and PyTorch's, with PEFT's names.

    Parameters
    ----------
    value : Adapter, mapping of str to array_like, or array_like of shape (n, m)
        An adapter; what PEFT saves of one; or a weight or gradient.
    to : {"peft", "post"}
        PyTorch's orientation, or the one used here. A single matrix is transposed either way.
    module : str
        Path of the layer in the model, "encoder.layer.0.attention.self.query". From a mapping with
        one layer it need not be given.
    alpha : float, optional
        PEFT's lora_alpha, which a mapping does not hold; the rank if not given.
    scaling : {"lora", "rslora"}
        Whether s is α/r or α/√r. AdaLoRA's s is α/(r + 10⁻⁵), as PEFT has it.
    offset : Factored, optional
        What the base of a mapping's adapter had added; PEFT does not keep it.

    Returns
    -------
    dict of str to ndarray, Adapter, or ndarray
        In the mapping, with ``base_model.model.<module>.`` in front: ``lora_A.weight`` = Aᵀ (r, n)
        and ``lora_B.weight`` = Bᵀ (m, r); with AdaLoRA ``lora_A``, ``lora_B`` and ``lora_E``
        (r, 1); with DoRA ``lora_magnitude_vector`` (m,) too. Arrays are C-contiguous copies.

    Raises
    ------
    InvalidArgument
        For an unknown `to` or `scaling`, a module that is not there, or several and no `module`.
    ShapeMismatch
        If the arrays of a layer do not fit each other, or a single array is no matrix.

    Notes
    -----
    s and the offset are not in a mapping: a round trip needs α, the scaling and the offset again.

    Examples
    --------
    >>> import resolvent as rv
    >>> adapter = rv.lora.Adapter([[1.0], [2.0]], [[3.0, 4.0, 5.0]], s=2.0)
    >>> saved = rv.lora.convert(adapter, "peft", module="layer.0")
    >>> {name: array.shape for name, array in saved.items()}
    {'base_model.model.layer.0.lora_A.weight': (1, 2),
     'base_model.model.layer.0.lora_B.weight': (3, 1)}
    >>> rv.lora.convert(saved, "post", alpha=2.0).delta.dense()
    array([[ 6.,  8., 10.],
           [12., 16., 20.]])
    """
    name_parameter(to, ("peft", "post"), "to")
    if isinstance(value, Adapter):
        if to == "post":
            raise _core.InvalidArgument("to must be 'peft' for an Adapter, which is in 'post' form")
        parts = factors(value)
        bare = value.importance is not None
        return {key(module, part, bare=bare): array for part, array in parts.items()}
    if isinstance(value, Mapping):
        if to == "peft":
            raise _core.InvalidArgument("to must be 'post' for a mapping, which is in 'peft' form")
        return _adapter(value, module, alpha, scaling, offset)
    array = as_real(value, "value")
    if array.ndim != 2:
        raise _core.ShapeMismatch(f"value must be a matrix, got shape {array.shape}")
    return array.T.copy()


def factors(adapter: Adapter) -> dict[str, Array]:
    """PEFT's parts: "A" (r, n), "B" (m, r), "E" (r, 1), "magnitude_vector" (m,)."""
    parts = {"A": adapter.A.T.copy(), "B": adapter.B.T.copy()}
    if adapter.importance is not None:
        parts["E"] = adapter.importance[:, None].copy()
    if adapter.magnitude is not None:
        parts["magnitude_vector"] = adapter.magnitude.copy()
    return parts


def key(module: str, part: str, *, bare: bool = False) -> str:
    """The name of a part in adapter_model.safetensors; `bare` for AdaLoRA, whose A and B are
    parameters and not layers."""
    ending = ".weight" if part in ("A", "B") and not bare else ""
    return ".".join(filter(None, ("base_model.model", module, f"lora_{part}{ending}")))


def split_key(name: str) -> tuple[str, str] | None:
    """(module, part) of a key, or None if it is no part of an adapter."""
    match = _KEY.fullmatch(name)
    return (match["module"] or "", match["part"]) if match else None


def is_other_part(name: str) -> bool:
    """Whether a tensor belongs to an adapter of a kind that is not known here."""
    return split_key(name) is None and _OTHER_PART.fullmatch(name) is not None


def module_of(weight: str) -> str:
    """The layer that a weight belongs to."""
    return weight.removesuffix(".weight")


def _adapter(
    saved: Mapping[str, ArrayLike],
    module: str,
    alpha: float | None,
    scaling: str,
    offset: Factored | None,
) -> Adapter:
    name_parameter(scaling, SCALINGS, "scaling")
    found: dict[str, dict[str, Array]] = {}
    for name, value in saved.items():
        split = split_key(name)
        if split is not None:
            found.setdefault(split[0], {})[split[1]] = as_real(value, name)
    if not module and len(found) == 1:
        (module,) = found
    if module not in found:
        listed = ", ".join(repr(m) for m in list(found)[:5])
        many = ", …" if len(found) > 5 else ""
        what = f"there are adapters of {listed}{many}" if found else "there is no adapter in value"
        raise _core.InvalidArgument(f"module must name a layer, got {module!r}: {what}")
    parts = found[module]
    rank = _checked_rank(module, parts)
    fields: dict[str, Any] = {_FIELDS[part]: array for part, array in parts.items()}
    fields["A"], fields["B"] = fields["A"].T.copy(), fields["B"].T.copy()
    method = "dora" if "magnitude" in fields else ""
    number = float(rank) if alpha is None else positive_parameter(alpha, "alpha")
    s = scaling_factor(scaling, number, rank)
    if "importance" in fields:
        fields["importance"] = fields["importance"].reshape(-1)
        method, s = "adalora", number / (rank + _ADALORA_SHIFT)
    return Adapter(s=s, offset=offset, method=method, **fields)


def _checked_rank(module: str, parts: dict[str, Array]) -> int:
    if "A" not in parts or "B" not in parts:
        raise _core.InvalidArgument(f"layer {module!r} lacks lora_A or lora_B")
    A, B = parts["A"], parts["B"]
    if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1]:
        raise _core.ShapeMismatch(
            f"layer {module!r}: lora_A must be (r, in) and lora_B (out, r), got {A.shape} and "
            f"{B.shape}"
        )
    rank, wide = len(A), len(B)
    if parts.get("E", A[:, :1]).size != rank:
        raise _core.ShapeMismatch(
            f"layer {module!r}: lora_E must be ({rank}, 1), got {parts['E'].shape}"
        )
    if parts.get("magnitude_vector", B[:, 0]).shape != (wide,):
        raise _core.ShapeMismatch(
            f"layer {module!r}: lora_magnitude_vector must be ({wide},), got "
            f"{parts['magnitude_vector'].shape}"
        )
    return rank


# ---- settings -----------------------------------------------------------------------------------


def adapter_config(
    method: str,
    modules: Iterable[str],
    others: Iterable[str],
    *,
    rank: int,
    alpha: float,
    scaling: str,
    fan_in_fan_out: bool,
    base_model: str | None,
    task_type: str | None,
    target_rank: int,
    total_steps: int,
) -> dict[str, Any]:
    """What PEFT reads from adapter_config.json; `others` are layers that get no adapter.

    init_lora_weights is true: a layer whose file is not found by PEFT then stays as it was, instead
    of getting random factors.
    """
    config: dict[str, Any] = {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": _integral(alpha),
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "revision": None,
        "target_modules": _target_modules(list(modules), others),
        "task_type": task_type,
    }
    if method == "adalora":
        # PEFT's AdaLoRA knows α/r only, and does without the setting r.
        return config | {
            "peft_type": "ADALORA",
            "lora_alpha": _integral(rank * scaling_factor(scaling, alpha, rank)),
            "init_r": rank,
            "target_r": target_rank,
            "tinit": 0,
            "tfinal": 0,
            "deltaT": 1,
            "beta1": 0.85,
            "beta2": 0.85,
            "orth_reg_weight": 0.5,
            "total_step": total_steps,
            "rank_pattern": None,
        }
    return config | {
        "peft_type": "LORA",
        "r": rank,
        "alpha_pattern": {},
        "rank_pattern": {},
        "use_dora": method == "dora",
        "use_rslora": scaling == "rslora",
    }


def rank_and_scale(config: Mapping[str, Any], module: str) -> tuple[int, float]:
    """r and s of a layer: the settings' patterns may set some layers apart."""
    rank = _of_layer(config, "rank_pattern", module, config["r"])
    alpha = _of_layer(config, "alpha_pattern", module, config["lora_alpha"])
    if type(rank) is not int or rank < 1 or not 0.0 < float(alpha) < math.inf:
        raise ValueError(f"r = {rank!r}, lora_alpha = {alpha!r}")
    return rank, scaling_factor("rslora" if config.get("use_rslora") else "lora", alpha, rank)


def _of_layer(config: Mapping[str, Any], pattern: str, module: str, default: Any) -> Any:
    """The first value whose expression fits the end of the path, as PEFT looks it up."""
    for ending, value in (config.get(pattern) or {}).items():
        if re.match(rf"(.*\.)?({ending})$", module):
            return value
    return default


def doubled_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an adapter of twice the rank and the same s."""
    factor = math.sqrt(2.0) if config.get("use_rslora") else 2
    return {
        **config,
        "r": 2 * config["r"],
        "lora_alpha": factor * config["lora_alpha"],
        "rank_pattern": {k: 2 * v for k, v in (config.get("rank_pattern") or {}).items()},
        "alpha_pattern": {k: factor * v for k, v in (config.get("alpha_pattern") or {}).items()},
    }


def _integral(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)


def _target_modules(modules: list[str], others: Iterable[str]) -> list[str] | str:
    """Their paths, or a pattern that only they fit.

    PEFT takes every module whose path ends in a listed one. A file does not show modules without
    weights, so short and numbered paths ("1" is the end of "0.1") are not left to that.
    """
    chosen = set(modules)
    endings = (other.split(".", k)[-1] for other in others for k in range(1, other.count(".") + 1))
    told_apart = all("." in module and re.search("[a-z]", module, re.I) for module in modules)
    if told_apart and chosen.isdisjoint(endings):
        return modules
    return "|".join(re.escape(module) for module in modules)
