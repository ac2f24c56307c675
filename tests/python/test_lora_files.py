"""Adapters from files: what is written, how a run goes on, what is refused."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from lora_files_support import (
    SHAPES,
    bfloat16,
    contents,
    layer_seed,
    model,
    write_file,
    write_model,
)
from safetensors.numpy import load_file, save_file
from ssm_support import refused

import resolvent as rv
from resolvent import lora
from resolvent.lora import _execute
from resolvent.lora import _safetensors as tensors

EPS32 = float(np.finfo(np.float32).eps)

#: Of sums of so few products, in units of eps times the norms of the factors.
ROUNDING = 16.0

PLAIN = ["adapter_config.json", "adapter_model.safetensors"]
REPORTS = ["report.html", "report.md", "report.png"]
MOVED = ["offset.safetensors", *(f"untouched/{name}" for name in PLAIN)]


@pytest.fixture
def drawn():
    """Asked for by tests of the picture in a report; drawing takes longer than all else."""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(
            "matplotlib.figure.Figure.savefig", lambda _, file, **__: file.write_bytes(b"no PNG")
        )


def run(out="adapter", weights="W.safetensors", gradients="G.safetensors", **options):
    return lora.initialize_files(weights, gradients, out, **{"rank": 2, **options})


def read_tensors(file) -> dict[str, np.ndarray]:
    header = tensors.read_header(Path(file))
    return {name: tensors.read(tensor) for name, tensor in header.tensors.items()}


# ---- the format ---------------------------------------------------------------------------------


def test_every_bfloat16_and_float16():
    """All 65536 patterns: bfloat16 is the upper half of float32, NumPy knows float16."""
    patterns = np.arange(65536, dtype="<u2")
    write_file(Path("t"), {"b": patterns, "h": patterns.view("<f2")})
    found = read_tensors("t")
    padded = np.zeros((65536, 2), "<u2")
    padded[:, 1] = patterns
    assert found["b"].tobytes() == padded.view("<f4").tobytes()
    np.testing.assert_array_equal(found["h"], patterns.view("<f2").astype(np.float32))
    assert found["b"].dtype == found["h"].dtype == np.float32


@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_rounding_is_to_the_nearest_and_ties_to_even(kind):
    rng = np.random.default_rng(0)
    exact = tensors.rounded(rng.standard_normal(300).astype(np.float32), kind, "x")
    step = 2.0 ** -(8 if kind == "BF16" else 11)  # half of the last bit's place at 1
    scale = 2.0 ** np.floor(np.log2(np.abs(exact)))
    ties = exact + (step * scale).astype(np.float32)
    values = np.concatenate([rng.standard_normal(300), ties, exact]).astype(np.float32)
    got = tensors.rounded(values, kind, "x")
    assert tensors.rounded(got, kind, "x").tobytes() == got.tobytes()
    if kind == "F16":
        np.testing.assert_array_equal(got, values.astype(np.float16).astype(np.float32))
    for value, near in zip(values, got, strict=True):
        bits = int(np.float32(near).view(np.uint32)) >> 16
        for other in (bits - 1, bits + 1) if kind == "BF16" else ():
            far = np.uint32(other << 16).view(np.float32)
            gap, distance = (abs(Fraction(float(v)) - Fraction(float(value))) for v in (far, near))
            assert distance < gap or (distance == gap and bits % 2 == 0)


def test_what_does_not_fit_is_refused():
    assert tensors.rounded(np.float32([65504.0]), "F16", "x")[0] == 65504.0
    refused(lambda: tensors.rounded(np.float32([1.0, -7e4]), "F16", "A"), "A: float16", "7e+04")
    refused(lambda: tensors.rounded(np.float32([3.4e38]), "BF16", "B"), "B: bfloat16")
    for bits in (0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF):  # NaNs, two of them with a carry
        value = np.uint32([bits]).view(np.float32)
        refused(lambda value=value: tensors.rounded(value, "BF16", "B"), "B: bfloat16", "nan")


def test_the_library_reads_what_is_written_and_the_other_way_round():
    rng = np.random.default_rng(0)
    arrays = {
        "b": rng.standard_normal((3, 5)).astype(np.float16),
        "a": rng.standard_normal((2, 3, 4)),
        "c": rng.standard_normal(7).astype(np.float32),
        "none": np.zeros((0, 4), np.float32),
        "number": np.array(2.5, np.float32),
    }
    kinds = {"a": "F64", "b": "F16", "c": "F32", "none": "F32", "number": "F32"}
    layout = {name: (kinds[name], array.shape) for name, array in arrays.items()}
    with tensors.Writer(Path("ours"), layout, {"format": "pt"}) as writer:
        for name in writer.names:
            writer.write(name, [arrays[name]])
    save_file(arrays, "theirs")
    for name, array in arrays.items():
        np.testing.assert_array_equal(load_file("ours")[name], array)
        np.testing.assert_array_equal(read_tensors("theirs")[name], array)
    header = tensors.read_header(Path("ours"))
    assert header.metadata == {"format": "pt"}
    for tensor in header.tensors.values():
        assert tensor.start % np.dtype(load_file("ours")[tensor.name].dtype).itemsize == 0


def test_a_writer_wants_its_tensors_whole_and_in_order():
    layout = {"a": ("F32", (2, 2)), "b": ("F32", (1,))}
    with pytest.raises(RuntimeError, match="'a' is due"), tensors.Writer(Path("t"), layout) as w:
        w.write("b", [np.zeros(1)])
    with (
        pytest.raises(RuntimeError, match="wrote 2 elements"),
        tensors.Writer(Path("t"), layout) as w,
    ):
        w.write("a", [np.zeros((1, 2))])
    with (
        pytest.raises(RuntimeError, match="'b' was not written"),
        tensors.Writer(Path("t"), layout) as w,
    ):
        w.write("a", [np.zeros((1, 2)), np.zeros((1, 2))])


@pytest.mark.parametrize("kind", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("shape", [(7, 5), (1, 9), (9, 1), (64, 3)])
def test_blocks_of_rows(kind, shape, monkeypatch):
    """However few rows a block has."""
    values = np.random.default_rng(0).standard_normal(shape)
    stored = {"F64": values, "F32": values.astype("<f4"), "F16": values.astype("<f2")}
    stored["BF16"] = bfloat16(values)
    write_file(Path("t"), {"x": stored[kind]})
    tensor = tensors.read_header(Path("t")).tensors["x"]
    whole = tensors.read(tensor)
    for size in (1, 40, 1 << 20):
        monkeypatch.setattr(tensors, "BLOCK_BYTES", size)
        straight, turned = tensors.matrix(tensor), tensors.matrix(tensor, transpose=True)
        np.testing.assert_array_equal(straight, whole)
        np.testing.assert_array_equal(turned, whole.T)
        assert turned.flags.c_contiguous
        expected = float(np.sum(whole.astype(np.float64) ** 2))
        count = whole.size * float(np.finfo(np.float64).eps)
        assert abs(tensors.norm(tensor) - expected**0.5) <= count * expected**0.5


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_squares_out_of_range(scale):
    """The offset is a part of the weight whatever the weight's unit."""
    weight = np.random.default_rng(0).standard_normal((6, 5))
    write_file(Path("W.safetensors"), {"x": weight * scale})
    (scaled,) = run("scaled", gradients=None, method="pissa", rank=1).cards
    sigma = np.linalg.svd(weight, compute_uv=False)
    expected = sigma[0] / np.linalg.norm(sigma)
    assert abs(scaled.offset_ratio - expected) <= ROUNDING * 30 * np.finfo(float).eps


