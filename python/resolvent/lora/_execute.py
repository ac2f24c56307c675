"""Layers one after the other, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from multiprocessing import get_context, parent_process
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from resolvent import _core
from resolvent._core import __version__
from resolvent._warnings import IllConditionedWarning

__all__ = ["one_blas_thread", "outcomes"]

_Result = TypeVar("_Result")

#: How long a scheduler may take to answer, in seconds.
_PATIENCE = 5.0

#: How long a cluster may be without workers, which may still have to be started, in seconds.
_ABSENCE = 120.0

#: How often a layer is tried again where it failed by no fault of its data.
_RETRIES = 2


def outcomes(
    tasks: Sequence[Callable[[], _Result]], *, workers: int = 1, scheduler: str | None = None
) -> Generator[_Result, None, None]:
    """Results as they come, in any order. Closing the iterator ends what it started.

    Every task is pickled where it does not run here. The numbers do not depend on where it runs.
    IllConditionedWarning is left out: a run says at its end what its layers have in common.
    """
    if scheduler is not None:
        with _cluster(scheduler) as (executor, alive):
            calls = [partial(_remote, task, __version__) for task in tasks]
            yield from _completed(executor, calls, alive)
    elif workers > 1 and len(tasks) > 1:
        with _processes(min(workers, len(tasks))) as executor:
            calls = [partial(_alone, task) for task in tasks]
            yield from _completed(executor, calls, lambda: True)
    else:
        for task in tasks:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IllConditionedWarning)
                result = _alone(task)
            yield result


def _alone(task: Callable[[], _Result]) -> _Result:
    with one_blas_thread():
        return task()


class _BlasLimit:
    """One thread for NumPy's BLAS while any thread of this process is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._limit: threadpool_limits | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._inside:
                self._limit = threadpool_limits(1, user_api="blas")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._limit is not None:
                    self._limit.restore_original_limits()


#: The last bits of LAPACK's results depend on how many threads it has; and on cores that are busy,
#: with other layers, those threads wait for each other.
one_blas_thread = _BlasLimit()


def _completed(
    executor: Executor, calls: Sequence[Callable[[], _Result]], alive: Callable[[], bool]
) -> Iterator[_Result]:
    pending: set[Future[_Result]] = set()
    done: SimpleQueue[Future[_Result]] = SimpleQueue()
    try:
        with _undisturbed(), _deaf_children():  # the first of them starts all processes
            for call in calls:
                pending.add(executor.submit(call))
            for future in pending:
                future.add_done_callback(done.put)
        while pending:
            try:
                future = done.get(timeout=_ABSENCE)
            except Empty:
                if not alive():
                    raise OSError(f"the cluster has had no worker for {_ABSENCE:g} s") from None
                continue
            pending.remove(future)
            yield future.result()
    except BrokenProcessPool as error:
        raise OSError("a worker process was killed, perhaps for want of memory") from error
    finally:
        with _undisturbed():
            for future in pending:
                future.cancel()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait.

    A future has a lock. An exception that a signal's handler raises just as it is taken leaves it
    taken for ever, and the executor never ends. For the same reason results are waited for in a
    queue, whose get is one step, and not by concurrent.futures.wait, which locks all futures.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    heeded = [s for s in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(s))]
    before = {s: signal.signal(s, lambda number, _: came.append(number)) for s in heeded}
    try:
        yield
    finally:
        for heard, handler in before.items():
            signal.signal(heard, handler)
        for number in came:
            signal.raise_signal(number)


# ---- processes ----------------------------------------------------------------------------------


@contextmanager
def _processes(workers: int) -> Iterator[Executor]:
    threads = max(1, _core.get_threads() // workers)
    executor = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(threads,)
    )
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start(threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _core.set_threads(threads)
    warnings.simplefilter("ignore", IllConditionedWarning)


def _end_with_parent() -> None:
    """A process that waits for work would not notice that the one that sends it was killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started here leave Ctrl-C to the one that started them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- a cluster ----------------------------------------------------------------------------------


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, Callable[[], bool]]]:
    try:
        dask: Any = import_module("dask")
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise ImportError(
            "a scheduler needs the extra 'distributed': pip install 'resolvent[distributed]'"
        ) from error
    _check_address(address)
    patience = dask.config.set({"distributed.comm.timeouts.connect": _PATIENCE})
    with _silent("distributed"), patience:
        try:
            client = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
        except OSError as error:
            raise _core.InvalidArgument(f"scheduler {address!r} does not answer") from error
        try:
            yield client.get_executor(pure=False, retries=_RETRIES), lambda: _alive(client)
        except distributed.KilledWorker as error:
            raise OSError(f"a layer was lost with every worker that it was on: {error}") from error
        except Exception as error:
            # A result that is lost between its arrival and its reading comes as a TypeError.
            if isinstance(error, CancelledError) or client.status != "running":
                raise OSError(f"the connection with scheduler {address!r} was lost") from error
            raise
        finally:
            client.close(timeout=_PATIENCE)


def _remote(task: Callable[[], _Result], version: str) -> _Result:
    if version != __version__:
        raise ImportError(f"a worker has resolvent {__version__}; {version} is needed")
    return _alone(task)


def _check_address(address: str) -> None:
    """Whether a scheduler is there: the library would wait without end for a greeting."""
    comm: Any = import_module("distributed.comm")
    try:
        scheme, _ = comm.parse_address(address)
        host, port = comm.get_address_host_port(address)
    except ValueError as error:
        raise _core.InvalidArgument(
            f"scheduler must be an address as 'tcp://host:8786', got {address!r}"
        ) from error
    try:
        with socket.create_connection((host, port), _PATIENCE) as line:
            greeted = scheme != "tcp" or bool(line.recv(1))
    except OSError:
        greeted = False
    if not greeted:
        raise _core.InvalidArgument(f"scheduler {address!r} does not answer: is it running there?")


def _alive(client: Any) -> bool:
    return bool(client.scheduler_info().get("workers"))


@contextmanager
def _silent(package: str) -> Iterator[None]:
    """Without a library's log, whose errors are raised too."""
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == package]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
