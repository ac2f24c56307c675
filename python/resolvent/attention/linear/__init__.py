"""Recurrences that are linear in their state, step by step, in parallel and in chunks.

With a matrix for a state :func:`linear_attention`, :func:`retnet` and :func:`mamba2`; with a
diagonal transition :func:`mamba`, :func:`rwkv`, :func:`lru` and :func:`s5`. Every function takes
``form``, ``chunk``, ``initial`` and ``return_state``, and has an adjoint whose name ends in
``_vjp``.
"""

from __future__ import annotations

from resolvent.attention.linear._common import FORMS, Form
from resolvent.attention.linear._diagonal import (
    S5_RULES,
    LruGradient,
    S5Gradient,
    S5Rule,
    lru,
    lru_vjp,
    s5,
    s5_vjp,
)
from resolvent.attention.linear._outer import (
    FEATURES,
    LinearAttentionGradient,
    Mamba2Gradient,
    RetNetGradient,
    linear_attention,
    linear_attention_vjp,
    mamba2,
    mamba2_vjp,
    retnet,
    retnet_vjp,
)
from resolvent.attention.linear._rwkv import RwkvGradient, rwkv, rwkv_vjp
from resolvent.attention.linear._selective import (
    MAMBA_RULES,
    MambaGradient,
    MambaRule,
    mamba,
    mamba_vjp,
)

__all__ = [
    "FEATURES",
    "FORMS",
    "MAMBA_RULES",
    "S5_RULES",
    "Form",
    "LinearAttentionGradient",
    "LruGradient",
    "Mamba2Gradient",
    "MambaGradient",
    "MambaRule",
    "RetNetGradient",
    "RwkvGradient",
    "S5Gradient",
    "S5Rule",
    "linear_attention",
    "linear_attention_vjp",
    "lru",
    "lru_vjp",
    "mamba",
    "mamba2",
    "mamba2_vjp",
    "mamba_vjp",
    "retnet",
    "retnet_vjp",
    "rwkv",
    "rwkv_vjp",
    "s5",
    "s5_vjp",
]
