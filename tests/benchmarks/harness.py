"""Times our code against other implementations, fairly, and says how close to the machine it is.

A benchmark file ``bench_<domain>.py`` defines one function::

    def cases(quick: bool) -> Iterator[Case]:
        u = np.random.default_rng(0).standard_normal(10_000)
        system = rv.hippo.system("legs", 256)
        yield Case(
            "LegS, bilinear",
            size="N = 256, L = 10,000",
            runs=[
                Run("resolvent", lambda: rv.hippo.project(u, system)),
                Run("NumPy/SciPy loop", lambda: dense_loop(u, 256), at_least=250),
            ],
            count=256 * 10_000,          # what the rate column counts, per call
            unit="updates",
            multiply_adds=4 * 256 * 10_000,
            bytes=8 * 10_000,
            tolerance=1e-10,
        )
        if importlib.util.find_spec("torch") is None:
            yield Missing("torch", "not installed")

``tests/benchmarks/run.py`` finds the files, runs the cases and writes docs/benchmarks.md.

The first run of a case is ours; the others are compared with it. All of them work on the same
arrays in the same process and take turns, so that a change of the clock frequency hits them alike.
Each is called once before, to warm up and to compare its result with ours. Reported are the median
and the quartiles of the calls, the ratio of the medians, and the share of what the machine can do,
measured in the same process with the same number of threads (`Machine`); where a case asks for it,
also the peak memory of the first call beyond its result, caches that it fills included. Where the
results are approximations, a case gives their error, and ours may not be larger than the others'.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

import resolvent as rv


@dataclass(frozen=True)
class Run:
    """One implementation: its name, a call without arguments, and how it is to be judged."""

    name: str
    call: Callable[[], Any]
    #: Threads it may use: `rv.set_threads` and the limit of every BLAS and OpenMP pool.
    threads: int = 1
    #: Our median must be this many times smaller than this run's; None sets no goal.
    at_least: float | None = None
    #: This run's median may be at most this many times ours; None sets no goal.
    at_most: float | None = None
    #: False where the result is another quantity than ours on purpose (a smaller size, say), or a
    #: better approximation at a higher price.
    comparable: bool = True
    #: What the rate column counts in one call of this run, where that is not the case's `count`.
    count: float | None = None


@dataclass(frozen=True)
class Case:
    """One task on one set of arrays, done by every run. `runs[0]` is ours.

    Or one task of ours at growing sizes, the smallest first: runs that are not `comparable`, each
    with a `count` of its own, and `versus` says what the ratio is taken to.
    """

    title: str
    size: str
    runs: Sequence[Run]
    #: What the rate column counts in one call, and its name; 0 leaves the column empty.
    count: float = 0
    unit: str = ""
    #: Multiply–adds and bytes that the task cannot avoid; 0 leaves the share out.
    multiply_adds: float = 0
    bytes: float = 0
    #: Data type of the arithmetic, which decides the limit to compare with.
    dtype: str = "float64"
    #: The share of the multiply–add limit that ours is to reach; None sets no goal.
    share: float | None = None
    #: Largest allowed difference of a result from ours, relative to our largest entry.
    tolerance: float = 1e-9
    #: What is wrong with a result, as a number, and the name of its column. Where it is given, the
    #: results are not compared entry by entry: ours may exceed the error of every comparable run by
    #: `tolerance`, relative to it, and no more.
    error: Callable[[Any], float] | None = None
    error_name: str = "error"
    #: MiB that our first call may take beyond its result; None leaves the column out.
    memory: float | None = None
    #: What the ratio of the medians is taken to, that is, what `runs[0]` is.
    versus: str = "ours"


@dataclass(frozen=True)
class Missing:
    """An implementation that would belong here and could not be run."""

    name: str
    reason: str


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median, quartiles, number of samples."""

    median: float
    lower: float
    upper: float
    samples: int


@dataclass(frozen=True)
class Outcome:
    """What one run of a case gave."""

    run: Run
    timing: Timing
    #: The run's median over ours; 1 for ours.
    ratio: float
    #: Largest difference from our result, relative to our largest entry; None if not compared.
    difference: float | None
    #: Peak bytes of the first call beyond its result; None if not measured.
    memory: int | None = None
    #: The case's error of the result; None where the case has none.
    error: float | None = None


