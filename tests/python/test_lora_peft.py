"""PEFT's names and orientation, and PEFT itself where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lora_files_support import write_file
from ssm_support import refused

import resolvent as rv
from resolvent import lora

RNG = np.random.default_rng(0)
W = RNG.standard_normal((7, 6))
G = RNG.standard_normal((7, 6))


def start(method: str, **options) -> lora.Adapter:
    return lora.initialize(method, weight=W, gradient=G, rank=2, alpha=3.0, **options)


# ---- conversion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["lora", "rslora"])
@pytest.mark.parametrize("method", lora.METHODS)
def test_there_and_back(method, scaling):
    adapter = start(method, scaling=scaling)
    saved = lora.convert(adapter, "peft", module="a.b")
    back = lora.convert(
        saved, "post", module="a.b", alpha=3.0, scaling=scaling, offset=adapter.offset
    )
    assert back.parameters.keys() == adapter.parameters.keys()
    for name, value in adapter.parameters.items():
        assert back.parameters[name].tobytes() == value.tobytes()
    assert all(array.flags.c_contiguous for array in saved.values())
    if method == "adalora":
        assert back.s == 3.0 / (2 + 1e-5)
    else:
        assert back.s == adapter.s
        np.testing.assert_array_equal(back.merged(W), adapter.merged(W))


def test_names_and_shapes():
    prefix = "base_model.model.a.b."
    shapes = {k: v.shape for k, v in lora.convert(start("lora"), "peft", module="a.b").items()}
    assert shapes == {f"{prefix}lora_A.weight": (2, 7), f"{prefix}lora_B.weight": (6, 2)}
    shapes = {k: v.shape for k, v in lora.convert(start("dora"), "peft", module="a.b").items()}
    assert shapes[f"{prefix}lora_magnitude_vector"] == (6,)
    assert f"{prefix}lora_A.weight" in shapes
    shapes = {k: v.shape for k, v in lora.convert(start("adalora"), "peft", module="a.b").items()}
    assert shapes == {
        f"{prefix}lora_A": (2, 7),
        f"{prefix}lora_B": (6, 2),
        f"{prefix}lora_E": (2, 1),
    }


@pytest.mark.parametrize(
    "form",
    [
        "base_model.model.a.lora_{}.weight",
        "a.lora_{}.weight",
        "base_model.model.a.lora_{}.default.weight",
        "base_model.model.a.lora_{}.mine.weight",
        "a.lora_{}.default",
        "a.lora_{}",
    ],
)
def test_names_of_files_and_of_models(form):
    adapter = start("lora-ga")
    saved = {form.format("A"): adapter.A.T, form.format("B"): adapter.B.T}
    back = lora.convert(saved | {"classifier.weight": W}, "post", alpha=3.0)
    np.testing.assert_array_equal(back.delta.dense(), adapter.delta.dense())


def test_the_model_computes_the_same_in_both_orientations():
    """y = x W here, x Wᵀᵀ in PyTorch."""
    x = RNG.standard_normal((3, 7))
    adapter = start("pissa")
    saved = lora.convert(adapter, "peft")
    weight = lora.convert(adapter.frozen(W), "peft")
    A, B = saved["base_model.model.lora_A.weight"], saved["base_model.model.lora_B.weight"]
    torch_like = x @ weight.T + adapter.s * (x @ A.T) @ B.T
    ours = x @ adapter.merged(W)
    bound = 16 * np.finfo(float).eps * np.abs(x).sum(axis=1).max() * np.abs(W).max() * 7
    assert np.abs(torch_like - ours).max() <= bound


def test_a_matrix_is_transposed():
    for to in ("peft", "post"):
        turned = lora.convert(W, to)
        np.testing.assert_array_equal(turned, W.T)
        assert not np.shares_memory(turned, W)
    single = lora.convert(np.ones((2, 3), np.float32), "peft")
    assert single.dtype == np.float32


def test_what_cannot_be_converted():
    adapter = start("lora")
    saved = lora.convert(adapter, "peft", module="a") | lora.convert(adapter, "peft", module="b")
    refused(lambda: lora.convert(W, "torch"), "to must be one of 'peft', 'post'; got 'torch'")
    refused(lambda: lora.convert(adapter, "post"), "to must be 'peft' for an Adapter")
    refused(lambda: lora.convert(saved, "peft"), "to must be 'post' for a mapping")
    refused(lambda: lora.convert(saved, "post"), "module must name a layer, got ''", "'a', 'b'")
    refused(lambda: lora.convert(saved, "post", module="c"), "got 'c'", "'a', 'b'")
    refused(lambda: lora.convert({}, "post"), "there is no adapter in value")
    refused(lambda: lora.convert(saved, "post", module="a", scaling="x"), "scaling must be one of")
    refused(lambda: lora.convert(saved, "post", module="a", alpha=0.0), "alpha must be positive")
    refused(lambda: lora.convert(W[0], "post"), "got shape (6,)", error=rv.ShapeMismatch)
    a = {k: v for k, v in saved.items() if ".a." in k}
    key = "base_model.model.a.lora_{}"
    refused(lambda: lora.convert({key.format("A"): W}, "post"), "layer 'a' lacks lora_A or lora_B")
    for part, wrong in (("A.weight", W[0]), ("A.weight", W), ("E", W), ("magnitude_vector", W[0])):
        broken = a | {key.format(part): wrong[:5]}
        refused(
            lambda broken=broken: lora.convert(broken, "post"),
            "layer 'a': lora_",
            error=rv.ShapeMismatch,
        )


# ---- PEFT itself --------------------------------------------------------------------------------


@pytest.fixture
def peft():
    pytest.importorskip("torch")
    return pytest.importorskip("peft")


def torch_model(conv1d: bool = False):
    """Two layers and a nonlinearity, with modules below modules."""
    import torch

    class Transposed(torch.nn.Module):
        """GPT-2's layer: the weight is in×out."""

        def __init__(self, n: int, m: int) -> None:
            from transformers.pytorch_utils import Conv1D

            super().__init__()
            self.layer = Conv1D(m, n)
            torch.nn.init.normal_(self.layer.weight)

        def forward(self, x):
            return self.layer(x)

    torch.manual_seed(0)
    linear = Transposed if conv1d else torch.nn.Linear
    block = torch.nn.Sequential(linear(12, 20), torch.nn.Tanh())
    return torch.nn.Sequential(block, linear(20, 9)).eval()


