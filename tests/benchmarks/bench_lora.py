"""Low-rank approximations, adapters and gradients against torch, scikit-learn, SciPy and NumPy.

An approximation is judged by its residual over the best one's, ‖M − M̂‖_F/√(Σ_{i>r} σ_i²), and ours
has to be as near as that of the peer it is measured against. More exact peers are shown beside it.

torch and scikit-learn are optional, and named in the report where they are missing; bench_ssm.py
says how to provide torch. Next to a torch that asks for NumPy < 2, install scikit-learn without its
dependencies, of which it needs joblib, cloudpickle and threadpoolctl.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from harness import Case, Missing, Run, peak_extra_bytes
from scipy.sparse.linalg import svds

import resolvent as rv
from resolvent import _core

try:
    import torch
except ImportError:
    torch = None
try:
    from sklearn.utils.extmath import randomized_svd
except ImportError:
    randomized_svd = None

_EPS = float(np.finfo(np.float32).eps)
#: What rounding the factors to float32 may add to an approximation's error, relative to it.
_ROUNDING = 4 * _EPS
#: The least share of the rate of BLAS's square product, where nearly all the work is products.
_SHARE = 0.7
#: How much more than in proportion to the matrix the time may grow: larger ones leave the caches.
_LINEAR = 1.5
#: How much more memory all layers may take than one.
_ONE_LAYER = 1.1
#: LoRA-GA's division of its scale, the paper's.
_GAMMA = 16.0
#: Directions of a matrix that is like a gradient, and its noise's share of the largest.
_DIRECTIONS, _NOISE = 64, 0.05


def cases(quick: bool) -> Iterator[Case | Missing]:
    """Approximations, those at 2048² with goals; one layer's adapters; gradients; many layers."""
    yield from _missing()
    goals = not quick
    n, rank = (256, 8) if quick else (2048, 32)
    for index, (name, M) in enumerate(_matrices(n)):
        yield _low_rank(name, Approximation(M, rank), goals, full=index == 0)
    yield from _large(((128, 128), (128, 344)) if quick else ((2048, 2048), (4096, 11_008)), goals)
    layer = Layer(128 if quick else 1024, 4 if quick else 8)
    yield _lora_ga(layer)
    yield _pissa(layer)
    yield _olora(layer)
    yield _alignment(layer)
    yield from _training(quick)
    yield from _files(layer, 4 if quick else 100, goals)


def _missing() -> Iterator[Missing]:
    if torch is None:
        yield Missing("torch", "not installed")
    if randomized_svd is None:
        yield Missing("scikit-learn", "not installed")


def _torch_run(name: str, call: Callable[[], Any], threads: int = 2, **options: Any) -> list[Run]:
    """A run on threads that the harness sets in torch's pools; none without torch."""
    return [] if torch is None else [Run(name, call, threads, **options)]


# ---- matrices -----------------------------------------------------------------------------------


def _matrices(n: int) -> Iterator[tuple[str, Any]]:
    """Square float32 matrices: no structure, three spectra that fall, and one like a gradient."""
    yield "Gaussian", np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    for power in (0.25, 0.5, 1.0):
        yield f"σ_i = i^−{power:g}", power_law(n, power)
    yield "like a gradient", like_gradient(n, n)


def power_law(n: int, power: float) -> Any:
    """Random singular vectors, σ_i = i^−power."""
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((n, n), dtype=np.float32))[0] for _ in range(2))
    sigma = np.arange(1, n + 1, dtype=np.float32) ** np.float32(-power)
    return (U * sigma) @ V.T


def like_gradient(n: int, m: int, seed: int = 2) -> Any:
    """Some directions, the i-th of size 1/i, in noise whose norm is a share of the first."""
    rng = np.random.default_rng(seed)
    normal = partial(rng.standard_normal, dtype=np.float32)
    count = min(_DIRECTIONS, n, m)
    left, right = normal((n, count)) / math.sqrt(n), normal((count, m)) / math.sqrt(m)
    # The norm of a Gaussian matrix is nearly √n + √m.
    M = normal((n, m)) * (_NOISE / (math.sqrt(n) + math.sqrt(m)))
    M += (left / np.arange(1, count + 1, dtype=np.float32)) @ right
    return M


