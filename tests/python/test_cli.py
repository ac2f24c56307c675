"""The command line: what it writes, what it says, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
from interruption import HEED_CTRL_C

import resolvent as rv
from resolvent import cli

FILES = ["coefficients.npz", "plot.png", "report.md"]
RECORDING = np.sin(np.linspace(0.0, 9.0, 300)) + 0.1


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder; gives (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def write_wav(file: Path, values: np.ndarray, width: int, rate: int = 100) -> None:
    """Integers (L, channels) as little-endian PCM."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(values.shape[1])
        out.setsampwidth(width)
        out.setframerate(rate)
        if width == 1:
            data = (values + 128).astype(np.uint8)
        else:
            data = values.astype("<i4")[..., np.newaxis].view(np.uint8)[..., :width]
        out.writeframes(data.tobytes())


def results() -> dict[str, np.ndarray]:
    """What coefficients.npz holds."""
    with np.load("o/coefficients.npz") as data:
        return dict(data)


def only_line(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("resolvent: ")
    return lines[0]


def test_version_doctor_and_list(run):
    assert run("--version") == (0, rv.__version__ + "\n", "")
    status, out, _ = run("doctor")
    assert status == 0
    assert "compiler" in out
    pytest.importorskip("pywt")
    from resolvent.figures import FIGURES

    status, out, err = run("figures", "--list")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(FIGURES)


@pytest.mark.parametrize("measure", ["legs", "legt", "lmu", "lagt", "glagt", "fout", "fous"])
def test_compress(run, measure):
    np.save("u.npy", RECORDING)
    status, out, err = run(
        "hippo", "compress", "u.npy", "--measure", measure, "--order", 9, "--out", "o"
    )
    assert (status, err) == (0, "")
    assert "SNR" in out
    assert sorted(p.name for p in Path("o").iterdir()) == FILES
    assert sorted(p.name for p in Path().iterdir()) == ["o", "u.npy"]
    data = results()
    window = float(data["window"])
    system = rv.hippo.system(str(data["measure"]), int(data["order"]), window=window)
    expected = rv.hippo.project(RECORDING, system, rule=str(data["rule"]))
    assert np.array_equal(data["coefficients"], expected)
    assert float(data["time"]) == 300.0
    if measure in ("legt", "lmu", "fout"):
        assert window == 300.0
    report = Path("o/report.md").read_text(encoding="utf-8")
    found = rv.hippo.reconstruction_error(RECORDING, system, rule=str(data["rule"]))
    assert f"| RMSE | {found.rmse:.6g} |" in report
    assert f"| SNR | {found.snr_db:.2f} dB |" in report
    assert "compression ratio" in report
    assert f"`{data['rule']}`" in report


def test_quiet_says_nothing_and_existing_results_are_replaced(run):
    np.save("u.npy", RECORDING)
    Path("o").mkdir()
    Path("o/report.md").write_text("old")
    Path("o/mine.txt").write_text("kept")
    arguments = ("hippo", "compress", "u.npy", "--order", 4, "--out", "o", "--quiet")
    assert run(*arguments) == (0, "", "")
    assert sorted(p.name for p in Path("o").iterdir()) == sorted([*FILES, "mine.txt"])
    assert Path("o/report.md").read_text(encoding="utf-8") != "old"
    first = Path("o/report.md").read_bytes()
    assert run(*arguments) == (0, "", "")
    assert Path("o/report.md").read_bytes() == first


@pytest.mark.parametrize("rule", rv.hippo.RULES)
def test_every_rule_by_name(run, rule):
    np.save("u.npy", RECORDING)
    status, _, err = run("hippo", "compress", "u.npy", "--order", 3, "--rule", rule, "--out", "o")
    assert (status, err) == (0, "")
    assert str(results()["rule"]) == rule


def test_a_warning_is_one_line(run):
    np.save("u.npy", RECORDING)
    status, _, err = run(
        "hippo", "compress", "u.npy", "--order", 64, "--rule", "forward", "--out", "o"
    )
    assert status == 0
    assert "StabilityWarning: rule 'forward' amplifies" in only_line(err)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("1\n2\n4\n", None),
        ("\ufeffvalue\n1\n2\n4\n", None),
        ("t,value\n0,1\n1,2\n2,4\n", "value"),
        ("t;value\r\n0;1\r\n1;2\r\n2;4\r\n", "1"),
        ("# made by hand\n9\t1\n9\t2\n\n9\t4\n", "1"),
    ],
)
def test_csv(run, text, column):
    Path("u.csv").write_text(text, encoding="utf-8", newline="")
    chosen = [] if column is None else ["--column", column]
    status, _, err = run("hippo", "compress", "u.csv", "--order", 2, *chosen, "--out", "o")
    assert (status, err) == (0, "")
    expected = rv.hippo.project([1.0, 2.0, 4.0], rv.hippo.system("legs", 2), rule="exact")
    assert np.array_equal(results()["coefficients"], expected)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channel", [0, 1])