def write_torch_model(folder: Path, net) -> None:
    rng = np.random.default_rng(3)
    weights = {k: v.detach().numpy().copy() for k, v in net.named_parameters()}
    write_file(folder / "W.safetensors", weights)
    matrices = {k: v for k, v in weights.items() if v.ndim == 2}
    gradients = {k: rng.standard_normal(v.shape).astype(np.float32) for k, v in matrices.items()}
    write_file(folder / "G.safetensors", gradients)


#: Of float32 sums of this size, in units of eps times the size of the outputs.
OUTPUTS = 64.0


def assert_same_outputs(ours, expected) -> None:
    ours, expected = ours.detach().numpy(), expected.detach().numpy()
    eps = float(np.finfo(np.float32).eps)
    assert np.abs(ours - expected).max() <= OUTPUTS * eps * np.abs(expected).max()


def add_offset(net, file: Path) -> None:
    import torch
    from safetensors.numpy import load_file

    weights = dict(net.named_parameters())
    with torch.no_grad():
        for name, offset in load_file(str(file)).items():
            weights[name] += torch.from_numpy(offset)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("conv1d", [False, True], ids=["linear", "conv1d"])
@pytest.mark.parametrize("scaling", ["lora", "rslora"])
@pytest.mark.parametrize("method", lora.METHODS)
def test_peft_loads_what_is_written(peft, method, scaling, conv1d, tmp_path):
    """Fresh, after a change of the adapter on the moved base, and that on the untouched one."""
    import torch

    write_torch_model(tmp_path, torch_model(conv1d))
    lora.initialize_files(
        tmp_path / "W.safetensors",
        tmp_path / "G.safetensors",
        tmp_path / "adapter",
        rank=4,
        alpha=6.0,
        method=method,
        scaling=scaling,
        orientation="post" if conv1d else "torch",
        total_steps=10,
    )
    x = torch.randn(5, 12)
    with torch.no_grad():
        expected = torch_model(conv1d)(x)
    base = torch_model(conv1d)
    moved = (tmp_path / "adapter" / "offset.safetensors").exists()
    if moved:
        add_offset(base, tmp_path / "adapter" / "offset.safetensors")
        fresh = peft.PeftModel.from_pretrained(
            torch_model(conv1d), str(tmp_path / "adapter" / "untouched")
        )
        assert_same_outputs(fresh(x), expected)
    net = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter"), is_trainable=True)
    assert_same_outputs(net.eval()(x), expected)
    held = {n: p.detach().numpy() for n, p in net.named_parameters() if "lora_" in n}
    file = lora_file(tmp_path / "adapter")
    assert len(held) == len(file)
    for name, value in held.items():
        key = name.replace(".default", "")
        key = key if key in file else key.removesuffix(".weight")
        assert value.tobytes() == file[key].tobytes()
    if not moved:
        return
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "lora_" in name:
                value += 0.1 * torch.randn_like(value)
    trained = net(x)
    net.save_pretrained(str(tmp_path / "trained"))
    lora.untouched_files(tmp_path / "trained", tmp_path / "adapter", tmp_path / "wide")
    wide = peft.PeftModel.from_pretrained(torch_model(conv1d), str(tmp_path / "wide"))
    assert float((trained - expected).abs().max()) > 1e-3
    assert_same_outputs(wide(x), trained)


def lora_file(folder: Path) -> dict:
    from safetensors.numpy import load_file

    return load_file(str(folder / "adapter_model.safetensors"))