def optimum(M: Any, rank: int) -> float:
    """√(Σ_{i>rank} σ_i²), from the eigenvalues of the smaller Gram matrix in float64."""
    wide = (M if M.shape[0] <= M.shape[1] else M.T).astype(np.float64)
    n = len(wide)
    tail = scipy.linalg.eigvalsh(wide @ wide.T, subset_by_index=(0, n - rank - 1))
    return float(np.sqrt(np.sum(np.maximum(tail, 0))))


def distance(M: Any, left: Any, right: Any) -> float:
    """‖M − left · right‖_F in float64, some rows at a time."""
    right = np.asarray(right, dtype=np.float64)
    rows = (M[i : i + 512] - left[i : i + 512].astype(np.float64) @ right for i in _starts(M))
    return float(np.sqrt(sum(np.sum(difference**2) for difference in rows)))


def _starts(M: Any) -> range:
    return range(0, len(M), 512)


# ---- low-rank approximation ---------------------------------------------------------------------


@dataclass(frozen=True)
class Approximation:
    """A matrix, and how near to the best approximation of that rank another one is."""

    M: Any
    rank: int

    @property
    def size(self) -> str:
        n, m = self.M.shape
        return f"{n:,} × {m:,}, rank {self.rank}, float32"

    @cached_property
    def optimum(self) -> float:
        return optimum(self.M, self.rank)

    def excess(self, factors: tuple[Any, Any, Any]) -> float:
        """The residual of U Σ Vᵀ over the optimum, of the leading triplets where there are more."""
        U, sigma, Vh = (np.asarray(factor) for factor in factors)
        k = self.rank
        return distance(self.M, U[:, :k] * sigma[:k], Vh[:k]) / self.optimum

    def ours(self, **options: Any) -> Callable[[], Any]:
        return lambda: tuple(rv.lora.low_rank(self.M, self.rank, **options))

    def multiply_adds(self) -> float:
        """Of the products with M and Mᵀ alone."""
        return float(self.M.size * rv.lora.low_rank(self.M, self.rank).products)

    def torch(self, q: int, **options: Any) -> list[Run]:
        """Halko, Martinsson and Tropp's algorithm with q vectors and four power iterations."""
        call = lambda: svd_lowrank_torch(self.M, q)  # noqa: E731
        return _torch_run(f"torch.svd_lowrank, q = {q}, niter = 4", call, **options)


def svd_lowrank_torch(M: Any, q: int) -> tuple[Any, Any, Any]:
    U, sigma, V = torch.svd_lowrank(torch.from_numpy(M), q=q, niter=4)
    return U.numpy(), sigma.numpy(), V.numpy().T


def _low_rank(name: str, task: Approximation, goals: bool, full: bool) -> Case:
    """Against torch with a goal; the full decomposition, whose time is always the same, once."""
    M, rank = task.M, task.rank
    more_exact = {"threads": 2, "comparable": False}
    runs = [
        Run("resolvent", task.ours(), threads=2),
        Run("resolvent", task.ours(), threads=1),
        *task.torch(rank, at_least=4 if goals else None),
        # Its factorisations gain little from a second thread, or lose.
        *task.torch(rank, threads=1),
        Run("resolvent, subspace", task.ours(method="subspace"), **more_exact),
        *task.torch(2 * rank, comparable=False),
    ]
    if randomized_svd is not None:
        call = lambda: randomized_svd(M, rank, random_state=0)  # noqa: E731
        runs.append(Run("scikit-learn randomized_svd", call, **more_exact))
    start = np.random.default_rng(3).standard_normal(len(M), dtype=np.float32)
    runs.append(Run("SciPy svds (ARPACK)", lambda: svds_scipy(M, rank, start), **more_exact))
    if full:
        call = lambda: np.linalg.svd(M, full_matrices=False)  # noqa: E731
        runs.append(Run("NumPy svd", call, **more_exact, at_least=60 if goals else None))
    return Case(
        f"Low-rank approximation, {name}",
        size=task.size,
        runs=runs,
        multiply_adds=task.multiply_adds(),
        dtype="float32",
        tolerance=_ROUNDING,
        error=task.excess,
        error_name="residual over the optimum",
    )


