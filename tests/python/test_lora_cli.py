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
    means = f"mean cosine {report.mean['cosine']:.3f}, captured {report.mean['captured']:.3f}"
    assert out.startswith(f"a: 6 layers; {means}")
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
    status, out, _ = run("compare", *FILES, "--methods", "lora, lora-ga", *given, *target)
    found = lora.compare_files(
        "W.safetensors",
        "G.safetensors",
        methods=["lora", "lora-ga"],
        target=["query", "up"],
        **{name: options[name] for name in names},
    )
    assert (status, out) == (0, f"{found}\n")


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
    assert "No space left on device" in only_line(err)
    assert not Path("a").exists()
    assert run("init", *FILES, "--out", "a", "--rank", 2)[0] == 0


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


#: Kills a worker when the first layer comes back.
KILLING = """
import multiprocessing, os, signal, sys
from resolvent import cli
from resolvent.lora import _stream
save = _stream._save
def killing(*arguments):
    save(*arguments)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
_stream._save = killing
cli.main(["lora", *sys.argv[1:]])
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_and_going_on(tmp_path, workers):
    """One line, no folder, and the same result as without it."""
    rng = np.random.default_rng(0)
    matrices = {f"{k}.weight": rng.standard_normal((120, 100)) for k in range(100)}
    write_file(tmp_path / "W.safetensors", matrices)
    write_file(tmp_path / "G.safetensors", matrices)
    program = f"{HEED_CTRL_C}\nfrom resolvent import cli; cli.main()"
    command = [sys.executable, "-c", program, "lora", "init", *FILES, "--rank=20", "--out=a"]
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
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes hear it
    out, err = process.communicate(timeout=120)
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