@dataclass
class Report:
    """The outcomes of one domain."""

    domain: str
    machine: Machine
    results: list[tuple[Case, list[Outcome]]] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Disagreements and missed goals, one sentence each."""
        found = []
        for case, outcomes in self.results:
            ours = outcomes[0]
            for outcome in outcomes:
                name = f"{case.title}, {case.size}: {outcome.run.name}"
                if not _as_near(ours, outcome, case.tolerance):
                    errors = f"{outcome.error:.7g}, ours {ours.error:.7g}"
                    found.append(f"{name} has the {case.error_name} {errors}")
                if outcome.difference is not None and not outcome.difference <= case.tolerance:
                    found.append(f"{name} differs from ours by {outcome.difference:.1e}")
                if not _met(outcome):
                    found.append(f"{name} takes {_ratio(outcome)} of {case.versus}")
            name = f"{case.title}, {case.size}: {ours.run.name}"
            if not _fits(ours, case.memory):
                found.append(f"{name} takes {_memory(ours, case.memory)} beyond its result")
            share = _share(case, ours, self.machine)
            if case.share is not None and share < case.share:
                found.append(f"{name} reaches {_share_note(share, case.share)} of the limit")
        return found

    def markdown(self) -> str:
        """A section of docs/benchmarks.md."""
        lines = [f"## {self.domain}", "", *self.machine.markdown(), ""]
        for case, outcomes in self.results:
            lines += [f"### {case.title}", "", case.size, ""]
            lines += [*_table(case, outcomes, self.machine), ""]
        for missing in self.missing:
            lines.append(f"- Not compared: {missing.name} ({missing.reason}).")
        return "\n".join(lines).rstrip() + "\n"


class Machine:
    """The computer at hand, and its limits, measured when they are first asked for."""

    def __init__(self, date_: date | None = None) -> None:
        self.date = date_ or date.today()
        self._copy: dict[int, float] = {}
        self._multiply_add: dict[tuple[int, str], float] = {}

    def copy_bandwidth(self, threads: int) -> float:
        """Bytes read and written per second by NumPy copying a 256 MiB array.

        With several threads each copies its own part. A copy writes as much as it reads; both are
        counted, the read that a write to a new cache line costs is not.
        """
        if threads not in self._copy:
            size = 1 << 25
            source, target = np.ones(size), np.zeros(size)
            edges = np.linspace(0, size, threads + 1).astype(int)
            parts = [slice(a, b) for a, b in pairwise(edges)]
            with ThreadPoolExecutor(threads) as pool:

                def copy() -> None:
                    list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

                best = min(_seconds(copy) for _ in range(8))
            self._copy[threads] = 2 * source.nbytes / best
        return self._copy[threads]

    def multiply_add_rate(self, threads: int, dtype: str) -> float:
        """Multiply–adds per second of NumPy's product of two 1536×1536 matrices.

        That is BLAS at its best: what the arithmetic units do when nothing has to be waited for.
        """
        key = threads, dtype
        if key not in self._multiply_add:
            size = 1536
            a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
            out = np.empty_like(a)
            with threadpoolctl.threadpool_limits(threads):
                best = min(_seconds(lambda: np.matmul(a, a, out=out)) for _ in range(6))
            self._multiply_add[key] = float(size) ** 3 / best
        return self._multiply_add[key]

    def markdown(self) -> list[str]:
        """The machine, its software and the limits that were measured."""
        blas = sorted({p["internal_api"] for p in threadpoolctl.threadpool_info()})
        doctor = rv.doctor()
        lines = [
            f"- {self.date.isoformat()}; {_cpu_name()}, {_cores()} cores; {platform.platform()}",
            f"- resolvent {rv.__version__} ({doctor.isa}), {doctor.compiler}",
            f"- Python {platform.python_version()}, NumPy {np.__version__}"
            f" (thread pools: {', '.join(blas) or 'none'})"
            + "".join(f", {peer}" for peer in _peers()),
        ]
        lines += [
            f"- Limit, {_threads(threads)}: copying memory (NumPy, 256 MiB, reads and writes"
            f" counted) {rate / 1e9:.3g} GB/s"
            for threads, rate in sorted(self._copy.items())
        ]
        lines += [
            f"- Limit, {_threads(threads)}, {dtype}: multiply–adds of a matrix product (BLAS,"
            f" 1536×1536) {rate / 1e9:.3g} G/s"
            for (threads, dtype), rate in sorted(self._multiply_add.items())
        ]
        return lines


def measure(domain: str, cases: Iterable[Case | Missing], *, seconds: float = 3.0) -> Report:
    """Runs the cases one after the other; `seconds` is the time that each run may take in all."""
    report = Report(domain, Machine())
    for case in cases:
        if isinstance(case, Missing):
            report.missing.append(case)
            print(f"{case.name}: not compared, {case.reason}", flush=True)
            continue
        print(f"{case.title}, {case.size}", flush=True)
        outcomes = _measure_case(case, seconds)
        # Measured here, between the cases, so that the limits come from the same conditions.
        if case.bytes:
            report.machine.copy_bandwidth(case.runs[0].threads)
        if case.multiply_adds:
            report.machine.multiply_add_rate(case.runs[0].threads, case.dtype)
        report.results.append((case, outcomes))
        for line in _table(case, outcomes, report.machine)[2:]:
            print(f"  {line}", flush=True)
    return report


def peak_extra_bytes(call: Callable[[], Any]) -> int | None:
    """The largest resident memory during the call, less that before it; None outside Linux.

    The result counts too while the call holds it. Memory that the allocator had kept is given back
    first; still, pages of libraries come and go, so an amount well under one MiB means little.
    """
    measured, _ = _with_peak(call)
    return measured


def _with_peak(call: Callable[[], Any]) -> tuple[int | None, Any]:
    """`peak_extra_bytes` and the result."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return None, call()
    _trim_heap()
    clear.write_text("5")  # sets the peak back to the present use
    before = _status_kib("VmRSS")
    result = call()
    return 1024 * max(0, _status_kib("VmHWM") - before), result


