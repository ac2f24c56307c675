"""Resolvent: the mathematics behind modern sequence models, computed exactly and shown.

The public names are those of the domains, one module each::

    import resolvent as rv
    memory = rv.hippo.Memory(rv.hippo.system("legs", 64))

and the few here that concern all of them: errors, warnings, threads and :func:`doctor`.
"""

from __future__ import annotations

from resolvent import _loader as _loader  # loads resolvent._core, so it comes first
from resolvent._core import (
    DeviceUnavailable,
    DtypeError,
    InvalidArgument,
    NotConverged,
    ResolventError,
    ShapeMismatch,
    __version__,
    get_threads,
)

from resolvent import discretize, hippo, spectral  # isort: skip
from resolvent import rational, ssm  # isort: skip
from resolvent import lora, probmap  # isort: skip
from resolvent import attention, distill  # isort: skip
from resolvent._threads import set_threads
from resolvent._warnings import IllConditionedWarning, ResolutionWarning, StabilityWarning
from resolvent.diagnosis import Doctor, doctor

__all__ = [
    "DeviceUnavailable",
    "Doctor",
    "DtypeError",
    "IllConditionedWarning",
    "InvalidArgument",
    "NotConverged",
    "ResolutionWarning",
    "ResolventError",
    "ShapeMismatch",
    "StabilityWarning",
    "__version__",
    "attention",
    "discretize",
    "distill",
    "doctor",
    "get_threads",
    "hippo",
    "lora",
    "probmap",
    "rational",
    "set_threads",
    "spectral",
    "ssm",
]

# Errors and warnings are named, pickled and documented by where users find them.
for _name in __all__:
    if isinstance(globals()[_name], type) and issubclass(globals()[_name], Exception):
        globals()[_name].__module__ = __name__
del _name