def svds_scipy(M: Any, rank: int, start: Any) -> tuple[Any, Any, Any]:
    """The triplets, which come the smallest first."""
    U, sigma, Vh = svds(M, rank, v0=start)
    return U[:, ::-1], sigma[::-1], Vh[::-1]


def _large(shapes: tuple[tuple[int, int], tuple[int, int]], goals: bool) -> Iterator[Case]:
    """A matrix so large that there is little beside the products; and the time against the size."""
    tasks = [Approximation(like_gradient(*shape), 16) for shape in shapes]
    small, large = tasks
    yield Case(
        "Low-rank approximation of a large matrix, like a gradient",
        size=large.size,
        runs=[
            Run("resolvent", large.ours(), threads=2),
            Run("resolvent", large.ours(), threads=1),
            *large.torch(large.rank),
            *large.torch(large.rank, threads=1),
            *large.torch(2 * large.rank, comparable=False),
        ],
        multiply_adds=large.multiply_adds(),
        dtype="float32",
        share=_SHARE if goals else None,
        tolerance=_ROUNDING,
        error=large.excess,
        error_name="residual over the optimum",
    )
    tasks.append(Approximation(np.ascontiguousarray(large.M.T), large.rank))
    yield Case(
        "Low-rank approximation against the size",
        size=f"rank {small.rank}, like a gradient, float32",
        runs=[
            Run(
                "{:,} × {:,}".format(*task.M.shape),
                task.ours(),
                threads=2,
                comparable=False,
                count=task.M.size,
                at_most=_LINEAR * task.M.size / small.M.size if goals else None,
            )
            for task in tasks
        ],
        unit="entries",
        versus="the first",
    )


# ---- adapters -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """The square weight and gradient of one layer, and the rank of its adapter."""

    n: int
    rank: int

    @property
    def size(self) -> str:
        return f"{self.n:,} × {self.n:,}, rank {self.rank}, float32"

    @cached_property
    def gradient(self) -> Any:
        return like_gradient(self.n, self.n)

    @cached_property
    def weight(self) -> Any:
        return power_law(self.n, 0.5)

    @cached_property
    def optimum(self) -> float:
        """Of an update whose rank is twice the adapter's."""
        return optimum(self.gradient, 2 * self.rank)

    def misfit(self, factors: tuple[Any, Any]) -> float:
        """min_c ‖c(A Aᵀ G + G Bᵀ B) − G‖_F over the optimum."""
        A, B = (np.asarray(factor, dtype=np.float64) for factor in factors)
        G = self.gradient.astype(np.float64)
        D = A @ (A.T @ G) + (G @ B.T) @ B
        return float(np.linalg.norm(np.vdot(D, G) / np.vdot(D, D) * D - G)) / self.optimum


def _factors(adapter: rv.lora.Adapter) -> tuple[Any, Any]:
    return adapter.A, adapter.B


def _lora_ga(layer: Layer) -> Case:
    G, rank = layer.gradient, layer.rank
    ours = partial(rv.lora.initialize, "lora-ga", gradient=G, rank=rank)
    return Case(
        "LoRA-GA initialisation",
        size=layer.size,
        runs=[
            Run("resolvent", lambda: _factors(ours()), threads=2),
            *_torch_run(
                f"torch, svd_lowrank, q = {4 * rank}, niter = 4", lambda: lora_ga_torch(G, rank)
            ),
            *_torch_run(
                "torch, full SVD", lambda: lora_ga_torch(G, rank, full=True), comparable=False
            ),
        ],
        tolerance=_ROUNDING,
        error=layer.misfit,
        error_name="misfit of the first update over the optimum",
    )


def lora_ga_torch(G: Any, rank: int, full: bool = False) -> tuple[Any, Any]:
    """The first r left and the second r right singular vectors, times m^¼/√γ (Wang et al. 2024).

    The paper's code takes them from four times the rank's random vectors.
    """
    gradient = torch.from_numpy(G)
    if full:
        U, _, Vh = torch.linalg.svd(gradient, full_matrices=False)
    else:
        U, _, V = torch.svd_lowrank(gradient, q=min(4 * rank, *G.shape), niter=4)
        Vh = V.T
    scale = math.sqrt(math.sqrt(G.shape[1]) / _GAMMA)
    return (scale * U[:, :rank]).numpy(), (scale * Vh[rank : 2 * rank]).numpy()


