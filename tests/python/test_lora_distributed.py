"""Layers on a Dask cluster: the numbers of a local run, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import socket
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from lora_files_support import contents, write_model
from ssm_support import refused

from resolvent import lora

distributed = pytest.importorskip("distributed")

# The cluster's library talks of its restarts, ports and loops; none of that is about our numbers.
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def cluster(workers: int):
    """Processes on this machine, with a scheduler in this one."""
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        ) as running,
    ):
        warnings.simplefilter("ignore")
        yield running


@pytest.fixture(scope="module")
def shared():
    with cluster(2) as running:
        yield running


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path, blocks=4)


def run(out, **options):
    return lora.initialize_files("W.safetensors", "G.safetensors", out, rank=2, **options)


@pytest.mark.parametrize("method", ["lora-ga", "olora"])
def test_the_same_bits(shared, method):
    run("local", method=method)
    moves = []
    run(
        "cluster",
        method=method,
        scheduler=shared.scheduler_address,
        progress=lambda *move: moves.append(move[0]),
    )
    assert moves == list(range(13))
    assert contents(Path("local")) == contents(Path("cluster"))


def test_a_wrong_layer_is_named(shared):
    run("local")
    data = bytearray(Path("G.safetensors").read_bytes())
    data[-4:] = b"\x00\x00\x80\x7f"  # the last number of the last layer: infinity
    Path("G.safetensors").write_bytes(data)
    before = sorted(Path().iterdir())
    refused(
        lambda: run("cluster", scheduler=shared.scheduler_address),
        "layer encoder.3.down.weight: gradient",
        "inf",
    )
    assert sorted(Path().iterdir()) == before


def test_comparison(shared):
    files = ("W.safetensors", "G.safetensors")
    ours = lora.compare_files(*files, rank=2, methods=["lora", "lora-ga"])
    theirs = lora.compare_files(
        *files, rank=2, methods=["lora", "lora-ga"], scheduler=shared.scheduler_address
    )
    assert ours.cards == theirs.cards


def test_a_worker_dies():
    """In the middle of a layer: it is done elsewhere, and the run does not notice."""
    run("local")
    with cluster(2) as running:
        victim = next(iter(running.workers.values())).pid

        def progress(done: int, total: int, name: str) -> None:
            if done == 1:
                os.kill(victim, signal.SIGKILL)

        run("cluster", scheduler=running.scheduler_address, progress=progress)
        assert victim not in {worker.pid for worker in running.workers.values()}
    assert contents(Path("local")) == contents(Path("cluster"))


def test_the_scheduler_dies():
    """What is finished is kept, and the run ends by an error."""
    with cluster(1) as running:

        def progress(done: int, total: int, name: str) -> None:
            if done == 1:
                running.close()

        with pytest.raises(OSError, match=r"the connection with scheduler 'tcp://.*' was lost"):
            run("cluster", scheduler=running.scheduler_address, progress=progress)
    assert not Path("cluster").exists()
    moves = []
    run("cluster", progress=lambda *move: moves.append(move[0]))
    assert moves == list(range(moves[0], 13))
    assert 1 <= moves[0] < 13


def test_a_stopped_run_goes_on_elsewhere(shared):
    run("local")

    def stop(done: int, total: int, name: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("cluster", scheduler=shared.scheduler_address, progress=stop)
    moves = []
    run("cluster", progress=lambda *move: moves.append(move[0]))
    assert moves == list(range(5, 13))
    assert contents(Path("local")) == contents(Path("cluster"))


def test_a_scheduler_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    before = sorted(Path().iterdir())
    start = time.monotonic()
    refused(
        lambda: run("o", scheduler=f"tcp://127.0.0.1:{port}"),
        f"scheduler 'tcp://127.0.0.1:{port}' does not answer",
    )
    for address in ("somewhere", "", "xyz://127.0.0.1:1"):
        refused(lambda address=address: run("o", scheduler=address), "scheduler must be an address")
    assert time.monotonic() - start < 10.0
    assert sorted(Path().iterdir()) == before


def test_somebody_else_at_the_address(monkeypatch):
    """A server that says nothing, as a web server does."""
    monkeypatch.setattr("resolvent.lora._execute._PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        refused(lambda: run("o", scheduler=address), "does not answer")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ImportError, match="needs the extra 'distributed'"):
        run("o", scheduler="tcp://127.0.0.1:8786")
    assert not Path("o").exists()