def _trim_heap() -> None:
    """Frees what nobody holds, so that its reuse does not hide what a call takes (glibc alone)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _measure_case(case: Case, seconds: float) -> list[Outcome]:
    expected, extra = _first_call(case, case.runs[0])
    error = case.error or (lambda _: None)
    differences: list[float | None] = [None]
    memory, errors = [extra], [error(expected)]
    for run in case.runs[1:]:
        result, extra = _first_call(case, run)
        by_entry = run.comparable and case.error is None
        differences.append(_difference(result, expected) if by_entry else None)
        memory.append(extra)
        errors.append(error(result))
        del result

    # Short calls are repeated within a sample until the clock's resolution no longer matters.
    first = [max(_timed(run, 1), 1e-9) for run in case.runs]
    repeats = [max(1, math.ceil(0.01 / t)) for t in first]
    rounds = max(3, min(31, int(seconds / max(t * n for t, n in zip(first, repeats, strict=True)))))
    samples: list[list[float]] = [[] for _ in case.runs]
    for _ in range(rounds):
        for run, repeat, times in zip(case.runs, repeats, samples, strict=True):
            times.append(_timed(run, repeat))

    timings = [_timing(times) for times in samples]
    return [
        Outcome(run, timing, timing.median / timings[0].median, *rest)
        for run, timing, *rest in zip(case.runs, timings, differences, memory, errors, strict=True)
    ]


def _first_call(case: Case, run: Run) -> tuple[Any, int | None]:
    """The result, and the peak bytes beyond it where the case asks for them."""
    if case.memory is None:
        return _limited(run), None
    peak, result = _with_peak(lambda: _limited(run))
    return result, None if peak is None else max(0, peak - np.asarray(result).nbytes)


def _limited(run: Run) -> Any:
    """Calls the run with its number of threads."""
    before = rv.get_threads()
    rv.set_threads(run.threads)
    try:
        with threadpoolctl.threadpool_limits(run.threads):
            return run.call()
    finally:
        rv.set_threads(before)


def _timed(run: Run, repeat: int) -> float:
    """Seconds per call; setting the threads is outside the clock."""
    before = rv.get_threads()
    rv.set_threads(run.threads)
    try:
        with threadpoolctl.threadpool_limits(run.threads):
            start = time.perf_counter()
            for _ in range(repeat):
                run.call()
            return (time.perf_counter() - start) / repeat
    finally:
        rv.set_threads(before)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _timing(times: list[float]) -> Timing:
    lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(median, lower, upper, len(times))


def _difference(result: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected entry; NaN and shapes do not agree."""
    a, b = np.asarray(result), np.asarray(expected)
    if a.shape != b.shape:
        raise ValueError(f"the results have the shapes {a.shape} and {b.shape}")
    if b.size == 0:
        return 0.0
    scale = float(np.max(np.abs(b))) or 1.0
    worst = float(np.max(np.abs(a - b)))
    return worst / scale if math.isfinite(worst) else math.inf


