"""resolvent lora: what it writes, what it says, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from interruption import HEED_CTRL_C
from lora_files_support import contents, write_file, write_model

from resolvent import cli, lora

FILES = ("--weights", "W.safetensors", "--gradients", "G.safetensors")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs the command in a folder with a model; gives (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(["lora", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def only_line(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("resolvent: ")
    return lines[0]


def test_init(run):
    status, out, err = run("init", *FILES, "--rank", 2, "--out", "a")
    assert (status, err) == (0, "")
    report = lora.initialize_files("W.safetensors", "G.safetensors", "b", rank=2)
    assert contents(Path("a")) == contents(Path("b"))
    means = f"mean cosine {report.mean['cosine']:.3g}, captured {report.mean['captured']:.3g}"
    assert out.startswith(f"a: 6 layers; {means}")
    assert out.endswith(f"‖offset‖/‖W₀‖ {report.mean['offset_ratio']:.3g}\n")
    assert run("init", *FILES, "--rank", 2, "--out", "c", "--quiet") == (0, "", "")


def test_every_option_reaches_the_library(run):
    options = {
        "method": "lora-ga-adam",
        "rank": 2,
        "alpha": 3.0,
        "scaling": "rslora",
        "scale": "gd",
        "directions": "random",
        "gamma": 9.0,
        "adam": "sgd-solution",
        "distribution": "gaussian",
        "optimizer": "sgd",
        "seed": 5,
        "orientation": "post",
        "dtype": "bfloat16",
        "base_model": "some/model",
        "task_type": "SEQ_CLS",
        "target_rank": 1,
        "total_steps": 7,
    }
    given = [f"--{k.replace('_', '-')}={v}" for k, v in options.items()]
    target = ("--target", "query", "--target", "up")
    assert run("init", *FILES, "--out", "a", *given, *target)[0] == 0
    lora.initialize_files("W.safetensors", "G.safetensors", "b", **options, target=["query", "up"])
    assert contents(Path("a")) == contents(Path("b"))
    names = ("rank", "alpha", "scaling", "scale", "directions", "seed", "optimizer", "orientation")
    given = [f"--{name}={options[name]}" for name in names]
    status, out, _ = run(
        "compare", *FILES, "--methods", "lora", "--methods", "pissa, lora-ga", *given, *target
    )
    found = lora.compare_files(
        "W.safetensors",
        "G.safetensors",
        methods=["lora", "pissa", "lora-ga"],
        target=["query", "up"],
        **{name: options[name] for name in names},
    )
    assert (status, out) == (0, f"{found}\n")


def test_without_arguments_the_help_is_shown(run):
    """With its lines, and as an error."""
    status, out, err = run()
    assert (status, out) == (2, "")
    assert err.startswith("Usage: resolvent lora")
    commands = [line.split()[0] for line in err.split("Commands:")[1].splitlines() if line]
    assert commands == ["init", "compare", "untouched"]


def test_names_are_no_markup_of_the_progress_bar(run, monkeypatch):
    """On a terminal, where there is a bar."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    write_file(Path("B.safetensors"), {"a[/b][red].weight": np.eye(6)})
    status, _, err = run("init", "--weights=B.safetensors", "--method=lora", "--rank=2", "--out=a")
    assert status == 0
    assert "a[/b][red].weight" in err


def test_an_input_is_not_overwritten(run):
    status, _, err = run("init", *FILES, "--out", Path.cwd(), "--rank", 2, "--overwrite")
    assert status == 2
    assert "is not replaced, as it is no adapter made here" in only_line(err)


def test_compare_writes_nothing(run):
    before = contents(Path())
    status, out, err = run("compare", *FILES, "--rank", 2)
    assert (status, err) == (0, "")
    assert out.splitlines()[0].split() == ["cosine", *lora.METHODS]
    assert contents(Path()) == before


def test_untouched(run):
    assert run("init", *FILES, "--rank", 2, "--out", "a", "-q")[0] == 0
    status, out, err = run("untouched", "a", "--initial", "a", "--out", "b")
    assert (status, out, err) == (0, "b\n", "")
    assert contents(Path("b")) == {
        name.removeprefix("untouched/"): data
        for name, data in contents(Path("a")).items()
        if name.startswith("untouched/")
    }
    status, _, err = run("untouched", "a", "--initial", "a", "--out", "b")
    assert status == 2
    assert "b exists" in only_line(err)
    assert run("untouched", "a", "--initial", "a", "--out", "b", "--overwrite", "-q") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "loro"], "method must be one of 'lora', 'lora-ga'"),
        (["--rank", "0"], "rank must be at least 1, got 0"),
        (["--rank", "7"], "layer encoder.0.query.weight: rank must be between 1 and min(n, m)/2"),
        (["--rank", "many"], "--rank"),
        (["--weights", "none.safetensors"], "none.safetensors: No such file"),
        (["--gradients", "W.npy"], "W.npy: not a safetensors file"),
        (["--target", "nowhere"], "target 'nowhere' is in the name of no matrix"),
        (["--target", "("], "target must be a regular expression"),
        (["--out", "W.safetensors"], "W.safetensors is not a directory"),
        (["--out", "there"], "out: there exists"),
        (["--workers", "0"], "workers must be at least 1"),
        (["--method", "adalora"], "total_steps must be given for adalora"),
        (["--moon"], "No such option"),
    ],
)
def test_bad_arguments(run, arguments, message):
    Path("there").mkdir()
    np.save("W.npy", np.eye(3))
    before = sorted(Path().iterdir())
    status, out, err = run("init", *FILES, "--out", "a", "--rank", 2, *arguments)
    assert (status, out) == (2, "")
    assert message in only_line(err)
    assert sorted(Path().iterdir()) == before