# ---- broken files -------------------------------------------------------------------------------


def test_cut_at_any_byte():
    save_file({"x": np.ones((3, 4), np.float32), "y": np.zeros(2)}, "whole")
    data = Path("whole").read_bytes()
    for length in range(len(data)):
        Path("cut.safetensors").write_bytes(data[:length])
        refused(
            lambda: lora.initialize_files("cut.safetensors", None, "o", rank=1, method="lora"),
            "cut.safetensors",
            "cut short" if length >= 8 else "not a safetensors file",
        )


def raw(header: object, data: bytes = b"", text: str | None = None) -> bytes:
    encoded = (json.dumps(header) if text is None else text).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


ENTRY = {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}
BROKEN = {
    "text": (b"hello, this is a text of some length", "not a safetensors file"),
    "numpy": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}", "not a safetensors file"),
    "list": (raw([1, 2]), "not a safetensors file"),
    "no json": (raw(None, text="{" * 9), "not a safetensors file"),
    "deep": (raw(None, text='{"a":' * 100_000), "not a safetensors file"),
    "no shape": (raw({"x": {"dtype": "F32"}}), "tensor 'x' lacks"),
    "a number": (raw({"x": 3}), "tensor 'x' lacks"),
    "negative": (raw({"x": ENTRY | {"shape": [-1, -2]}}, bytes(8)), "below 0"),
    "size": (raw({"x": ENTRY | {"shape": [3, 2]}}, bytes(8)), "needs 24 bytes", "give it 8"),
    "gap": (raw({"x": ENTRY | {"data_offsets": [8, 16]}}, bytes(16)), "'x' comes after a gap"),
    "overlap": (raw({"x": ENTRY, "y": ENTRY}, bytes(8)), "overlaps the one before it"),
    "long": (raw({"x": ENTRY}, bytes(11)), "3 bytes too long"),
    "twice": (raw(None, text='{"x":1,"x":2}'), "'x' is there twice"),
    "infinite": (raw(None, text=json.dumps({"x": ENTRY}).replace("8]", "1e999]")), "'x' lacks"),
    "infinite side": (raw({"x": ENTRY | {"shape": [float("inf")]}}), "'x' lacks"),
    "fraction": (raw({"x": ENTRY | {"shape": [1.9, 2]}}, bytes(8)), "'x' lacks"),
    "true": (raw({"x": ENTRY | {"shape": [True, 2]}}, bytes(8)), "'x' lacks"),
    "text for numbers": (raw({"x": ENTRY | {"shape": "12"}}, bytes(8)), "'x' lacks"),
    "type": (raw({"x": ENTRY | {"dtype": 3}}, bytes(8)), "'x' has the dtype 3"),
    "endless side": (raw({"x": ENTRY | {"shape": [0, 2**62], "data_offsets": [0, 0]}}), "'x' has"),
    "half a character": (raw({"\ud800.weight": ENTRY}, bytes(8)), "'\\ud800.weight' is no name"),
    "UTF-16": (b"\x14\0\0\0\0\0\0\0" + '{"x":null}'.encode("utf-16-le"), "not a safetensors file"),
    "metadata": (raw({"__metadata__": 3}), "__metadata__ must map names to texts"),
    "metadata of numbers": (raw({"__metadata__": {"a": 1}}), "__metadata__ must map"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_safetensors_file(name):
    data, *messages = BROKEN[name]
    Path("bad.safetensors").write_bytes(data)
    refused(lambda: run(weights="bad.safetensors"), "bad.safetensors", *messages)
    write_model(Path())
    refused(lambda: run(gradients="bad.safetensors"), "bad.safetensors", *messages)
    assert not Path("adapter").exists()
    assert not Path(".adapter.partial").exists()


def test_what_is_not_there():
    refused(lambda: run(weights="none.safetensors"), "none.safetensors: No such file")
    Path("empty").mkdir()
    refused(lambda: run(weights="empty"), "no .safetensors file in this folder")
    for shard in ("3", '"a\\u0000"', '"\\ud800"', "[" * 100_000):
        Path("i.json").write_text(f'{{"weight_map": {{"x": {shard}}}}}')
        refused(lambda: run(weights="i.json"), "i.json: not the index")


def test_a_model_in_several_files():
    weights, gradients = write_model(Path())
    names = list(weights)
    Path("shards").mkdir()
    for k in range(2):
        write_file(Path(f"shards/{k}.safetensors"), {n: weights[n] for n in names[k::2]})
    index = {"weight_map": {n: f"{k}.safetensors" for k in range(2) for n in names[k::2]}}
    Path("shards/model.safetensors.index.json").write_text(json.dumps(index))
    whole = run("whole")
    for k, path in enumerate(("shards", "shards/model.safetensors.index.json")):
        run(f"from{k}", weights=path)
        for file in (*PLAIN, "offset.safetensors"):
            ours, theirs = (load(f"{o}/{file}") for o in (f"from{k}", "whole"))
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[n], theirs[n]) for n in ours)
    assert len(whole.cards) == len(gradients)
    write_file(Path("shards/2.safetensors"), {names[0]: weights[names[0]]})
    refused(lambda: run("again", weights="shards"), names[0], "2.safetensors", "0.safetensors too")


def load(file):
    """Anything of an adapter's folder as a mapping."""
    if file.endswith(".json"):
        config = json.loads(Path(file).read_text())
        return {k: sorted(v) if isinstance(v, list) else v for k, v in config.items()}
    return load_file(file)


# ---- what is written ----------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
@pytest.mark.parametrize("method", lora.METHODS)
def test_files_hold_the_adapters(method, scaling):
    weights, gradients = write_model(Path())
    report = run(method=method, scaling=scaling, alpha=3.0, total_steps=10)
    moved = method in ("lora-ga", "lora-ga-adam", "pissa", "olora")
    assert sorted(contents(Path("adapter"))) == sorted([*PLAIN, *REPORTS, *(MOVED * moved)])
    assert [card.layer for card in report.cards] == list(gradients)
    saved = load_file("adapter/adapter_model.safetensors")
    alpha = load("adapter/adapter_config.json")["lora_alpha"]
    for card in report.cards:
        W, G = weights[card.layer].T, gradients[card.layer].T
        module = card.layer.removesuffix(".weight")
        adapter = lora.convert(saved, "post", module=module, alpha=alpha, scaling=scaling)
        s = 3.0 / 2**0.5 if scaling == "rslora" else 1.5
        shift = 1e-5 if method == "adalora" else 4 * np.finfo(float).eps  # PEFT's r + 1e-5
        assert abs(adapter.s - s) <= shift * s
        assert adapter.method in (method, "")
        merged = adapter.merged(W)
        if moved:
            offset = load_file("adapter/offset.safetensors")[card.layer].T
            merged = offset + merged
            untouched = load_file("adapter/untouched/adapter_model.safetensors")
            doubled = lora.convert(
                untouched, "post", module=module, alpha=3.0 * s / 1.5 * 4 / 2, scaling="lora"
            )
            assert doubled.rank == 4
            size = np.linalg.norm(adapter.A) * np.linalg.norm(adapter.B) * s
            assert np.abs(doubled.delta.dense()).max() <= ROUNDING * EPS32 * size
            ratio = np.linalg.norm(offset) / np.linalg.norm(W)
            assert abs(card.offset_ratio - ratio) <= ROUNDING * EPS32 * ratio
        size = np.abs(W).max() + np.abs(adapter.delta.dense()).max()
        assert np.abs(merged - W).max() <= ROUNDING * EPS32 * size
        assert G.shape == card.shape