def _pissa(layer: Layer) -> Case:
    W, rank = layer.weight, layer.rank
    best = optimum(W, rank)
    return Case(
        "PiSSA initialisation",
        size=layer.size,
        runs=[
            Run(
                "resolvent",
                lambda: _factors(rv.lora.initialize("pissa", weight=W, rank=rank)),
                threads=2,
            ),
            *_torch_run("torch, svd_lowrank, niter = 4", lambda: pissa_torch(W, rank)),
            *_torch_run(
                "torch, full SVD", lambda: pissa_torch(W, rank, full=True), comparable=False
            ),
        ],
        tolerance=_ROUNDING,
        error=lambda factors: distance(W, *factors) / best,
        error_name="residual over the optimum",
    )


def pissa_torch(W: Any, rank: int, full: bool = False) -> tuple[Any, Any]:
    """U √Σ and √Σ Vᵀ of the leading triplets (Meng et al. 2024)."""
    weight = torch.from_numpy(W)
    if full:
        U, sigma, Vh = torch.linalg.svd(weight, full_matrices=False)
    else:
        U, sigma, V = torch.svd_lowrank(weight, q=rank, niter=4)
        Vh = V.T
    root = sigma[:rank].sqrt()
    return (U[:, :rank] * root).numpy(), (root[:, None] * Vh[:rank]).numpy()


def _olora(layer: Layer) -> Case:
    W, rank = layer.weight, layer.rank
    ours = partial(rv.lora.initialize, "olora", weight=W, rank=rank)
    # The rank's leading columns of Wᵀ decide Q, and their condition number how well.
    condition = float(np.linalg.cond(W[:rank].astype(np.float64)))
    return Case(
        "OLoRA initialisation",
        size=layer.size,
        runs=[
            Run("resolvent", lambda: _stacked(*_factors(ours())), threads=2),
            *_torch_run("torch, QR of the weight", lambda: _stacked(*olora_torch(W, rank))),
        ],
        tolerance=condition * layer.n**0.5 * _EPS,
    )


def _stacked(A: Any, B: Any) -> Any:
    return np.concatenate((A.ravel(), B.ravel()))


def olora_torch(W: Any, rank: int) -> tuple[Any, Any]:
    """Wᵀ = Q R; A = R's first rows, B = Q's first columns, transposed (Büyükakyüz 2024).

    Signs are chosen so that R has no negative diagonal.
    """
    Q, R = torch.linalg.qr(torch.from_numpy(W).T)
    signs = torch.sign(torch.diagonal(R))[:rank]
    return (R[:rank].T * signs).numpy(), (Q[:, :rank] * signs).T.numpy()


# ---- report card --------------------------------------------------------------------------------


def _alignment(layer: Layer) -> Case:
    G = layer.gradient
    adapter = rv.lora.initialize("lora-ga", gradient=G, rank=layer.rank)
    A, B = adapter.A.copy(), adapter.B.copy()  # torch asks for arrays that may be written to
    return Case(
        "Alignment with the full gradient",
        size=layer.size,
        runs=[
            Run("resolvent", lambda: _card(rv.lora.alignment(G, adapter)), threads=2),
            *_torch_run("torch, full SVD", lambda: alignment_torch(G, A, B, adapter.s)),
        ],
        # Sums over n² entries and n singular values of float32.
        tolerance=layer.n * _EPS,
    )


def _card(card: rv.lora.Alignment) -> Any:
    return np.array([card.cosine, card.captured, card.residual, card.optimum, card.excess])


def alignment_torch(G: Any, A: Any, B: Any, s: float) -> Any:
    """Cosine, captured energy, residual, optimum and their ratio, all from their definitions."""
    G, A, B = (torch.from_numpy(array) for array in (G, A, B))
    D = s * s * (A @ (A.T @ G) + (G @ B.T) @ B)
    norm, sigma = torch.linalg.norm(G), torch.linalg.svdvals(G)
    P, Q = torch.linalg.qr(A)[0], torch.linalg.qr(B.T)[0]
    left = G - P @ (P.T @ G)
    missed = left - (left @ Q) @ Q.T
    cosine = (D * G).sum() / (torch.linalg.norm(D) * norm)
    residual = torch.linalg.norm((D * G).sum() / (D * D).sum() * D - G) / norm
    best = torch.linalg.norm(sigma[2 * A.shape[1] :]) / norm
    captured = 1 - (torch.linalg.norm(missed) / norm) ** 2
    return np.array([float(x) for x in (cosine, captured, residual, best, residual / best)])


