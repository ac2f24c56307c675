"""``resolvent hippo``: a recording in N numbers."""

from __future__ import annotations

import csv
import io
import math
import shutil
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.progress import Progress

import resolvent
from resolvent import hippo
from resolvent._files import permissions
from resolvent.cli._common import BadInput, Quiet, group, progress_bar, require_directory
from resolvent.hippo import ReconstructionError, System

__all__ = ["app"]

app = group("HiPPO: the past of a signal in N numbers.")

#: exact costs N² per sample: taken unasked up to this many multiplications.
_EXACT_WORK = 4e9

#: Work of one call between two moves of the progress bar.
_BLOCK_WORK = 2e7


@dataclass(frozen=True)
class _Recording:
    """Samples read from a file."""

    values: npt.NDArray[Any]
    rate: float | None
    column: str | None


@app.command()
def compress(
    file: Annotated[Path, typer.Argument(help="A recording: .npy, .csv or .wav.")],
    out: Annotated[Path, typer.Option(help="The folder for the results.")],
    measure: Annotated[str, typer.Option(help="Which past is kept, and how.")] = "legs",
    order: Annotated[int, typer.Option(help="How many coefficients.")] = 64,
    rule: Annotated[
        str | None, typer.Option(help="How time is stepped; chosen by the measure if not given.")
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            help="Length of the window (legt, lmu, fout; the whole recording if not given) or "
            "unit of time of a fading memory, in units of --step."
        ),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(help="Sampling interval; 1, or 1/rate of a .wav, if not given."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column or channel: its name, or its number from 0.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Keep a recording in N numbers.

    Writes coefficients.npz, report.md and plot.png into the folder: all three or none.
    """
    require_directory(out)
    probe = _system(measure, order, 1.0)  # before a large file is read
    if rule is not None and rule not in hippo.RULES:
        valid = ", ".join(repr(r) for r in hippo.RULES)
        raise BadInput(f"rule must be one of {valid}; got {rule!r}")
    with progress_bar(quiet) as bar:
        task = bar.add_task("reading", total=None)
        recording = _read(file, column)
        values = recording.values
        interval = step if step is not None else 1.0 / (recording.rate or 1.0)
        if not (math.isfinite(interval) and interval > 0.0):
            raise BadInput(f"step must be positive and finite, got {interval:g}")
        length = interval * len(values)
        span = window if window is not None else length
        if window is None and probe.clock == "invariant":
            span = length / (3.0 * order)
        system = _system(measure, order, span)
        chosen, why = (rule, "asked for") if rule is not None else _rule(system, len(values))
        result = _kept(values, system, chosen, interval, bar, task)
        bar.update(task, description="writing", total=None)
        report = _report(file, recording, result, interval, why)
        _write(out, result, report, interval, length)
    if not quiet:
        numbers = f"RMSE {result.rmse:.4g}, SNR {result.snr_db:.1f} dB"
        ratio = f"{result.signal.size / order:.3g} samples per coefficient"
        print(f"{out}: {numbers}, {ratio}")


def _system(measure: str, order: int, window: float) -> System:
    return hippo.system(measure, order, window=window)  # type: ignore[arg-type]


def _rule(system: System, length: int) -> tuple[str, str]:
    """The rule for a system when none is asked for, and the reason."""
    windowed = system.clock == "window"
    if float(system.order) ** 2 * length <= _EXACT_WORK:
        if system.measure == "fous" or windowed:
            return "exact", "it solves the memory's own equation for samples that are held"
        return "exact", "it gives the exact projection of samples that are held"
    if system.clock == "scaled":
        return "bilinear-split", (
            "it is of second order and takes O(N) per sample; exact takes O(N²), too long here"
        )
    return "bilinear", (
        "it is of second order and takes O(N) per sample; exact takes O(N²), too long here"
    )


def _kept(
    values: npt.NDArray[Any],
    system: System,
    rule: str,
    step: float,
    bar: Progress,
    task: Any,
) -> ReconstructionError:
    """What a memory keeps of a signal, fed in blocks so that the progress bar moves."""
    memory = hippo.Memory(system, rule=rule, step=step)  # type: ignore[arg-type]
    dense = rule in ("exact", "zoh") or system.measure == "fous"
    work = float(system.order) ** (2 if dense else 1)
    block = max(1, int(_BLOCK_WORK / work))
    bar.update(task, description="remembering", total=len(values), completed=0)
    for start in range(0, len(values), block):
        memory.update(values[start : start + block])
        bar.update(task, completed=min(start + block, len(values)))
    bar.update(task, description="comparing", total=None)
    return hippo.reconstruction_error(
        values,
        system,
        rule=rule,  # type: ignore[arg-type]
        step=step,
        coefficients=memory.coefficients,
    )


_MEASURES = {
    "legs": "Legendre polynomials over the whole past",
    "legt": "Legendre polynomials over a window",
    "lmu": "Legendre polynomials over a window, in the Legendre memory unit's convention",
    "lagt": "Laguerre functions: a past that fades",
    "glagt": "generalised Laguerre functions: a past that fades",
    "fout": "a Fourier series over a window",
    "fous": "a Fourier series over the whole past",
}


def _report(
    file: Path, recording: _Recording, result: ReconstructionError, step: float, why: str
) -> str:
    system = result.system
    samples, order = len(recording.values), system.order
    size = 8 * order
    rows = [
        ("recording", f"`{file.name}`" + (f", {recording.column}" if recording.column else "")),
        ("samples", f"{samples} of step {step:g}"),
        ("measure", f"`{system.measure}`: {_MEASURES[system.measure]}"),
        ("order", f"{order} coefficients, normalisation `{system.normalization}`"),
    ]
    if system.clock != "scaled":
        what = "window" if system.clock == "window" else "unit of time"
        rows.append((what, f"{system.window:g}"))
    rows += [
        ("rule", f"`{result.rule}`: {why}"),
        ("RMSE", f"{result.rmse:.6g}"),
        ("RMSE of the exact projection", f"{result.optimal_rmse:.6g} (no rule does better)"),
        ("SNR", f"{result.snr_db:.2f} dB"),
        ("compared", f"{result.signal.size} samples, those that the measure remembers"),
        ("compression ratio", f"{result.signal.size / order:.4g} samples per coefficient"),
        ("size", f"{8 * result.signal.size} bytes as float64, {size} bytes of coefficients"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# {file.name} in {order} numbers\n\n| | |\n|---|---|\n{table}\n\n"
        "![Signal, reconstruction and error](plot.png)\n\n"
        "`coefficients.npz` has the coefficients with what is needed to use them:\n\n"
        "```python\n"
        "import numpy as np\n"
        "import resolvent as rv\n\n"
        'data = np.load("coefficients.npz")\n'
        "system = rv.hippo.system(\n"
        '    str(data["measure"]), int(data["order"]), window=float(data["window"])\n'
        ")\n"
        'now = float(data["time"])\n'
        'signal = rv.hippo.reconstruct(data["coefficients"], system, [now], now)\n'
        "```\n\n"
        f"Made by resolvent {resolvent.__version__}.\n"
    )


def _write(
    out: Path,
    result: ReconstructionError,
    report: str,
    step: float,
    now: float,
) -> None:
    """All files or none: made in a folder beside `out`, then moved."""
    from matplotlib.figure import Figure

    from resolvent.plot.hippo import plot_reconstruction_error
    from resolvent.plot.style import theme

    system = result.system
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        np.savez(
            temporary / "coefficients.npz",
            coefficients=result.coefficients,
            measure=system.measure,
            order=system.order,
            window=system.window,
            normalization=system.normalization,
            rule=result.rule,
            step=step,
            time=now,
        )
        (temporary / "report.md").write_text(report, encoding="utf-8")
        with theme("light"):
            picture = Figure(figsize=(9.0, 4.6), layout="constrained")
            plot_reconstruction_error(result, picture.subplots())
            picture.savefig(temporary / "plot.png", dpi=110, metadata={"Software": None})
        for made in temporary.iterdir():
            made.chmod(permissions(0o666))
        if out.exists():
            for made in temporary.iterdir():
                made.replace(out / made.name)
        else:
            temporary.chmod(permissions(0o777))
            temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# ---- reading recordings -------------------------------------------------------------------------


def _read(file: Path, column: str | None) -> _Recording:
    """The samples of a file, finite and at least one, or a BadInput that says why not."""
    readers = {".npy": _read_npy, ".csv": _read_csv, ".wav": _read_wav}
    reader = readers.get(file.suffix.lower())
    try:
        if file.is_dir():
            raise BadInput(f"{file}: is a directory")
        size = file.stat().st_size
        if reader is None:
            kinds = ", ".join(readers)
            raise BadInput(f"{file}: its name must end in one of {kinds}")
        if size == 0:
            raise BadInput(f"{file}: the file is empty")
        recording = reader(file, column)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from error
    values = recording.values
    if values.size == 0:
        raise BadInput(f"{file}: there are no samples in it")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise BadInput(
            f"{file}: sample {bad[0]} is {values[bad[0]]} ({bad.size} of {values.size} are not "
            "finite)"
        )
    return recording


def _pick(file: Path, names: list[str], column: str | None, what: str) -> int:
    """The number of the column that `column` names or counts."""
    if column is None:
        if len(names) == 1:
            return 0
        raise BadInput(f"{file}: choose a {what} by --column: {_listed(names)}")
    if column in names:
        return names.index(column)
    if column.isdecimal() and int(column) < len(names):
        return int(column)
    raise BadInput(f"{file}: there is no {what} {column!r}; there are {_listed(names)}")


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, … ({len(names)} in all)" if len(names) > 12 else shown


def _read_npy(file: Path, column: str | None) -> _Recording:
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BadInput(f"{file}: not a .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{file}: not a .npy file of numbers")
    if array.dtype.kind not in "iuf":
        raise BadInput(f"{file}: the samples must be real numbers, they are {array.dtype}")
    if array.ndim not in (1, 2):
        raise BadInput(f"{file}: the shape must be (L,) or (L, columns), it is {array.shape}")
    if array.ndim == 1:
        if column not in (None, "0"):
            raise BadInput(f"{file}: there is no column {column!r}; there is only one")
        return _Recording(array.astype(np.float64), None, None)
    if array.shape[1] == 0:
        raise BadInput(f"{file}: there are no samples in it")
    chosen = _pick(file, [str(k) for k in range(array.shape[1])], column, "column")
    return _Recording(array[:, chosen].astype(np.float64), None, f"column {chosen}")


def _read_csv(file: Path, column: str | None) -> _Recording:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: not a text file in UTF-8") from error
    if "\0" in text:
        raise BadInput(f"{file}: not a text file")
    sample = "\n".join(line for line in text[:20000].splitlines()[:20] if line.strip())
    counts = {mark: sample.count(mark) for mark in ";\t,"}
    delimiter = max(counts, key=lambda mark: counts[mark])
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        lines = [
            (rows.line_num, [cell.strip() for cell in row])
            for row in rows
            if any(cell.strip() for cell in row) and not row[0].lstrip().startswith("#")
        ]
    except csv.Error as error:
        raise BadInput(f"{file}, line {rows.line_num}: {error}") from error
    if not lines:
        raise BadInput(f"{file}: there are no samples in it")
    head = lines[0][1]
    headed = not any(_is_number(cell) for cell in head)
    names = head if headed else [str(k) for k in range(len(head))]
    chosen = _pick(file, names, column, "column")
    body = lines[1:] if headed else lines
    values = np.empty(len(body))
    for k, (number, row) in enumerate(body):
        cell = row[chosen] if chosen < len(row) else ""
        if not _is_number(cell):
            raise BadInput(f"{file}, line {number}, column {names[chosen]}: {cell!r} is no number")
        values[k] = float(cell)
    label = f"column {names[chosen]}" if len(names) > 1 or headed else None
    return _Recording(values, None, label)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_wav(file: Path, column: str | None) -> _Recording:
    try:
        with wave.open(str(file), "rb") as recording:
            channels, width = recording.getnchannels(), recording.getsampwidth()
            rate = recording.getframerate()
            data = recording.readframes(recording.getnframes())
    except (wave.Error, EOFError) as error:
        detail = str(error) or "it ends too early"
        raise BadInput(f"{file}: not a PCM .wav file: {detail}") from error
    if channels < 1 or rate < 1 or width not in (1, 2, 3, 4):
        raise BadInput(
            f"{file}: PCM of 8, 16, 24 or 32 bits is read; this has {channels} channels of "
            f"{8 * width} bits at {rate} Hz"
        )
    names = [str(k) for k in range(channels)]
    chosen = _pick(file, names, column or "0", "channel")
    frames = data[: len(data) - len(data) % (channels * width)]
    raw = np.frombuffer(frames, dtype=np.uint8).reshape(-1, channels, width)[:, chosen]
    label = f"channel {chosen}" if channels > 1 else None
    return _Recording(_pcm(raw), float(rate), label)


def _pcm(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Little-endian PCM, one row of bytes per sample, in [−1, 1)."""
    width = raw.shape[1]
    if width == 1:
        return np.asarray((raw[:, 0].astype(np.float64) - 128.0) / 128.0)
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, 4 - width :] = raw
    return np.asarray(wide.view("<i4")[:, 0] / 2.0**31)