@pytest.mark.parametrize("method", ["lora-ga", "pissa", "dora", "orthogonal"])
def test_cards_are_alignments(method):
    weights, gradients = write_model(Path())
    report = run(method=method, rank=2, alpha=3.0, optimizer="adam")
    saved = load_file("adapter/adapter_model.safetensors")
    for card in report.cards:
        module = card.layer.removesuffix(".weight")
        adapter = lora.convert(saved, "post", module=module, alpha=3.0)
        W, G = weights[card.layer].T, gradients[card.layer].T
        found = lora.alignment(G, adapter, optimizer="adam", weight=W)
        for name in ("cosine", "captured", "residual", "optimum", "excess", "effective_scale"):
            assert getattr(card, name) == getattr(found, name)
        assert np.array_equal(card.spectrum, found.spectrum)
        assert np.array_equal(card.angles_left, found.angles_left)
    mean = np.mean([card.cosine for card in report.cards])
    assert abs(report.mean["cosine"] - mean) <= ROUNDING * np.finfo(float).eps


def test_lora_ga_is_the_initialisation_of_every_layer():
    _, gradients = write_model(Path())
    run(rank=3, directions="ArBr", scale="unit")
    saved = load_file("adapter/adapter_model.safetensors")
    for name, G in gradients.items():
        adapter = lora.initialize(
            "lora-ga",
            gradient=G.T.copy(),
            rank=3,
            directions="interleaved",
            scale="unit",
            seed=layer_seed(0, name),
        )
        expected = lora.convert(adapter, "peft", module=name.removesuffix(".weight"))
        for key, array in expected.items():
            assert saved[key].tobytes() == array.tobytes()


def test_names_of_the_paper():
    write_model(Path())
    run("ours", scale="weight", directions="a-first")
    run("theirs", scale="weightS", directions="ArB2r")
    assert contents(Path("ours")) == contents(Path("theirs"))


def test_in_by_out():
    """The same numbers from the transposed files."""
    weights, gradients = model()
    write_file(Path("W.safetensors"), {k: np.ascontiguousarray(v.T) for k, v in weights.items()})
    write_file(Path("G.safetensors"), {k: np.ascontiguousarray(v.T) for k, v in gradients.items()})
    turned = run("turned", orientation="post")
    write_model(Path())
    straight = run("straight")
    assert [c.cosine for c in turned.cards] == [c.cosine for c in straight.cards]
    config = json.loads(Path("turned/adapter_config.json").read_text())
    assert config["fan_in_fan_out"] is True
    adapters = [load_file(f"{o}/adapter_model.safetensors") for o in ("turned", "straight")]
    assert all(np.array_equal(adapters[0][k], adapters[1][k]) for k in adapters[1])
    offsets = [load_file(f"{o}/offset.safetensors") for o in ("turned", "straight")]
    for name, offset in offsets[1].items():
        assert offsets[0][name].shape == weights[name].T.shape
        size = np.abs(offset).max()
        assert np.abs(offsets[0][name].T - offset).max() <= ROUNDING * EPS32 * size


@pytest.mark.parametrize("kind", ["BF16", "F16", "F64"])
def test_other_types(kind):
    weights, gradients = model()
    cast = {"BF16": bfloat16, "F16": lambda a: a.astype("<f2"), "F64": lambda a: a.astype("<f8")}
    write_file(Path("W.safetensors"), {k: cast[kind](v) for k, v in weights.items()})
    write_file(Path("G.safetensors"), {k: cast[kind](v) for k, v in gradients.items()})
    half = run("half")
    held = {"F64": "F64"}.get(kind, "F32")
    adapter = tensors.read_header(Path("half/adapter_model.safetensors")).tensors
    offset = tensors.read_header(Path("half/offset.safetensors")).tensors
    assert {t.kind for t in adapter.values()} == {held}
    assert {t.kind for t in offset.values()} == {kind}
    # Exactly what float32 files with the same values give.
    for name in "WG":
        write_file(
            Path(f"{name}.safetensors"),
            {k: v.astype(v.dtype.name) for k, v in read_tensors(f"{name}.safetensors").items()},
        )
    full = run("full")
    assert [c.cosine for c in half.cards] == [c.cosine for c in full.cards]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_offset_belongs_to_the_factors_as_written(dtype):
    _, gradients = write_model(Path())
    run(dtype=dtype, rank=2)
    saved = read_tensors("adapter/adapter_model.safetensors")
    offset = read_tensors("adapter/offset.safetensors")
    unit = 2.0 ** -(8 if dtype == "bfloat16" else 11)
    for name in gradients:
        key = f"base_model.model.{name.removesuffix('.weight')}"
        product = saved[f"{key}.lora_B.weight"] @ saved[f"{key}.lora_A.weight"]
        assert np.all(
            np.abs(offset[name] + product)
            <= unit * np.abs(product) * (1 + 2 * unit)
            + ROUNDING * EPS32 * np.abs(product).max()
            + 2.0**-24
        )


def test_every_layer_has_its_own_random_numbers_whatever_else_is_there():
    write_model(Path())
    run("all", method="lora")
    run("some", method="lora", target="encoder.1")
    run("other", method="lora", seed=1)
    everything, some, other = (
        load_file(f"{o}/adapter_model.safetensors") for o in ("all", "some", "other")
    )
    assert len(everything) == 12
    assert len(some) == 6
    key = "base_model.model.encoder.{}.query.lora_A.weight"
    assert np.array_equal(some[key.format(1)], everything[key.format(1)])
    assert not np.array_equal(everything[key.format(0)], everything[key.format(1)])
    assert not np.array_equal(other[key.format(1)], everything[key.format(1)])


def test_settings_for_peft():
    write_model(Path())
    run(scaling="rslora", alpha=2.5, base_model="m/b", task_type="SEQ_CLS")
    config = json.loads(Path("adapter/adapter_config.json").read_text())
    expected = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 2.5,
        "use_rslora": True,
        "use_dora": False,
        "init_lora_weights": True,
        "bias": "none",
        "fan_in_fan_out": False,
        "base_model_name_or_path": "m/b",
        "task_type": "SEQ_CLS",
        "lora_dropout": 0.0,
    }
    assert expected.items() <= config.items()
    assert sorted(config["target_modules"]) == sorted(
        f"encoder.{k}.{part}" for k in range(2) for part in SHAPES
    )
    doubled = json.loads(Path("adapter/untouched/adapter_config.json").read_text())
    assert doubled["r"] == 4
    assert abs(doubled["lora_alpha"] / 4**0.5 - 2.5 / 2**0.5) <= 4 * np.finfo(float).eps
    run("ada", method="adalora", rank=6, alpha=3.0, total_steps=99)
    config = json.loads(Path("ada/adapter_config.json").read_text())
    expected = {"peft_type": "ADALORA", "init_r": 6, "target_r": 4, "total_step": 99}
    assert expected.items() <= config.items()
    assert config["lora_alpha"] == 3
    assert "r" not in config
    run("dora", method="dora")
    assert json.loads(Path("dora/adapter_config.json").read_text())["use_dora"] is True


