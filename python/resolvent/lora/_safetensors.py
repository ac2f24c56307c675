"""Tensors in safetensors files, one at a time.

A file is the length of a header (8 bytes, little-endian), the header (JSON: name → dtype, shape,
data_offsets from its end) and the data, without gaps. The library of that name maps whole files,
has no bfloat16 for NumPy, takes repeated names in silence, and writes only what is all in memory.
Here a tensor is read by seeking and is widened, and turned, block by block, so that memory is that
of one tensor; files are written as their parts are made.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from resolvent import _core
from resolvent._arrays import Array
from resolvent.lora._norms import frobenius

__all__ = [
    "BLOCK_BYTES",
    "DTYPES",
    "Header",
    "Tensor",
    "TensorFiles",
    "Writer",
    "matrix",
    "norm",
    "read",
    "read_header",
    "rounded",
]

#: Names of files' floating types by the names that people give them.
DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

#: How a floating type's bytes are viewed.
_VIEWS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}

#: Bytes per element, for the check of a header; of other types any length is taken.
_SIZES = {
    **{kind: np.dtype(view).itemsize for kind, view in _VIEWS.items()},
    "I64": 8,
    "U64": 8,
    "C64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    **dict.fromkeys(("F8_E4M3", "F8_E4M3FNUZ", "F8_E5M2", "F8_E5M2FNUZ", "F8_E8M0"), 1),
}

#: The longest header that the format allows.
_LONGEST_HEADER = 100_000_000

#: The longest side of an array, which matters where another is 0: the data is not longer than the
#: file.
_LONGEST_SIDE = 2**48

#: What is read or written at once.
BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Tensor:
    """Where a tensor is.

    Attributes
    ----------
    name : str
    file : Path
    kind : str
        The file's name of the type: "F32", "BF16", …
    shape : tuple of int
    start, stop : int
        Bytes in the file.
    """

    name: str
    file: Path
    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def is_float(self) -> bool:
        """Whether :func:`matrix` reads it."""
        return self.kind in _VIEWS

    @property
    def is_known(self) -> bool:
        """Whether a :class:`Writer` takes its type."""
        return self.kind in _SIZES

    @property
    def dtype(self) -> np.dtype[Any]:
        """What it becomes in memory: float64 for F64, else float32."""
        return np.dtype(np.float64 if self.kind == "F64" else np.float32)


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes
    ----------
    tensors : dict of str to Tensor
    metadata : dict of str to str
    digest : str
        SHA-256 of its text.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    digest: str


class TensorFiles:
    """The tensors of a file, of several, or of a folder; only headers are read.

    Parameters
    ----------
    path : path-like
        A .safetensors file, the index (.safetensors.index.json) of a model in several, or a folder
        with .safetensors files.

    Attributes
    ----------
    tensors : dict of str to Tensor
    files : list of Path
        All that is read, an index among them.
    fingerprint : list of [str, int, int, str]
        Of every file its name, size, time of change in ns, and the SHA-256 of its header.

    Raises
    ------
    InvalidArgument
        For a file that is not there, cut short, not in the format, or with a name twice.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.tensors: dict[str, Tensor] = {}
        self.fingerprint: list[list[Any]] = []
        shards = _files(self.path)
        self.files = shards if self.path.is_dir() else list({self.path, *shards})
        for file in shards:
            header = read_header(file)
            for name, tensor in header.tensors.items():
                if name in self.tensors:
                    raise _core.InvalidArgument(
                        f"{file}: tensor {name!r} is in {self.tensors[name].file} too"
                    )
                self.tensors[name] = tensor
            state = file.stat()
            self.fingerprint.append([file.name, state.st_size, state.st_mtime_ns, header.digest])


def read_header(file: Path) -> Header:
    """What is in a file, checked against its length.

    Raises
    ------
    InvalidArgument
        For a file that is not there, cut short, not in the format, or with a name twice.
    """
    try:
        with file.open("rb") as data:
            size = os.fstat(data.fileno()).st_size
            length = int.from_bytes(data.read(8), "little")
            if size < 8 or length > _LONGEST_HEADER:
                raise _core.InvalidArgument(f"{file}: not a safetensors file")
            text = data.read(length)
    except OSError as error:
        raise _core.InvalidArgument(f"{file}: {error.strerror or error}") from error
    if text[:1] not in (b"{", b""):
        raise _core.InvalidArgument(f"{file}: not a safetensors file")
    if len(text) < length:
        raise _core.InvalidArgument(
            f"{file}: cut short: its header has {length} bytes, {len(text)} are there"
        )
    header = _parsed(file, text)
    metadata = _metadata(file, header.pop("__metadata__", None))
    tensors = [_tensor(file, name, entry, 8 + length) for name, entry in header.items()]
    _check_data(file, sorted(tensors, key=lambda t: (t.start, t.stop)), 8 + length, size)
    return Header({t.name: t for t in tensors}, metadata, hashlib.sha256(text).hexdigest())