# ---- gradients of the training tasks ------------------------------------------------------------


def _training(quick: bool) -> Iterator[Case]:
    """On one batch of the digits' size, and on one that is large."""
    digits, large = ((898, 64, 64, 10), "float64"), ((4096, 784, 1024, 10), "float32")
    for (rows, inputs, hidden, classes), dtype in (digits,) if quick else (digits, large):
        task = Batch(rows, (inputs, classes), dtype)
        call = _core.lora.softmax_regression
        yield _gradient_case("Softmax regression, loss and gradient", task, call)
        task = Batch(rows, (inputs, hidden, classes), dtype)
        call = partial(_core.lora.perceptron, activation="relu")
        yield _gradient_case("Two-layer perceptron, loss and gradient", task, call)


@dataclass(frozen=True)
class Batch:
    """Inputs, labels, and the weights and biases of layers of these widths."""

    rows: int
    widths: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> str:
        return f"{self.rows:,} rows, {' → '.join(map(str, self.widths))}, {self.dtype}"

    @cached_property
    def x(self) -> Any:
        x = np.random.default_rng(4).standard_normal((self.rows, self.widths[0]))
        return x.astype(self.dtype)

    @cached_property
    def labels(self) -> Any:
        return np.random.default_rng(5).integers(self.widths[-1], size=self.rows)

    @cached_property
    def parameters(self) -> list[Any]:
        """W, b of each layer in turn."""
        rng = np.random.default_rng(6)
        shapes = [shape for n, m in itertools.pairwise(self.widths) for shape in ((n, m), (m,))]
        scales = [n**-0.5 for n in self.widths[:-1] for _ in range(2)]
        return [
            (scale * rng.standard_normal(shape)).astype(self.dtype)
            for shape, scale in zip(shapes, scales, strict=True)
        ]

    @property
    def multiply_adds(self) -> float:
        """Forward, and by the weights, at every layer; by the inputs at all but the first."""
        products = [n * m for n, m in itertools.pairwise(self.widths)]
        return float(self.rows * (3 * sum(products) - products[0]))

    def torch(self) -> Any:
        """Loss and gradients by torch's automatic differentiation."""
        x, labels = torch.from_numpy(self.x), torch.from_numpy(self.labels)
        leaves = [torch.from_numpy(array).requires_grad_() for array in self.parameters]
        layers = [(leaves[i], leaves[i + 1]) for i in range(0, len(leaves), 2)]
        for W, b in layers[:-1]:
            x = torch.relu(torch.addmm(b, x, W))
        W, b = layers[-1]
        loss = torch.nn.functional.cross_entropy(torch.addmm(b, x, W), labels)
        gradients = torch.autograd.grad(loss, leaves)
        return _flat(loss.item(), [gradient.numpy() for gradient in gradients])


def _gradient_case(title: str, task: Batch, call: Callable[..., Any]) -> Case:
    def ours() -> Any:
        loss, _, *gradients = call(task.x, task.labels, *task.parameters)
        return _flat(loss, gradients)

    eps = float(np.finfo(task.dtype).eps)
    return Case(
        title,
        size=task.size,
        runs=[Run("resolvent", ours, threads=2), *_torch_run("torch autograd", task.torch)],
        count=task.rows,
        unit="rows",
        multiply_adds=task.multiply_adds,
        dtype=task.dtype,
        # Sums over rows and over each layer's inputs, relative to the loss, the largest entry.
        tolerance=4 * eps * (task.rows + sum(task.widths)) ** 0.5,
    )


def _flat(loss: float, gradients: list[Any]) -> Any:
    return np.concatenate([np.array([loss]), *(gradient.ravel() for gradient in gradients)])


# ---- many layers, from files --------------------------------------------------------------------