def test_a_folder_that_cannot_be_made(run):
    before = sorted(Path().iterdir())
    status, _, err = run("init", *FILES, "--out", "W.safetensors/a", "--rank", 2)
    assert status == 1
    assert "Not a directory" in only_line(err) or "File exists" in only_line(err)
    assert sorted(Path().iterdir()) == before


def test_the_disk_is_full(run, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        status, _, err = run("init", *FILES, "--out", "a", "--rank", 2)
    assert status == 1
    assert only_line(err) == "resolvent: a: No space left on device"
    assert not Path("a").exists()
    assert run("init", *FILES, "--out", "a", "--rank", 2)[0] == 0


def test_a_parent_that_cannot_be_written(run):
    status, _, err = run("init", *FILES, "--out", "/proc/a", "--rank", 2)
    assert status == 1
    assert only_line(err) == "resolvent: /proc/a: No such file or directory"


def test_a_worker_that_is_killed(run, monkeypatch):
    """As by the kernel when memory runs out; what is finished is kept."""
    command = [sys.executable, "-c", KILLING, "init", *FILES, "--rank=2", "--out=a", "--workers=2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "a worker process was killed" in only_line(ended.stderr)
    assert not Path("a").exists()
    assert run("init", *FILES, "--rank", 2, "--out", "a")[0] == 0
    assert run("init", *FILES, "--rank", 2, "--out", "b")[0] == 0
    assert contents(Path("a")) == contents(Path("b"))


#: Kills all workers when the first layer comes back; the last one's takes longer than that.
KILLING = """
import functools, multiprocessing, os, signal, sys, time
from resolvent import cli
from resolvent.lora import _stream
save, outcomes = _stream._save, _stream.outcomes
def killing(*arguments):
    save(*arguments)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
def lasting(tasks, **options):
    return outcomes([*tasks[:-1], functools.partial(time.sleep, 1000)], **options)
_stream._save, _stream.outcomes = killing, lasting
cli.main(["lora", *sys.argv[1:]])
"""


@pytest.fixture
def start(tmp_path):
    """Starts a run of a hundred layers, with what is finished of it, in a session of its own."""
    rng = np.random.default_rng(0)
    matrices = {f"{k}.weight": rng.standard_normal((120, 100)) for k in range(100)}
    write_file(tmp_path / "W.safetensors", matrices)
    write_file(tmp_path / "G.safetensors", matrices)
    program = f"{HEED_CTRL_C}\nfrom resolvent import cli; cli.main()"
    command = [sys.executable, "-c", program, "lora", "init", *FILES, "--rank=20", "--out=a"]

    def call(workers: int) -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [*command, f"--workers={workers}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        layers = tmp_path / ".a.partial" / "layers"
        while process.poll() is None and not any(layers.glob("*.safetensors")):
            time.sleep(0.01)
        return process, layers

    return call


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_and_going_on(start, tmp_path, workers):
    """One line, no folder, and the same result as without it."""
    process, layers = start(workers)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes hear it
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert only_line(err) == "resolvent: interrupted"
    finished = len(list(layers.glob("*.safetensors")))
    assert 1 <= finished < 100
    assert not (tmp_path / "a").exists()
    moves = []
    files = (tmp_path / "W.safetensors", tmp_path / "G.safetensors")
    lora.initialize_files(
        *files, tmp_path / "a", rank=20, progress=lambda *move: moves.append(move[0])
    )
    assert moves == list(range(finished, 101))


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(
    ("sent", "status", "line"),
    [(signal.SIGTERM, 143, "resolvent: terminated\n"), (signal.SIGKILL, -signal.SIGKILL, "")],
    ids=["SIGTERM", "SIGKILL"],
)
def test_workers_end_with_the_one_that_started_them(start, tmp_path, sent, status, line):
    psutil = pytest.importorskip("psutil")
    process, _ = start(2)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)  # their copies of stderr are closed too
    assert process.returncode == status
    assert err.startswith(line)
    assert line == "" or only_line(err)  # Python says something of a process that was killed
    assert not (tmp_path / "a").exists()
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE] == []