def test_wav(run, width, channel):
    top = 2 ** (8 * width - 1)
    values = np.array([[0, 1], [-top, top - 1], [top // 2, -1]], dtype=np.int64)
    write_wav(Path("u.wav"), values, width)
    status, _, err = run(
        "hippo", "compress", "u.wav", "--order", 3, "--column", channel, "--out", "o"
    )
    assert (status, err) == (0, "")
    data = results()
    system = rv.hippo.system("legs", 3)
    expected = rv.hippo.project(values[:, channel] / top, system, rule="exact")
    assert np.allclose(data["coefficients"], expected, rtol=0.0, atol=1e-14)
    assert float(data["step"]) == 0.01


def test_two_columns_of_npy(run):
    np.save("u.npy", np.stack([RECORDING, -RECORDING], axis=1).astype(np.float32))
    assert run("hippo", "compress", "u.npy", "--column", 1, "--out", "o")[0] == 0
    assert "choose a column" in only_line(run("hippo", "compress", "u.npy", "--out", "p")[2])


BAD = {
    "missing.npy": (None, "missing.npy: No such file"),
    "notes.txt": (b"1\n2\n", "must end in one of .npy, .csv, .wav"),
    "empty.csv": (b"", "the file is empty"),
    "empty.npy": (b"", "the file is empty"),
    "empty.wav": (b"", "the file is empty"),
    "header.csv": (b"value\n", "no samples"),
    "text.csv": (b"value\n1\nx\n", "line 3, column value: 'x' is no number"),
    "hole.csv": (b"a,b\n1,2\n3\n", "choose a column"),
    "nan.csv": (b"1\nnan\n3\n", "sample 1 is nan (1 of 3 are not finite)"),
    "binary.csv": (b"\xff\xfe\x00\x01", "not a text file"),
    "wrong.npy": (b"hello", "not a .npy file of numbers"),
    "wrong.wav": (b"hello", "not a PCM .wav file"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_files(run, name):
    content, message = BAD[name]
    if content is not None:
        Path(name).write_bytes(content)
    before = sorted(Path().iterdir())
    status, out, err = run("hippo", "compress", name, "--out", "o")
    assert (status, out) == (2, "")
    assert message in only_line(err)
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--measure", "moon"], "measure must be one of 'legs', 'legt'"),
        (["--measure", "malmquist"], "poles must be given"),
        (["--order", "0"], "order must be at least 1, got 0"),
        (["--order", "many"], "--order"),
        (["--rule", "moon"], "rule must be one of 'forward'"),
        (["--step", "0"], "step must be positive"),
        (["--step", "nan"], "step must be positive"),
        (["--measure", "legt", "--window", "-1"], "window must be positive"),
        (["--column", "3"], "no column '3'"),
        (["--out", "u.npy"], "u.npy is not a directory"),
        (["--moon"], "No such option"),
    ],
)
def test_bad_arguments(run, arguments, message):
    np.save("u.npy", RECORDING)
    status, out, err = run("hippo", "compress", "u.npy", "--out", "o", *arguments)
    assert (status, out) == (2, "")
    assert message in only_line(err)
    assert [p.name for p in Path().iterdir()] == ["u.npy"]


def test_a_failure_while_writing_leaves_nothing(run, monkeypatch):
    np.save("u.npy", RECORDING)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    status, _, err = run("hippo", "compress", "u.npy", "--out", "o")
    assert status == 1
    assert "No space left on device" in only_line(err)
    assert [p.name for p in Path().iterdir()] == ["u.npy"]


def test_figures(run):
    pytest.importorskip("pywt")
    status, out, _ = run("figures", "--only", "hippo-matrices", "--out", "f")
    assert (status, out) == (0, "4 pictures in f\n")
    assert len(list(Path("f").iterdir())) == 5
    status, _, err = run("figures", "--only", "moon", "--out", "g")
    assert status == 2
    assert "got 'moon'" in only_line(err)
    assert not Path("g").exists()
    assert run("figures", "hippo-matrices")[0] == 2


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c(tmp_path):
    np.save(tmp_path / "u.npy", np.random.default_rng(0).standard_normal(3_000_000))
    program = f"{HEED_CTRL_C}\nfrom resolvent import cli; print('ready', flush=True); cli.main()"
    command = ["hippo", "compress", "u.npy", "--order", "256", "--rule", "exact", "--out", "o"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert only_line(err) == "resolvent: interrupted"
    assert [p.name for p in tmp_path.iterdir()] == ["u.npy"]