def _table(case: Case, outcomes: list[Outcome], machine: Machine) -> list[str]:
    rows = [["", "threads", "median (quartiles)", f"against {case.versus}"]]
    if case.unit:
        rows[0].append(f"{case.unit}/s")
    if case.bytes:
        rows[0].append("of the copy limit")
    if case.multiply_adds:
        rows[0].append("of the multiply–add limit")
    if case.memory is not None:
        rows[0].append("extra memory")
    compared = any(outcome.difference is not None for outcome in outcomes)
    if compared:
        rows[0].append("largest difference")
    if case.error is not None:
        rows[0].append(case.error_name)
    for i, outcome in enumerate(outcomes):
        run, timing, difference = outcome.run, outcome.timing, outcome.difference
        row = [
            run.name,
            str(run.threads),
            f"{_time(timing.median)} ({_time(timing.lower)} – {_time(timing.upper)})",
            "" if i == 0 else _ratio(outcome),
        ]
        if case.unit:
            count = case.count if run.count is None and run.comparable else run.count
            row.append("" if count is None else f"{count / timing.median:.3g}")
        # The limits were measured for our threads, so the share is given for ours alone.
        if case.bytes:
            share = case.bytes / timing.median
            row.append(f"{share / machine.copy_bandwidth(run.threads):.1%}" if i == 0 else "")
        if case.multiply_adds:
            share = _share(case, outcome, machine)
            row.append(_share_note(share, case.share) if i == 0 else "")
        if case.memory is not None:
            row.append(_memory(outcome, case.memory if i == 0 else None))
        if compared:
            row.append("" if difference is None else f"{difference:.1e}")
        if outcome.error is not None:
            row.append(f"{outcome.error:.7g}" + _not_as_near(outcomes[0], outcome, case.tolerance))
        rows.append(row)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|" + "---:|" * (len(rows[0]) - 1))
    return lines


def _met(outcome: Outcome) -> bool:
    """Whether the ratio of the medians is what it was to be."""
    run = outcome.run
    at_least = 0.0 if run.at_least is None else run.at_least
    at_most = math.inf if run.at_most is None else run.at_most
    return at_least <= outcome.ratio <= at_most


def _ratio(outcome: Outcome) -> str:
    goals = [("", outcome.run.at_least), ("≤ ", outcome.run.at_most)]
    verdict = "met" if _met(outcome) else "missed"
    notes = [f" (goal {sign}{goal:g}×: {verdict})" for sign, goal in goals if goal is not None]
    return f"{outcome.ratio:.3g}×" + "".join(notes)


def _as_near(ours: Outcome, other: Outcome, tolerance: float) -> bool:
    """Whether our error, where there is one, is as small as that of a comparable run."""
    if ours.error is None or other.error is None or not other.run.comparable:
        return True
    return ours.error <= (1 + tolerance) * other.error


def _not_as_near(ours: Outcome, other: Outcome, tolerance: float) -> str:
    return "" if _as_near(ours, other, tolerance) else " (ours is larger: missed)"


def _share(case: Case, outcome: Outcome, machine: Machine) -> float:
    """Of the multiply–add limit of our threads; 0 where the case counts no operations."""
    if not case.multiply_adds:
        return 0.0
    limit = machine.multiply_add_rate(case.runs[0].threads, case.dtype)
    return case.multiply_adds / outcome.timing.median / limit


def _share_note(share: float, goal: float | None) -> str:
    verdict = "" if goal is None else f" (goal {goal:.0%}: {'met' if share >= goal else 'missed'})"
    return f"{share:.1%}{verdict}"


def _fits(outcome: Outcome, limit: float | None) -> bool:
    """Whether no more memory was taken than `limit` MiB, as far as it was measured."""
    return limit is None or outcome.memory is None or outcome.memory <= limit * 2**20


def _memory(outcome: Outcome, limit: float | None) -> str:
    if outcome.memory is None:
        return "not measured"
    verdict = "met" if _fits(outcome, limit) else "missed"
    note = "" if limit is None else f" (goal ≤ {limit:g}: {verdict})"
    return f"{outcome.memory / 2**20:.3g} MiB{note}"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _peers() -> list[str]:
    """Names and versions of the libraries compared with that this process has imported."""
    names = ("scipy", "sklearn", "torch", "control", "slycot")
    return [f"{name} {sys.modules[name].__version__}" for name in names if name in sys.modules]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _status_kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        return subprocess.check_output(
            ["sysctl", "-n", "machdep.cpu.brand_string"], text=True
        ).strip()
    return platform.processor() or platform.machine()
