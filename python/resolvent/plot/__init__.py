"""Pictures of result objects, one module per domain, and the style they share.

Every function takes the axes to draw on, or makes them, and returns them.
"""

from __future__ import annotations

from resolvent.plot import attention, discretize, distill, hippo, lora, probmap, spectral, style

__all__ = ["attention", "discretize", "distill", "hippo", "lora", "probmap", "spectral", "style"]