def _files(layer: Layer, count: int, goals: bool) -> Iterator[Case]:
    """All layers of a model, one after the other, in the memory of one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = Model(folder / "one", layer, 1)
        model = Model(folder / "all", layer, count)
        alone.initialize()  # starts what is kept from call to call
        one = peak_extra_bytes(alone.initialize)
        both = layer.weight.nbytes + layer.gradient.nbytes
        limit = None if one is None or not goals else _ONE_LAYER * one / 2**20
        yield Case(
            f"LoRA-GA initialisation of {count} layers, from files to files",
            size=f"{layer.size}; {both / 2**20:.3g} MiB are a layer's weight and gradient",
            runs=[
                Run("resolvent, with report cards", model.initialize, threads=2),
                *_torch_run(
                    f"torch, svd_lowrank, q = {4 * layer.rank}, niter = 4", model.initialize_torch
                ),
            ],
            count=count,
            unit="layers",
            memory=limit,
            tolerance=_ROUNDING,
            error=model.misfit,
            error_name="misfit of the last layer's first update over the optimum",
        )


class Model:
    """Weights and gradients of equal layers in two files, and adapters made of them."""

    def __init__(self, folder: Path, layer: Layer, count: int) -> None:
        folder.mkdir()
        self.folder, self.layer, self.count = folder, layer, count
        self.weights, self.gradients = folder / "W.safetensors", folder / "G.safetensors"
        self._calls = itertools.count()
        self._write(self.weights, layer.weight)
        self._write(self.gradients, layer.gradient)

    def _write(self, path: Path, last: Any) -> None:
        """The matrix, its outputs turned by one from layer to layer, as outputs × inputs."""
        turns = range(self.count - 1, -1, -1)
        layers = {self._name(i): np.roll(last.T, turn, axis=0) for i, turn in enumerate(turns)}
        write_tensors(path, layers)

    def _name(self, index: int) -> str:
        return f"layers.{index}.proj.weight"

    def _new_folder(self) -> Path:
        return self.folder / f"adapter-{next(self._calls)}"

    def initialize(self) -> Path:
        """The folder of the adapter."""
        out = self._new_folder()
        rv.lora.initialize_files(
            self.weights, self.gradients, out, method="lora-ga", rank=self.layer.rank
        )
        return out

    def initialize_torch(self) -> Path:
        """The same, of the two factors of each layer and nothing else."""
        out = self._new_folder()
        out.mkdir()
        adapter, n, rank = {}, self.layer.n, self.layer.rank
        for name, offset in tensor_offsets(self.gradients).items():
            A, B = lora_ga_torch(read_tensor(self.gradients, offset, (n, n)).T, rank)
            for factor, array in (("A", A), ("B", B)):
                adapter[_adapter_name(name, factor)] = np.ascontiguousarray(array.T)
        write_tensors(out / "adapter_model.safetensors", adapter)
        return out

    def misfit(self, out: Path) -> float:
        """Of the last layer's adapter, read from its file."""
        path = out / "adapter_model.safetensors"
        name, n, rank = self._name(self.count - 1), self.layer.n, self.layer.rank
        offsets = tensor_offsets(path)
        A = read_tensor(path, offsets[_adapter_name(name, "A")], (rank, n))
        B = read_tensor(path, offsets[_adapter_name(name, "B")], (n, rank))
        return self.layer.misfit((A.T, B.T))


def _adapter_name(name: str, factor: str) -> str:
    """What PEFT calls a factor of the layer whose weight has this name."""
    return f"base_model.model.{name.removesuffix('.weight')}.lora_{factor}.weight"


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """A safetensors file of float32 arrays: the header's length, the header, the data."""
    header, end = {}, 0
    for name, array in tensors.items():
        span = [end, end + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": span}
        end += array.nbytes
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array))


def tensor_offsets(path: Path) -> dict[str, int]:
    """Where in the file each tensor begins."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: 8 + length + entry["data_offsets"][0]
        for name, entry in header.items()
        if name != "__metadata__"
    }


def read_tensor(path: Path, offset: int, shape: tuple[int, int]) -> Any:
    return np.fromfile(path, np.float32, math.prod(shape), offset=offset).reshape(shape)