def test_names_that_end_like_others_are_told_apart():
    """PEFT adapts every module whose path ends in a listed one."""
    rng = np.random.default_rng(0)
    names = ("head.weight", "block.head.weight", "block.up.weight")
    write_file(Path("W.safetensors"), {n: rng.standard_normal((6, 5)) for n in names})
    run(gradients=None, method="lora", target="^head")
    modules = json.loads(Path("adapter/adapter_config.json").read_text())["target_modules"]
    assert isinstance(modules, str)
    assert re.fullmatch(modules, "head")
    assert not re.fullmatch(modules, "block.head")
    run("both", gradients=None, method="lora", target="head")
    modules = json.loads(Path("both/adapter_config.json").read_text())["target_modules"]
    assert re.fullmatch(modules, "head")
    assert re.fullmatch(modules, "block.head")
    run("block", gradients=None, method="lora", target="block")
    modules = json.loads(Path("block/adapter_config.json").read_text())["target_modules"]
    assert sorted(modules) == ["block.head", "block.up"]


def test_without_gradients():
    weights, gradients = write_model(Path())
    for method in ("lora", "pissa", "olora", "orthogonal", "dora"):
        report = run(method, gradients=None, method=method)
        assert [card.layer for card in report.cards] == list(gradients)
        assert report.left_out == ("embeddings.word.weight",)
        assert set(report.mean) == {"offset_ratio"}
        assert "cosine" not in Path(method, "report.md").read_text()
    assert weights.keys() > gradients.keys()
    refused(lambda: run("o", gradients=None), "gradients must be given for lora-ga")


def test_shapes_are_enough_for_some_methods():
    """The weights' data is never read."""
    weights, _ = write_model(Path())
    nothing = {name: np.full_like(array, np.nan) for name, array in weights.items()}
    write_file(Path("W.safetensors"), nothing)
    for method in ("lora", "adalora", "orthogonal"):
        run(method, gradients=None, method=method, total_steps=9)
    refused(
        lambda: run("p", gradients=None, method="pissa"), "layer encoder.0.query.weight: weight"
    )
    refused(lambda: run("p"), "layer encoder.0.query.weight: weight must be finite")


# ---- reports ------------------------------------------------------------------------------------


def test_reports(drawn):
    write_model(Path())
    report = run()
    markdown = Path("adapter/report.md").read_text(encoding="utf-8")
    page = Path("adapter/report.html").read_text(encoding="utf-8")
    for card in report.cards:
        assert (
            f"| {card.layer} | {card.shape[0]} × {card.shape[1]} | {card.cosine:.4g} |" in markdown
        )
        assert page.count(card.layer) == 2
    assert f"**{report.mean['cosine']:.4g}**" in markdown
    assert page.count("<svg") == page.count("</svg>") == len(report.cards)
    assert page.count("<polyline") == len(report.cards)
    assert "resolvent lora untouched" in markdown
    assert Path("adapter/report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert repr(report).startswith("FilesReport('lora-ga', rank 2, 6 layers; mean cosine 0.")
    assert str(report).splitlines()[1].startswith("encoder.0.query.weight")
    assert report._repr_html_().count("<tr>") == 1 + 6 + 1


def test_pictures():
    from matplotlib.figure import Figure

    write_model(Path())
    for report in (run(), run("p", gradients=None, method="pissa")):
        axes = report.plot(Figure().subplots())
        name = "cosine" if report.cards[0].cosine is not None else "offset_ratio"
        drawn = axes.lines[0].get_ydata()
        assert np.array_equal(drawn, [getattr(card, name) for card in report.cards])
        ticks = axes.get_xticks()
        assert np.array_equal(ticks, np.round(ticks))
    few = run("few", target="query").plot(Figure().subplots())
    names = [label.get_text() for label in few.get_xticklabels()]
    assert names == ["encoder.0.query.weight", "encoder.1.query.weight"]


def test_pictures_of_a_comparison():
    from matplotlib.figure import Figure

    from resolvent.plot.lora import METHOD_COLORS

    write_model(Path())
    found = lora.compare_files(
        "W.safetensors", "G.safetensors", rank=2, methods=["pissa", "lora-ga"], target="up"
    )
    lines = found.plot(Figure().subplots()).lines
    assert [line.get_color() for line in lines] == [METHOD_COLORS[m] for m in ("pissa", "lora-ga")]
    assert [tuple(line.get_ydata()) for line in lines] == [
        tuple(card.cosine for card in cards) for cards in found.cards.values()
    ]
    gap = replace(found.cards["pissa"][0], cosine=None)
    missing = lora.FilesComparison({"pissa": (gap, found.cards["pissa"][1])})
    assert np.isnan(missing.plot(Figure().subplots()).lines[0].get_ydata()[0])
    assert "best mean cosine nan" in repr(missing)


def test_names_are_escaped_in_the_page():
    rng = np.random.default_rng(0)
    write_file(Path("W.safetensors"), {"<b>&x.weight": rng.standard_normal((6, 5))})
    run(gradients=None, method="pissa")
    page = Path("adapter/report.html").read_text(encoding="utf-8")
    assert "<b>&x" not in page
    assert "&lt;b&gt;&amp;x" in page


def test_names_are_literal_in_markdown():
    rng = np.random.default_rng(0)
    names = ("a|b\n<i>c.weight", "__init__.*x*.weight", "plain_name.weight", "\x1b[31m.weight")
    write_file(Path("W.safetensors"), {name: rng.standard_normal((6, 5)) for name in names})
    report = run(gradients=None, method="pissa")
    rows = [r for r in Path("adapter/report.md").read_text("utf-8").splitlines() if "6 × 5" in r]
    rows = rows or [
        r for r in Path("adapter/report.md").read_text("utf-8").splitlines() if "5 × 6" in r
    ]
    labels = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    assert [html.unescape(label) for label in labels] == [
        r"a|b\n<i>c.weight",
        "__init__.*x*.weight",
        "plain_name.weight",
        r"\x1b[31m.weight",
    ]
    assert not set("|<>*[\\") & set("".join(labels))
    assert "plain_name.weight" in labels
    assert not any(label.startswith("_") for label in labels)
    assert "\x1b" not in str(report)
    assert len(str(report).splitlines()) == 1 + 4 + 1


# ---- which layers -------------------------------------------------------------------------------


def test_targets():
    write_model(Path())
    report = run(target=["query", r"1\.up"])
    assert [c.layer for c in report.cards] == [
        "encoder.0.query.weight",
        "encoder.1.query.weight",
        "encoder.1.up.weight",
    ]
    refused(lambda: run("o", target="attention"), "target 'attention'", "no matrix")
    refused(lambda: run("o", target=["query", "("]), "target must be a regular expression", "'('")
    refused(lambda: run("o", target="bias"), "no matrix")


def test_embeddings_only_when_asked_for():
    weights, gradients = model()
    rng = np.random.default_rng(1)
    gradients["embeddings.word.weight"] = rng.standard_normal((30, 12)).astype(np.float32)
    write_file(Path("W.safetensors"), weights)
    write_file(Path("G.safetensors"), gradients)
    report = run()
    assert report.left_out == ("embeddings.word.weight",)
    assert "embeddings.word.weight" in Path("adapter/report.md").read_text()
    assert [c.layer for c in run("o", target="word").cards] == ["embeddings.word.weight"]


def test_layers_that_only_one_file_has():
    weights, gradients = model()
    extra = {f"decoder.{k}.weight": np.ones((4, 4), np.float32) for k in range(5)}
    write_file(Path("W.safetensors"), weights)
    write_file(Path("G.safetensors"), gradients | extra)
    refused(
        run,
        "5 layers are in G.safetensors but not in W.safetensors",
        "decoder.0.weight, decoder.1.weight, decoder.2.weight, …",
    )
    assert len(run(allow_missing=True).cards) == 6
    del gradients["encoder.1.up.weight"]
    write_file(Path("G.safetensors"), gradients)
    assert len(run("fewer").cards) == 5  # nothing said that this layer is wanted
    refused(
        lambda: run("o", target="up"),
        "1 layer is in W.safetensors but not in G.safetensors: encoder.1.up.weight (",
    )
    assert len(run("o", target="up", allow_missing=True).cards) == 1


def test_one_module_once():
    write_file(Path("W.safetensors"), {"x": np.eye(4), "x.weight": np.eye(4)})
    refused(lambda: run(gradients=None, method="lora"), "layer x.weight", "same module 'x'")


def changed(file: str, name: str, value: np.ndarray) -> None:
    held = read_tensors(file)
    held[name] = value.astype(np.float32)
    write_file(Path(file), held)


@pytest.mark.parametrize(
    ("value", "messages", "error"),
    [
        (np.zeros((16, 12)), ["gradient is zero"], rv.InvalidArgument),
        (np.full((16, 12), np.nan), ["gradient", "nan"], rv.InvalidArgument),
        (np.full((16, 12), -np.inf), ["gradient", "-inf"], rv.InvalidArgument),
        (np.ones((12, 16)), ["(16, 12)", "got (12, 16)"], rv.ShapeMismatch),
    ],
)
def test_a_wrong_gradient_is_named_and_nothing_is_left(value, messages, error):
    write_model(Path())
    changed("G.safetensors", "encoder.1.query.weight", value)
    before = sorted(Path().iterdir())
    refused(run, "layer encoder.1.query.weight: ", *messages, error=error)
    assert sorted(Path().iterdir()) == before


def test_a_wrong_gradient_in_another_process():
    write_model(Path())
    changed("G.safetensors", "encoder.1.query.weight", np.zeros((16, 12)))
    before = sorted(Path().iterdir())
    refused(lambda: run(workers=2), "layer encoder.1.query.weight: gradient is zero")
    assert sorted(Path().iterdir()) == before


def test_ranks_that_are_too_large():
    write_model(Path())
    refused(
        lambda: run(rank=7),
        "layer encoder.0.query.weight: rank",
        "min(n, m)/2 = 6 for lora-ga",
        "7",
    )
    refused(lambda: run(rank=13, method="pissa"), "layer encoder.0.query.weight: rank", "12", "13")
    refused(lambda: run(rank=3, method="orthogonal"), "rank must be even")
    assert not Path(".adapter.partial").exists()


def test_types_without_fractions():
    weights, gradients = model()
    whole = {"encoder.0.up.weight": np.zeros((40, 16), np.float32)}
    write_file(Path("W.safetensors"), weights | whole, {"encoder.0.up.weight": "I32"})
    write_file(Path("G.safetensors"), gradients)
    refused(run, "layer encoder.0.up.weight: W.safetensors holds I32; floating-point")
    assert len(run("o", gradients=None, method="lora").cards) == 5


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"method": "loro"}, ["method must be one of 'lora', 'lora-ga'", "'loro'"]),
        ({"rank": 0}, ["rank must be at least 1, got 0"]),
        ({"alpha": -1.0}, ["alpha must be positive"]),
        ({"scaling": "x"}, ["scaling must be one of"]),
        ({"scale": "x"}, ["scale must be one of"]),
        ({"directions": "x"}, ["directions must be one of"]),
        ({"gamma": 0.0}, ["gamma must be positive"]),
        ({"adam": "x"}, ["adam must be one of"]),
        ({"distribution": "x"}, ["distribution must be one of"]),
        ({"optimizer": "x"}, ["optimizer must be one of"]),
        ({"orientation": "x"}, ["orientation must be one of 'torch', 'post'"]),
        ({"dtype": "int8"}, ["dtype must be one of 'float64', 'float32'"]),
        ({"seed": -1}, ["seed"]),
        ({"workers": 0}, ["workers must be at least 1"]),
        ({"method": "adalora"}, ["total_steps must be given for adalora"]),
        ({"target_rank": 3}, ["target_rank must be at most rank = 2, got 3"]),
        ({"out": "W.safetensors"}, ["W.safetensors is not a directory"]),
        ({"out": "."}, ["out must name a folder"]),
        ({"out": "x/.."}, ["out must name a folder"]),
    ],
)
def test_wrong_settings(options, messages):
    write_model(Path())
    before = sorted(Path().iterdir())
    refused(lambda: run(**options), *messages)
    assert sorted(Path().iterdir()) == before