def read(tensor: Tensor) -> Array:
    """A tensor as a C-contiguous float32 or float64 array."""
    result = np.empty(tensor.shape, tensor.dtype)
    flat = result.reshape(-1)
    for start, block in _blocks(tensor):
        first = start * block.shape[1]
        flat[first : first + block.size] = block.reshape(-1)
    return result


def matrix(tensor: Tensor, *, transpose: bool = False) -> Array:
    """A 2-D tensor as a C-contiguous float32 or float64 array, or its transpose.

    Memory beside the result: one block.
    """
    rows, columns = tensor.shape
    if not transpose:
        return read(tensor)
    result = np.empty((columns, rows), tensor.dtype)
    for start, block in _blocks(tensor):
        result[:, start : start + len(block)] = block.T
    return result


def norm(tensor: Tensor) -> float:
    """√Σx² in double precision, of a tensor that is never whole in memory."""
    return math.hypot(*(frobenius(block) for _, block in _blocks(tensor)))


def rounded(array: Array, kind: str, what: str) -> Array:
    """The values that a file of this type gives back, as float32 or float64.

    Raises
    ------
    InvalidArgument
        Where a finite value is too large for the type.
    """
    decoded = _decode(_encode(array, kind, what), kind).reshape(array.shape)
    return np.ascontiguousarray(decoded)


class Writer:
    """A file that is written as its tensors come, in the order of its layout.

    Parameters
    ----------
    file : Path
    layout : mapping of str to (str, tuple of int)
        Name → (type as in the format, shape). Wider types are put first, so that all are aligned.
    metadata : mapping of str to str, optional

    Attributes
    ----------
    names : list of str
        The order in which :meth:`write` has to be called.
    """

    def __init__(
        self,
        file: Path,
        layout: Mapping[str, tuple[str, tuple[int, ...]]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.names = sorted(layout, key=lambda name: -_SIZES[layout[name][0]])
        self._layout = dict(layout)
        self._left = list(self.names)
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        offset = 0
        for name in self.names:
            kind, shape = layout[name]
            stop = offset + math.prod(shape) * _SIZES[kind]
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, stop]}
            offset = stop
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._out: BinaryIO = file.open("wb")
        self._out.write(len(text).to_bytes(8, "little") + text)

    def write(self, name: str, blocks: Iterable[Array]) -> None:
        """The next tensor, as the blocks of its rows."""
        kind, shape = self._layout[name]
        written = 0
        for block in blocks:
            data = _encode(block, kind, f"tensor {name!r}")
            self._out.write(data.data)
            written += data.size
        self._finish(name, written, math.prod(shape))

    def copy(self, tensor: Tensor) -> None:
        """The next tensor, byte by byte out of another file, whatever its type."""
        for block in _raw_blocks(tensor):
            self._out.write(block.data)
        self._finish(tensor.name, tensor.stop - tensor.start, tensor.stop - tensor.start)

    def _finish(self, name: str, written: int, wanted: int) -> None:
        expected = self._left.pop(0)
        if name != expected or written != wanted:
            raise RuntimeError(f"wrote {written} elements of {name!r} where {expected!r} is due")

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._out:
            if kind is None:
                self._out.flush()
                os.fsync(self._out.fileno())
        if kind is None and self._left:
            raise RuntimeError(f"{self._left[0]!r} was not written")