def test_a_gradient_of_small_rank_is_warned_about_once():
    _, gradients = write_model(Path())
    for name in ("encoder.0.up.weight", "encoder.1.up.weight"):
        changed("G.safetensors", name, gradients[name][:, :1] * np.ones((1, 16)))
    with pytest.warns(rv.IllConditionedWarning) as caught:
        run(rank=3)
    (warning,) = caught
    assert "layer encoder.0.up.weight: 5 of the 6 directions" in str(warning.message)
    assert "1 more layer" in str(warning.message)
    assert warning.message.value <= 40 * EPS32
    assert "encoder.1.up.weight" in Path("adapter/report.md").read_text().split("rank below")[1]


def test_offsets_below_the_rounding_of_the_base_are_warned_about():
    weights, gradients = model()
    for scale, few in ((1.0, False), (50.0, True)):
        held = {name: bfloat16(scale * array) for name, array in weights.items()}
        write_file(Path("W.safetensors"), held)
        write_file(Path("G.safetensors"), gradients)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = run(f"{scale}", gamma=64.0)
        ratios = [card.offset_ratio for card in report.cards]
        assert (max(ratios) < 4 / 256) == few
        assert (min(ratios) < 4 / 256) == few
        assert ["keep the base in float32" in str(w.message) for w in caught] == [True] * few
    assert "(and 5 more layers)" in str(caught[0].message)
    assert caught[0].message.value == ratios[0] * 256
    write_file(Path("W.safetensors"), {k: 50.0 * v for k, v in weights.items()})
    run("single", gamma=64.0)  # and so nothing is said of float32


# ---- folders that are there, runs that stopped --------------------------------------------------


def test_an_existing_folder():
    write_model(Path())
    Path("adapter").mkdir()
    refused(run, "out: adapter exists")
    run(overwrite=True)
    refused(run, "out: adapter exists")
    before = contents(Path("adapter"))
    run(overwrite=True, seed=1, method="lora")
    assert sorted(contents(Path("adapter"))) == sorted([*PLAIN, *REPORTS])
    assert contents(Path("adapter")) != before
    assert sorted(p.name for p in Path().iterdir()) == ["G.safetensors", "W.safetensors", "adapter"]