# ---- headers ------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        if not found:
            raise _core.InvalidArgument(f"{path}: there is no .safetensors file in this folder")
        return found
    if path.suffix != ".json":
        return [path]
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return sorted({path.parent / _file_name(file) for file in index["weight_map"].values()})
    except OSError as error:
        raise _core.InvalidArgument(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _core.InvalidArgument(f"{path}: not the index of a model in several files") from error


def _file_name(name: Any) -> str:
    """What a file can be called."""
    if not isinstance(name, str) or b"\0" in os.fsencode(name):
        raise TypeError(name)
    return name


def _parsed(file: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, value in pairs:
            if name in seen:
                raise _core.InvalidArgument(f"{file}: {name!r} is there twice")
            seen[name] = value
        return seen

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except _core.InvalidArgument:
        raise
    except (ValueError, RecursionError) as error:
        raise _core.InvalidArgument(f"{file}: not a safetensors file") from error
    if not isinstance(header, dict):
        raise _core.InvalidArgument(f"{file}: not a safetensors file")
    return header


def _metadata(file: Path, found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _core.InvalidArgument(f"{file}: __metadata__ must map names to texts")
    return found


def _tensor(file: Path, name: str, entry: Any, base: int) -> Tensor:
    try:
        name.encode()
    except UnicodeEncodeError as error:  # JSON can escape halves of characters
        raise _core.InvalidArgument(f"{file}: {name!r} is no name: it is no Unicode") from error
    try:
        kind, shape = entry["dtype"], _integers(entry["shape"])
        start, stop = _integers(entry["data_offsets"])
    except (TypeError, ValueError, KeyError) as error:
        raise _core.InvalidArgument(
            f"{file}: tensor {name!r} lacks a dtype, a shape or data_offsets of whole numbers"
        ) from error
    if not isinstance(kind, str):
        raise _core.InvalidArgument(f"{file}: tensor {name!r} has the dtype {kind!r}")
    size = _SIZES.get(kind)
    if start < 0 or stop < start or min(shape, default=0) < 0:
        raise _core.InvalidArgument(f"{file}: tensor {name!r} has offsets or a shape below 0")
    if max(shape, default=0) > _LONGEST_SIDE:
        raise _core.InvalidArgument(f"{file}: tensor {name!r} has the shape {shape}")
    if size is not None and stop - start != size * math.prod(shape):
        raise _core.InvalidArgument(
            f"{file}: tensor {name!r} of shape {shape} and type {kind} needs "
            f"{size * math.prod(shape)} bytes, its offsets give it {stop - start}"
        )
    return Tensor(name, file, kind, shape, base + start, base + stop)


def _integers(value: Any) -> tuple[int, ...]:
    """A list of whole numbers; not of true, "1" or 1.0."""
    if type(value) is not list or any(type(number) is not int for number in value):
        raise TypeError(value)
    return tuple(value)


def _check_data(file: Path, tensors: list[Tensor], base: int, size: int) -> None:
    """Without gaps, and all there."""
    end = base
    for tensor in tensors:
        if tensor.start != end:
            what = "overlaps the one before it" if tensor.start < end else "comes after a gap"
            raise _core.InvalidArgument(f"{file}: tensor {tensor.name!r} {what}")
        end = tensor.stop
        if end > size:
            raise _core.InvalidArgument(
                f"{file}: cut short: tensor {tensor.name!r} ends at byte {end}, the file at {size}"
            )
    if end < size:
        raise _core.InvalidArgument(f"{file}: {size - end} bytes too long for its header")


# ---- data ---------------------------------------------------------------------------------------


def _blocks(tensor: Tensor) -> Iterator[tuple[int, Array]]:
    """(first row, rows) as float32 or float64."""
    if not tensor.is_float:
        raise _core.InvalidArgument(
            f"{tensor.file}: tensor {tensor.name!r} holds {tensor.kind}; floating-point numbers "
            f"are needed ({', '.join(_VIEWS)})"
        )
    count = tensor.shape[0] if tensor.shape else 1
    if count == 0 or tensor.stop == tensor.start:
        return
    width = math.prod(tensor.shape) // count
    view = np.dtype(_VIEWS[tensor.kind])
    step = max(1, BLOCK_BYTES // (width * view.itemsize))
    raw = np.empty((min(step, count), width), view)
    with _data(tensor) as data:
        for start in range(0, count, step):
            rows = raw[: min(step, count - start)]
            _fill(data, rows, tensor)
            yield start, _decode(rows, tensor.kind)


def _raw_blocks(tensor: Tensor) -> Iterator[Array]:
    """Bytes."""
    size = tensor.stop - tensor.start
    raw = np.empty(min(size, BLOCK_BYTES), np.uint8)
    with _data(tensor) as data:
        for start in range(0, size, BLOCK_BYTES):
            block = raw[: size - start]
            _fill(data, block, tensor)
            yield block


@contextmanager
def _data(tensor: Tensor) -> Iterator[Any]:
    """The file, at the first byte of a tensor."""
    try:
        with tensor.file.open("rb", buffering=0) as data:
            data.seek(tensor.start)
            yield data
    except OSError as error:
        raise _core.InvalidArgument(f"{tensor.file}: {error.strerror or error}") from error


def _fill(data: Any, rows: Array, tensor: Tensor) -> None:
    view = rows.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        read = data.readinto(view[done:])
        if not read:
            raise _core.InvalidArgument(
                f"{tensor.file}: cut short while tensor {tensor.name!r} was read"
            )
        done += read


def _decode(raw: Array, kind: str) -> Array:
    if kind == "BF16":
        return np.asarray((raw.astype("<u4") << 16).view("<f4"))
    return np.asarray(raw.astype(np.float64 if kind == "F64" else np.float32, copy=False))


def _encode(array: Array, kind: str, what: str) -> Array:
    """C-contiguous, in the file's bytes; to the nearest, ties to even (float64 by way of float32
    to bfloat16)."""
    raw: Array
    with np.errstate(over="ignore"):
        if kind == "BF16":
            values = np.ascontiguousarray(array, "<f4")
            bits = values.view("<u4")
            raw = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
            lost = ~np.isfinite(values) | ((raw & 0x7F80) == 0x7F80)  # a NaN's carry can wrap
        else:
            raw = np.ascontiguousarray(array, _VIEWS[kind])
            lost = ~np.isfinite(raw)
    if lost.any():
        largest = float(np.max(np.abs(array)))
        named = next(name for name, value in DTYPES.items() if value == kind)
        raise _core.InvalidArgument(f"{what}: {named} cannot hold {largest:.3g}")
    return raw