@pytest.mark.parametrize("place", ["mine.txt", "untouched/mine.txt", "checkpoint/optimizer.pt"])
def test_a_folder_with_something_else_is_never_replaced(place):
    write_model(Path())
    run()
    file = Path("adapter", place)
    file.parent.mkdir(exist_ok=True)
    file.write_text("kept")
    before = contents(Path())
    what = place.split("/")[0] if "checkpoint" in place else place
    refused(lambda: run(overwrite=True), "out: adapter is not replaced", f"holds {what}")
    assert contents(Path()) == before
    run("initial")
    refused(lambda: lora.untouched_files("initial", "initial", "adapter", overwrite=True), what)
    assert file.read_text() == "kept"


def test_a_folder_with_the_names_of_ours_alone_is_not_ours():
    write_model(Path())
    Path("adapter").mkdir()
    Path("adapter/report.md").write_text("kept")
    refused(lambda: run(overwrite=True), "holds files but no adapter_config.json")
    Path(".o.partial").mkdir()
    Path(".o.partial/mine.txt").write_text("kept")
    refused(lambda: run("o"), ".o.partial is in the way")
    assert Path(".o.partial/mine.txt").exists()


def test_inputs_are_never_replaced():
    """Not even under the names of an adapter's files, by an index, or by a link."""
    write_model(Path())
    run("model", method="lora")
    names = {"W": "adapter_model.safetensors", "G": "offset.safetensors"}
    for name, inside in names.items():
        Path(f"{name}.safetensors").replace(f"model/{inside}")
    weights, gradients = (Path("model", inside) for inside in names.values())
    Path("linked.safetensors").symlink_to(weights)
    index = {"weight_map": {"x": str(weights)}}
    Path("index.json").write_text(json.dumps(index))
    Path("other").symlink_to("model")
    before = contents(Path())
    for files in (
        (weights, gradients),
        ("linked.safetensors", gradients),
        ("index.json", gradients),
        ("other/adapter_model.safetensors", gradients),
    ):
        for out in ("model", "other", Path("model").absolute()):
            refused(
                lambda files=files, out=out: run(
                    out, *files, overwrite=True, target="query", allow_missing=True
                ),
                "cannot be replaced while it is an input",
            )
    assert contents(Path()) == before


def test_trained_and_initial_adapters_are_never_replaced():
    write_model(Path())
    run("initial")
    run("trained")
    before = contents(Path())
    for out in ("initial", "trained"):
        refused(
            lambda out=out: lora.untouched_files("trained", "initial", out, overwrite=True),
            f"is in {out}, which cannot be replaced while it is an input",
        )
    refused(
        lambda: lora.untouched_files("trained/untouched", "trained", "trained", overwrite=True),
        "cannot be replaced",
    )
    assert contents(Path()) == before


def test_a_folder_that_comes_during_the_run():
    write_model(Path())

    def somebody(done: int, total: int, name: str) -> None:
        if done == 6:
            Path("adapter").mkdir()
            Path("adapter/mine.txt").write_text("kept")

    for overwrite, message in ((False, "adapter exists"), (True, "adapter is not replaced")):
        refused(lambda o=overwrite: run(overwrite=o, progress=somebody), message)
        assert Path("adapter/mine.txt").read_text() == "kept"
        Path("adapter/mine.txt").unlink()
        Path("adapter").rmdir()
    moves = []
    run(progress=lambda *move: moves.append(move[0]))
    assert moves == [6]


def test_a_link_to_nothing_is_no_folder():
    write_model(Path())
    Path("adapter").symlink_to("nowhere")
    refused(lambda: run(overwrite=True), "out: adapter is not a directory")
    assert not Path(".adapter.partial").exists()


def test_folders_above_are_left_only_with_a_result():
    write_model(Path())
    Path("a").mkdir()
    with pytest.raises(Stop):
        run("a/b/c/adapter", progress=stopped_after(0))
    assert not list(Path("a").iterdir())
    with pytest.raises(Stop):
        run("a/b/c/adapter", progress=stopped_after(2))
    run("a/b/c/adapter")
    lora.untouched_files("a/b/c/adapter", "a/b/c/adapter", "a/x/y/wide")
    assert sorted(contents(Path("a/x/y/wide"))) == PLAIN


class Stop(Exception):
    """From the progress callback."""


def stopped_after(layers: int, error: type[BaseException] = Stop):
    def progress(done: int, total: int, name: str) -> None:
        if done == layers:
            raise error

    return progress


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("method", ["lora-ga", "dora"])
def test_a_stopped_run_goes_on(method, error):
    write_model(Path())
    run("whole", method=method)
    with pytest.raises(error):
        run(method=method, progress=stopped_after(4, error))
    assert not Path("adapter").exists()
    moves = []
    run(method=method, progress=lambda *move: moves.append(move))
    assert [done for done, _, _ in moves] == [4, 5, 6]
    assert contents(Path("adapter")) == contents(Path("whole"))
    assert not Path(".adapter.partial").exists()


def test_a_run_stopped_before_its_first_layer_leaves_nothing():
    write_model(Path())
    before = sorted(Path().iterdir())
    with pytest.raises(Stop):
        run(progress=stopped_after(0))
    assert sorted(Path().iterdir()) == before


def test_a_failure_at_the_end_keeps_the_layers(monkeypatch):
    write_model(Path())
    with monkeypatch.context() as patched:
        patched.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run()
    assert not Path("adapter").exists()
    moves = []
    run(progress=lambda *move: moves.append(move[0]))
    assert moves == [6]
    assert len(contents(Path("adapter"))) == 8


def test_other_settings_do_not_go_on():
    write_model(Path())
    with pytest.raises(Stop):
        run(progress=stopped_after(4))
    for options, name in (
        ({"rank": 3}, "rank"),
        ({"seed": 1}, "seed"),
        ({"gamma": 9.0}, "gamma"),
        ({"target": "up"}, "config"),
        ({"base_model": "m"}, "config"),
    ):
        refused(lambda options=options: run(**options), ".adapter.partial", f"differs in {name!r}")
    os.utime("G.safetensors", ns=(0, 0))
    refused(run, "differs in 'gradients'")
    moves = []
    run(rank=3, overwrite=True, progress=lambda *move: moves.append(move[0]))
    assert moves == [0, 1, 2, 3, 4, 5, 6]


def test_two_runs_of_one_folder():
    write_model(Path())

    def second(done: int, total: int, name: str) -> None:
        if done == 2:
            refused(run, "another run is making adapter")

    run(progress=second)
    assert len(contents(Path("adapter"))) == 8


KILLED = """
import os, signal
from resolvent import lora
def progress(done, total, name):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
lora.initialize_files("W.safetensors", "G.safetensors", "adapter", rank=2, progress=progress)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_a_killed_run_goes_on():
    write_model(Path())
    ended = subprocess.run([sys.executable, "-c", KILLED], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not Path("adapter").exists()
    moves = []
    run(progress=lambda *move: moves.append(move[0]))
    assert moves == [3, 4, 5, 6]
    run("whole")
    assert contents(Path("adapter")) == contents(Path("whole"))


# ---- several workers, memory --------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora-ga", "lora"])
def test_workers_give_the_same_bits(method, drawn):
    write_model(Path())
    run("one", method=method)
    moves = []
    run("two", method=method, workers=2, progress=lambda *move: moves.append(move[0]))
    assert moves == list(range(7))
    assert contents(Path("one")) == contents(Path("two"))


def test_a_run_goes_on_with_more_workers():
    write_model(Path())
    run("whole")
    with pytest.raises(Stop):
        run(progress=stopped_after(2))
    run(workers=2)
    assert contents(Path("adapter")) == contents(Path("whole"))


class Interrupting(ThreadPoolExecutor):
    """Ctrl-C comes with the first submission."""

    submitted = 0

    def submit(self, *call):
        self.submitted += 1
        signal.raise_signal(signal.SIGINT)
        return super().submit(*call)


def test_ctrl_c_waits_until_all_is_submitted():
    """Inside of it, the exception could leave a future locked for ever."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupting(1) as executor, pytest.raises(KeyboardInterrupt):
            next(_execute._completed(executor, [int] * 3, lambda: True))
        assert executor.submitted == 3
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", ["F32", "BF16"])
def test_memory_is_that_of_one_layer(kind):
    """NumPy's arrays alone; it does not grow with the number of layers."""
    size = 160
    rng = np.random.default_rng(0)
    matrices = {
        f"{k}.weight": rng.standard_normal((size, size)).astype(np.float32) for k in range(12)
    }
    if kind == "BF16":
        matrices = {name: bfloat16(array) for name, array in matrices.items()}
    peaks = []

    def progress(done: int, total: int, name: str) -> None:
        if done:
            peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()

    write_file(Path("W.safetensors"), matrices)
    write_file(Path("G.safetensors"), matrices)
    run("warm", target="^0", gamma=1.0)
    tracemalloc.start()
    try:
        run(progress=progress, gamma=1.0)
    finally:
        tracemalloc.stop()
    assert len(peaks) == 12
    assert max(peaks) <= 1.1 * peaks[0]
    assert max(peaks) < 8 * size * size * 4


# ---- trained adapters ---------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trained_adapter_for_an_untouched_base(scaling, dtype):
    weights, gradients = write_model(Path())
    run("initial", scaling=scaling, alpha=3.0, dtype=dtype)
    Path("trained").mkdir()
    rng = np.random.default_rng(1)
    start = load_file("initial/adapter_model.safetensors")
    trained = {k: v + rng.standard_normal(v.shape).astype(v.dtype) for k, v in start.items()}
    save_file(trained, "trained/adapter_model.safetensors")
    config = json.loads(Path("initial/adapter_config.json").read_text())
    Path("trained/adapter_config.json").write_text(json.dumps(config | {"lora_dropout": 0.1}))
    assert lora.untouched_files("trained", "initial", "out") == Path("out")
    assert sorted(contents(Path("out"))) == PLAIN
    doubled = json.loads(Path("out/adapter_config.json").read_text())
    assert doubled["lora_dropout"] == 0.1
    saved = load_file("out/adapter_model.safetensors")
    offset = load_file("initial/offset.safetensors")
    for name in gradients:
        module = name.removesuffix(".weight")
        after = lora.convert(trained, "post", module=module, alpha=3.0, scaling=scaling)
        wide = lora.convert(
            saved, "post", module=module, alpha=doubled["lora_alpha"], scaling=scaling
        )
        assert wide.rank == doubled["r"] == 2 * after.rank
        expected = offset[name].T + after.delta.dense()
        size = np.linalg.norm(after.A) * np.linalg.norm(after.B) * after.s
        assert np.abs(wide.delta.dense() - expected).max() <= ROUNDING * EPS32 * size
        assert weights[name].T.shape == wide.shape
    refused(lambda: lora.untouched_files("trained", "initial", "out"), "out exists")
    lora.untouched_files("trained", "initial", "out", overwrite=True)
    assert not [p for p in Path().iterdir() if p.name.startswith(".")]


def test_another_scale_than_at_the_start():
    """α was changed for training: the offset stays that of the start."""
    _, gradients = write_model(Path())
    run("initial", alpha=3.0)
    Path("trained").mkdir()
    start = load_file("initial/adapter_model.safetensors")
    save_file({k: 2.0 * v for k, v in start.items()}, "trained/adapter_model.safetensors")
    config = json.loads(Path("initial/adapter_config.json").read_text())
    Path("trained/adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 5.0}))
    lora.untouched_files("trained", "initial", "out")
    saved = load_file("out/adapter_model.safetensors")
    for name in gradients:
        module = name.removesuffix(".weight")
        wide = lora.convert(saved, "post", module=module, alpha=10.0)
        first = lora.convert(start, "post", module=module, alpha=3.0).delta.dense()
        expected = first * (4.0 * 5.0 / 3.0 - 1.0)
        assert (
            np.abs(wide.delta.dense() - expected).max()
            <= ROUNDING * EPS32 * np.abs(first).max() * 8
        )


def trained_copy(tensors=None, **config) -> None:
    """What training made of initial/, with more tensors and other settings."""
    Path("trained").mkdir(exist_ok=True)
    start = load_file("initial/adapter_model.safetensors")
    save_file({k: 2.0 * v for k, v in start.items()} | (tensors or {}), "trained/" + PLAIN[1])
    settings = json.loads(Path("initial/adapter_config.json").read_text())
    Path("trained/adapter_config.json").write_text(json.dumps(settings | config))


def test_what_else_was_trained_is_taken_over():
    """Heads, biases and counters, bit for bit; bfloat16 too."""
    write_model(Path())
    run("initial")
    others = {
        "base_model.model.classifier.weight": np.arange(6.0, dtype=np.float16).reshape(2, 3),
        "base_model.model.encoder.0.up.base_layer.bias": np.full(40, np.nan),
        "base_model.model.encoder.0.up.lora_B.bias": np.ones(40, np.float32),
        "base_model.model.count": np.array(7, np.int64),
        "base_model.model.flags": np.array([True, False, True]),
    }
    trained_copy(others, modules_to_save=["classifier"])
    lora.untouched_files("trained", "initial", "out")
    saved = load_file("out/adapter_model.safetensors")
    assert len(saved) == 12 + len(others)
    for name, array in others.items():
        assert saved[name].dtype == array.dtype
        assert saved[name].tobytes() == array.tobytes()
        assert saved[name].shape == array.shape
    up = saved["base_model.model.encoder.0.up.lora_B.weight"]
    assert up.shape == (40, 4)
    assert json.loads(Path("out/adapter_config.json").read_text())["modules_to_save"] == [
        "classifier"
    ]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_bytes_are_copied_by_blocks(size, monkeypatch):
    monkeypatch.setattr(tensors, "BLOCK_BYTES", size)
    data = np.random.default_rng(0).integers(0, 255, 23, np.uint8)
    save_file({"x": data, "none": np.zeros((0, 3), np.int16)}, "from")
    held = tensors.read_header(Path("from")).tensors
    layout = {name: (tensor.kind, tensor.shape) for name, tensor in held.items()}
    with tensors.Writer(Path("to"), layout) as writer:
        for name in writer.names:
            writer.copy(held[name])
    assert load_file("to")["x"].tobytes() == data.tobytes()
    with pytest.raises(RuntimeError, match="is due"), tensors.Writer(Path("t"), layout) as writer:
        writer.copy(held[writer.names[1]])


@pytest.mark.parametrize("use_rslora", [False, True])
def test_ranks_and_scales_by_layer(use_rslora):
    """PEFT's patterns are regular expressions for the ends of paths."""
    _, gradients = write_model(Path())
    run("initial", alpha=3.0, rank=2)
    patterns = {"alpha_pattern": {"0.query": 5.0, "encoder.1.*": 7.0, "1.up": 9.0}}
    trained_copy(use_rslora=use_rslora, lora_alpha=4.0, rank_pattern={"down": 2}, r=2, **patterns)
    lora.untouched_files("trained", "initial", "out")
    config = json.loads(Path("out/adapter_config.json").read_text())
    factor = 2.0**0.5 if use_rslora else 2.0
    assert config["rank_pattern"] == {"down": 4}
    assert config["alpha_pattern"] == {k: factor * v for k, v in patterns["alpha_pattern"].items()}
    saved = load_file("out/adapter_model.safetensors")
    start = load_file("initial/adapter_model.safetensors")
    for name in gradients:
        module = name.removesuffix(".weight")
        alpha = 5.0 if module == "encoder.0.query" else 7.0 if "encoder.1" in module else 4.0
        first = lora.convert(start, "post", module=module, alpha=3.0).delta.dense()
        s = alpha / (2**0.5 if use_rslora else 2)
        wide = lora.convert(saved, "post", module=module, alpha=4.0 * s)
        expected = first * (4.0 * s / 1.5 - 1.0)
        size = np.abs(first).max() * (4.0 * s / 1.5 + 1.0)
        assert np.abs(wide.delta.dense() - expected).max() <= ROUNDING * EPS32 * size


def test_halves_of_two_types_are_joined_in_single_precision():
    """Neither bfloat16 nor float16 holds the other's numbers."""
    write_model(Path())
    run("initial", dtype="float16")
    run("trained", dtype="bfloat16")
    lora.untouched_files("trained", "initial", "out")
    held = tensors.read_header(Path("out/adapter_model.safetensors")).tensors
    assert {tensor.kind for tensor in held.values()} == {"F32"}


@pytest.mark.parametrize(
    ("tensors", "config", "messages"),
    [
        ({"base_model.model.e.lora_embedding_A": np.ones((2, 9))}, {}, ["e.lora_embedding_A"]),
        ({"e.lora_magnitude_vector": np.ones(9)}, {}, ["layer e has e.lora_magnitude_vector"]),
        ({"encoder.0.up.lora_A.mine.weight": np.ones((2, 9))}, {}, ["up has lora_A twice"]),
        ({"e.lora_A.weight": np.ones((2, 9), np.int32)}, {}, ["e has e.lora_A.weight (I32)"]),
        ({"e.lora_A.weight": np.ones((2, 9))}, {}, ["layer e lacks lora_A or lora_B"]),
        (
            {"e.lora_A.weight": np.ones((2, 9, 1)), "e.lora_B.weight": np.ones((9, 2, 1))},
            {},
            ["layer e: lora_A must be (2, in)"],
        ),
        ({}, {"r": 3}, ["lora_A must be (3, in) and lora_B (out, 3)"]),
        ({}, {"rank_pattern": {"0.up": 3}}, ["0.up: lora_A must be (3, in)"]),
        ({}, {"r": 0}, ["not the settings"]),
        ({}, {"r": "2"}, ["not the settings"]),
        ({}, {"lora_alpha": 0}, ["not the settings"]),
        ({}, {"lora_alpha": float("inf")}, ["not the settings"]),
        ({}, {"lora_alpha": None}, ["not the settings"]),
        ({}, {"alpha_pattern": {"(": 3}}, ["not the settings"]),
        ({}, {"alpha_pattern": [3]}, ["not the settings"]),
    ],
)
def test_adapters_that_cannot_be_doubled(tensors, config, messages):
    write_model(Path())
    run("initial")
    trained_copy(tensors, **config)
    refused(lambda: lora.untouched_files("trained", "initial", "out"), "trained", *messages)
    assert not Path("out").exists()


def test_an_adapter_without_layers():
    write_model(Path())
    run("initial")
    trained_copy()
    save_file({"x": np.eye(2)}, "trained/adapter_model.safetensors")
    refused(lambda: lora.untouched_files("trained", "initial", "o"), "trained: there is no lora_A")


def test_adapters_that_do_not_fit():
    write_model(Path())
    run("initial")
    run("fewer", target="query")
    run("wider", rank=3)
    run("dora", method="dora")
    run("ada", method="adalora", total_steps=5)

    def call(trained, initial="initial"):
        return lambda: lora.untouched_files(trained, initial, "out")

    refused(call("none"), "none/adapter_config.json: No such file")
    refused(call("fewer"), "4 layers are in initial but not in fewer: encoder.0.down")
    refused(call("initial", "fewer"), "4 layers are in initial but not in fewer")
    refused(call("wider"), "lora_A is (3, 12) in wider and (2, 12)", error=rv.ShapeMismatch)
    refused(call("dora"), "dora: is DoRA; plain LoRA is needed")
    refused(call("ada"), "ada: is ADALORA")
    Path("fewer/adapter_config.json").write_text("[]")
    refused(call("fewer"), "fewer/adapter_config.json: not the settings of a LoRA adapter")
    Path("wider/adapter_model.safetensors").unlink()
    refused(call("wider"), "wider/adapter_model.safetensors: No such file")
    assert not Path("out").exists()


# ---- comparison ---------------------------------------------------------------------------------


def test_compare():
    weights, gradients = write_model(Path())
    found = lora.compare_files("W.safetensors", "G.safetensors", rank=2)
    assert list(found.cards) == list(lora.METHODS)
    for cards in found.cards.values():
        assert [card.layer for card in cards] == list(gradients)
    for k, name in enumerate(gradients):
        W, G = weights[name].T.copy(), gradients[name].T.copy()
        expected = lora.compare(["lora-ga", "pissa"], W, G, 2, seed=layer_seed(0, name))
        for label in ("lora-ga", "pissa"):
            card = found.cards[label][k]
            assert card.cosine == expected[label].cosine
            assert card.offset_ratio == expected[label].offset_ratio
    lines = str(found).splitlines()
    assert lines[0].split() == ["cosine", *lora.METHODS]
    assert lines[1].split()[0] == "encoder.0.query.weight"
    assert lines[7].split()[0] == "mean"
    assert lines[7].split()[2] == f"{found.mean['lora-ga']['cosine']:.4g}"
    assert found.table("excess").splitlines()[7].split()[2] == "1"
    refused(lambda: found.table("size"), "metric must be one of 'cosine'")
    assert "best mean cosine" in repr(found)
    assert found._repr_html_().count("<table>") == 2
    assert sorted(p.name for p in Path().iterdir()) == ["G.safetensors", "W.safetensors"]


def test_compare_variants_and_workers():
    write_model(Path())
    variants = {
        "small": {"method": "lora-ga", "rank": 1},
        "large": {"method": "lora-ga", "rank": 5},
    }
    one = lora.compare_files("W.safetensors", "G.safetensors", rank=2, methods=variants)
    two = lora.compare_files("W.safetensors", "G.safetensors", rank=2, methods=variants, workers=2)
    assert one.cards == two.cards
    assert one.mean["small"]["cosine"] < one.mean["large"]["cosine"]
    odd = lora.compare_files("W.safetensors", "G.safetensors", rank=3, target="query")
    assert "orthogonal" not in odd.cards

    def call(**options):
        return lambda: lora.compare_files(
            "W.safetensors", "G.safetensors", **{"rank": 2, **options}
        )

    refused(call(methods=["lora", "loro"]), "method must be one of", "'loro'")
    refused(call(methods=[]), "methods must name at least one")
    refused(call(methods={"a": {"rank": 2}}), "methods['a'] has no 'method'")
    refused(call(methods={"a": {"method": "lora", "rang": 2}}), "methods['a'] has options rang")
    refused(call(rank=7), "layer encoder.0.query.weight: rank")
