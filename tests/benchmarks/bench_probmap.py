"""Probability maps, their derivatives and losses against torch, the entmax package and SciPy.

The arrays are float32 and stay in memory from call to call: `out` is given, as in a loop that
reuses its buffers. What a new array costs on top is the operating system's, and shown for softmax,
where it is most of the time.

torch and entmax are optional, and named in the report where they are missing; bench_ssm.py says how
to provide torch, and entmax comes from the package index. With a torch from elsewhere, install it
without its dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.integrate
import scipy.special
from harness import Case, Missing, Run

import resolvent as rv

try:
    import torch
except ImportError:
    torch = None
try:
    import entmax
except ImportError:
    entmax = None

#: What a call may take beyond its result, in MiB: the first one starts threads. Arrays of the large
#: shapes have 16 and more.
_MEMORY = 8.0
#: Rows × entries: the shape that the goals are for, two that the entmax package times, small rows.
_SHAPES = ((2048, 4096), (15_360, 30), (128, 32_000), (2_000_000, 10))
_QUICK_SHAPES = ((64, 512), (480, 30), (4, 8_000), (10_000, 10))
#: The package's fast variants sort this many of the largest entries first.
_TOP = 100
#: Exponents of entmax that have no closed form.
_ALPHAS = (1.25, 1.75)
_EPS = float(np.finfo(np.float32).eps)
#: What perturbed maxima promise, absolute; relative to the largest entry that is stricter.
_PERTURBED = 1e-10
#: How much more than in proportion to n a cost that is linear may grow: the number of nodes grows
#: a little with n, as the largest of more noises varies less.
_LINEAR = 1.5
#: The part of our time that reading the arguments and writing a result has to take.
_TRAFFIC = 1 / 1.5
#: For what NumPy does on one thread only.
_POOL = ThreadPoolExecutor(2)


def cases(quick: bool) -> Iterator[Case | Missing]:
    """Maps, the first shape with goals; their derivatives and losses; perturbed maxima."""
    yield from _missing()
    first, *others = [Task(*shape) for shape in (_QUICK_SHAPES if quick else _SHAPES)]
    goals = not quick
    for task in (first, *others):
        yield _softmax(task, goals and task is first)
        yield from _sparse(task, goals and task is first)
    yield from _bisected(first)
    yield from _other_maps(first)
    yield from _logarithms(first)
    yield from _derivatives(first, goals)
    yield _by_alpha(first)
    yield from _losses(first)
    yield _threshold(first)
    yield from _perturbed(8 if quick else 64, 20 if quick else 100)
    yield _student_t(6 if quick else 20)
    yield from _perturbed_growth((100, 1000) if quick else (100, 1000, 10_000), goals)


def _missing() -> Iterator[Missing]:
    if torch is None:
        yield Missing("torch", "not installed")
    if entmax is None:
        yield Missing("entmax", "not installed")


@dataclass(frozen=True)
class Task:
    """Standard normal logits, what flows back to the probabilities, and labels."""

    rows: int
    entries: int

    @property
    def size(self) -> str:
        return f"{self.rows:,} × {self.entries:,}, float32, two threads"

    @property
    def tolerance(self) -> float:
        """4 eps √n relative to the largest entry: both add up n numbers of float32.

        A rounding for each term, all independent, makes some √n eps; 4 is room for the rest.
        """
        return 4 * _EPS * self.entries**0.5

    @cached_property
    def x(self) -> Any:
        return self._normal(0)

    @cached_property
    def g(self) -> Any:
        return self._normal(1)

    @cached_property
    def double(self) -> tuple[Any, Any]:
        """The logits in float64, and an array for a result."""
        return self.x.astype(np.float64), np.empty(self.x.shape)

    @cached_property
    def target(self) -> Any:
        return np.random.default_rng(2).integers(self.entries, size=self.rows)

    def _normal(self, seed: int) -> Any:
        shape = self.rows, self.entries
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True)
class Peer:
    """A function of a torch tensor that computes one of our maps along the last axis."""

    name: str
    call: Callable[[Any], Any]
    #: How many times faster ours is to be at the first shape.
    at_least: float | None = None

    def forward(self, x: Any, goals: bool) -> Run:
        """On two threads, which the harness sets in torch's OpenMP pool."""
        tensor = torch.from_numpy(x)
        goal = self.at_least if goals else None
        return Run(self.name, lambda: self.call(tensor).numpy(), threads=2, at_least=goal)

    def backward(self, x: Any, g: Any) -> Run:
        """The gradient by the logits; what precedes it is not in the time."""
        return _gradient_run(f"{self.name}, backward", self.call, x, g)


def _gradient_run(name: str, call: Callable[[Any], Any], x: Any, g: Any) -> Run:
    """torch's gradient of ⟨g, call(x)⟩ by x, where call(x) is known."""
    tensor = torch.from_numpy(x).requires_grad_()
    result, upstream = call(tensor), torch.from_numpy(g)

    def gradient() -> Any:
        (by_x,) = torch.autograd.grad(result, tensor, upstream, retain_graph=True)
        return by_x.numpy()

    return Run(name, gradient, threads=2)


def _torch_peers(*peers: Peer) -> tuple[Peer, ...]:
    return () if torch is None else peers


def _softmax_peers() -> tuple[Peer, ...]:
    return _torch_peers(Peer("torch.softmax", lambda t: torch.softmax(t, -1), at_least=3))


def _sorting_peers(name: str, entries: int, full: float, top: float) -> tuple[Peer, ...]:
    """entmax's function by a sort of all entries, and of the largest alone where there are more."""
    if entmax is None:
        return ()
    function = getattr(entmax, name)
    everything = Peer(f"entmax.{name}", lambda t: function(t, dim=-1), full)
    largest = Peer(f"entmax.{name}, k = {_TOP}", lambda t: function(t, dim=-1, k=_TOP), top)
    return (everything, largest) if entries > _TOP else (everything,)


def _bisecting_peers(
    name: str, at_least: float | None = None, **parameters: Any
) -> tuple[Peer, ...]:
    """entmax's function by 50 bisections, its default."""
    if entmax is None:
        return ()
    function = getattr(entmax, name)
    return (Peer(f"entmax.{name}", lambda t: function(t, dim=-1, **parameters), at_least),)


def _sparse_maps(
    entries: int, alphas: tuple[float, ...]
) -> Iterator[tuple[str, rv.probmap.Map, tuple[Peer, ...]]]:
    """The maps with goals: title, map, and who else has it."""
    yield "Sparsemax", rv.probmap.sparsemax(), _sorting_peers("sparsemax", entries, 60, 12)
    yield "1.5-entmax", rv.probmap.entmax(alpha=1.5), _sorting_peers("entmax15", entries, 120, 15)
    for alpha in alphas:
        peers = _bisecting_peers("entmax_bisect", 100, alpha=alpha)
        yield f"{alpha}-entmax", rv.probmap.entmax(alpha=alpha), peers


def _bisected_maps() -> Iterator[tuple[str, rv.probmap.Map, tuple[Peer, ...]]]:
    """The maps that others have by bisection alone."""
    peers = _bisecting_peers("normmax_bisect", alpha=2)
    yield "Normmax, α = 2", rv.probmap.normmax(alpha=2.0), peers
    peers = _bisecting_peers("budget_bisect", budget=3)
    yield "Budget, total 3", rv.probmap.budget(total=3.0), peers


# ---- maps ---------------------------------------------------------------------------------------


def _map_case(
    title: str,
    map: rv.probmap.Map,
    task: Task,
    peers: tuple[Peer, ...],
    goals: bool = False,
    more: tuple[Run, ...] = (),
) -> Case:
    # Not touched before the first call, so that the memory of that call includes all of it.
    x, out = task.x, np.empty_like(task.x)
    return Case(
        title,
        size=task.size,
        runs=[
            Run("resolvent", lambda: map(x, out=out), threads=2),
            *[peer.forward(x, goals) for peer in peers],
            *more,
        ],
        count=x.size,
        unit="entries",
        bytes=2 * x.nbytes,
        tolerance=task.tolerance,
        memory=_MEMORY,
    )


def _softmax(task: Task, goals: bool) -> Case:
    x, copied = task.x, np.empty_like(task.x)
    more = (
        *_torch_softmax_with_out(x),
        Run("scipy.special.softmax", lambda: scipy.special.softmax(x, axis=-1)),
        Run("resolvent, a new array for the result", lambda: rv.probmap.softmax(x), threads=2),
        Run("NumPy, copy of the logits", lambda: np.copyto(copied, x), comparable=False),
        Run(
            "NumPy, copy of the logits, half of the rows a thread",
            lambda: by_halves(lambda part: np.copyto(copied[part], x[part]), len(x)),
            threads=2,
            comparable=False,
            at_least=_TRAFFIC if goals else None,
        ),
    )
    return _map_case("Softmax", rv.probmap.softmax(), task, _softmax_peers(), goals, more)


def _torch_softmax_with_out(x: Any) -> tuple[Run, ...]:
    if torch is None:
        return ()
    tensor, out = torch.from_numpy(x), torch.empty(x.shape)
    call = lambda: torch.softmax(tensor, -1, out=out).numpy()  # noqa: E731
    return (Run("torch.softmax with out", call, threads=2),)


def by_halves(call: Callable[[slice], Any], rows: int) -> None:
    """Calls a NumPy function, which holds no lock while it works, on both halves of the rows."""
    list(_POOL.map(call, (slice(rows // 2), slice(rows // 2, None))))


def _sparse(task: Task, goals: bool) -> Iterator[Case]:
    # A bisection takes its time: one exponent where there are no goals.
    for title, map, peers in _sparse_maps(task.entries, _ALPHAS if goals else _ALPHAS[:1]):
        yield _map_case(title, map, task, peers, goals, _in_double(map, task))


def _in_double(map: rv.probmap.Map, task: Task) -> tuple[Run, ...]:
    """Says how far the result in float32 is from that in float64, and what the latter costs."""
    x, out = task.double
    return (Run("resolvent, float64", lambda: map(x, out=out), threads=2),)


def _bisected(task: Task) -> Iterator[Case]:
    for title, map, peers in _bisected_maps():
        yield _map_case(title, map, task, peers)


def _other_maps(task: Task) -> Iterator[Case]:
    """Maps that others write in a line or two."""
    target, kept = task.target, min(_TOP, task.entries)
    for title, map, call in (
        ("Taylor softmax", rv.probmap.taylor_softmax(order=2), taylor_softmax_torch),
        (
            f"Sparse softmax, k = {kept}",
            rv.probmap.sparse_softmax(k=kept),
            lambda t: sparse_softmax_torch(t, kept),
        ),
        (
            "Margin softmax",
            rv.probmap.margin_softmax(target=target, margin=0.35),
            lambda t: margin_softmax_torch(t, target, 0.35),
        ),
        ("Squares", rv.probmap.normalize(f="square"), lambda t: normalize_torch(t * t)),
        ("Softplus", rv.probmap.normalize(f="softplus"), softplus_torch),
    ):
        yield _map_case(title, map, task, _torch_peers(Peer("torch", call)))


def normalize_torch(f: Any) -> Any:
    """f/Σf."""
    return f / f.sum(-1, keepdim=True)


def softplus_torch(x: Any) -> Any:
    """log(1 + e^x), normalised."""
    return normalize_torch(torch.nn.functional.softplus(x))


def taylor_softmax_torch(x: Any) -> Any:
    """1 + x + x²/2, normalised."""
    return normalize_torch(1 + x + 0.5 * x * x)


def sparse_softmax_torch(x: Any, k: int) -> Any:
    """Softmax of the k largest."""
    largest, where = torch.topk(x, k, dim=-1)
    return torch.zeros_like(x).scatter_(-1, where, torch.softmax(largest, -1))


def margin_softmax_torch(x: Any, target: Any, margin: float) -> Any:
    """Softmax with the label's logit less the margin."""
    place = torch.from_numpy(target)[:, None]
    return torch.softmax(x.scatter_add(-1, place, torch.full((len(x), 1), -margin)), -1)


def _logarithms(task: Task) -> Iterator[Case]:
    x, out = task.x, np.empty_like(task.x)
    for title, call, theirs, written in (
        (
            "Log-softmax",
            lambda: rv.probmap.log_softmax(x, out=out),
            lambda t: torch.log_softmax(t, -1),
            x.nbytes,
        ),
        (
            "Logarithm of the sum of exponentials",
            lambda: rv.probmap.logsumexp(x),
            lambda t: torch.logsumexp(t, -1),
            x.nbytes // task.entries,
        ),
    ):
        yield Case(
            title,
            size=task.size,
            runs=[
                Run("resolvent", call, threads=2),
                *[peer.forward(x, False) for peer in _torch_peers(Peer("torch", theirs))],
            ],
            count=x.size,
            unit="entries",
            bytes=x.nbytes + written,
            tolerance=task.tolerance,
            memory=_MEMORY,
        )


# ---- derivatives --------------------------------------------------------------------------------


def _derivatives(task: Task, goals: bool) -> Iterator[Case]:
    """Jᵀg where p is known, as in a backward pass; the goal is 1.5 times the memory's traffic."""
    yield _vjp_case("Softmax", rv.probmap.softmax(), _softmax_peers(), task, goals)
    for title, map, peers in (*_sparse_maps(task.entries, _ALPHAS), *_bisected_maps()):
        yield _vjp_case(title, map, peers[:1], task, goals)


def _vjp_case(
    title: str, map: rv.probmap.Map, peers: tuple[Peer, ...], task: Task, goals: bool
) -> Case:
    x, g, p = task.x, task.g, _probabilities(map, peers, task.x)
    out, product = np.empty_like(x), np.empty_like(x)
    return Case(
        f"{title}, product with the transposed Jacobian",
        size=task.size,
        runs=[
            Run("resolvent", lambda: rv.probmap.vjp(map, x, g, p=p, out=out), threads=2),
            *[peer.backward(x, g) for peer in peers],
            Run(
                "NumPy, p * g, half of the rows a thread",
                lambda: by_halves(lambda i: np.multiply(p[i], g[i], out=product[i]), len(x)),
                threads=2,
                comparable=False,
                at_least=_TRAFFIC if goals else None,
            ),
        ],
        count=x.size,
        unit="entries",
        bytes=3 * x.nbytes,
        tolerance=task.tolerance,
        memory=_MEMORY,
    )


def _probabilities(map: rv.probmap.Map, peers: tuple[Peer, ...], x: Any) -> Any:
    """The peer's own where there is one, so that the derivatives alone are compared.

    Near the edge of the support a derivative amplifies the rounding of p, and at it, it jumps.
    """
    return peers[0].call(torch.from_numpy(x)).numpy() if peers else map(x)


def _by_alpha(task: Task) -> Case:
    alpha = np.full(task.rows, 1.25, dtype=np.float32)
    x, g, map = task.x, task.g, rv.probmap.entmax(alpha=alpha)
    p = map(x)
    runs = [
        Run("resolvent", lambda: rv.probmap.vjp(map, x, g, wrt="alpha", p=p), threads=2),
    ]
    if entmax is not None:
        logits = torch.from_numpy(x)
        call = lambda a: entmax.entmax_bisect(logits, alpha=a[:, None], dim=-1)  # noqa: E731
        runs.append(_gradient_run("entmax.entmax_bisect, backward", call, alpha, g))
    return Case(
        "1.25-entmax, derivative by α of each row",
        size=task.size,
        runs=runs,
        count=x.size,
        unit="entries",
        bytes=2 * x.nbytes,
        # The difference of p and q = s/Σs is divided by (α − 1)².
        tolerance=task.tolerance / 0.25**2,
    )


# ---- losses -------------------------------------------------------------------------------------


def _losses(task: Task) -> Iterator[Case]:
    """The loss of each row, and the gradient of their sum, which has the forward pass in it."""
    for title, map, name, theirs in (
        ("Cross-entropy", rv.probmap.softmax(), "torch", cross_entropy_torch),
        ("Sparsemax loss", rv.probmap.sparsemax(), "entmax", sparsemax_loss),
        ("1.5-entmax loss", rv.probmap.entmax(alpha=1.5), "entmax", entmax15_loss),
    ):
        available = torch is not None and (entmax is not None or name == "torch")
        yield _loss_case(title, map, name, theirs if available else None, task)
        yield _loss_gradient_case(title, map, name, theirs if available else None, task)


def cross_entropy_torch(x: Any, target: Any) -> Any:
    """log Σe^x − x_t."""
    return torch.nn.functional.cross_entropy(x, target, reduction="none")


def sparsemax_loss(x: Any, target: Any) -> Any:
    """The package's, by the largest entries."""
    return entmax.sparsemax_loss(x, target, k=_TOP)


def entmax15_loss(x: Any, target: Any) -> Any:
    """The package's, by the largest entries."""
    return entmax.entmax15_loss(x, target, k=_TOP)


def _loss_case(title: str, map: rv.probmap.Map, name: str, theirs: Any, task: Task) -> Case:
    x, target = task.x, task.target
    runs = [
        Run("resolvent", lambda: rv.probmap.loss(map, x, target, reduction="none"), threads=2),
    ]
    if theirs is not None:
        logits, labels = torch.from_numpy(x), torch.from_numpy(target)
        runs.append(Run(name, lambda: theirs(logits, labels).numpy(), threads=2))
    return Case(
        title,
        size=task.size,
        runs=runs,
        count=x.size,
        unit="entries",
        bytes=x.nbytes,
        tolerance=task.tolerance,
    )


def _loss_gradient_case(
    title: str, map: rv.probmap.Map, name: str, theirs: Any, task: Task
) -> Case:
    x, target = task.x, task.target
    runs = [
        Run(
            "resolvent",
            lambda: rv.probmap.loss_gradient(map, x, target, reduction="sum"),
            threads=2,
        ),
    ]
    if theirs is not None:
        logits, labels = torch.from_numpy(x).requires_grad_(), torch.from_numpy(target)

        def gradient() -> Any:
            return torch.autograd.grad(theirs(logits, labels).sum(), logits)[0].numpy()

        runs.append(Run(name, gradient, threads=2))
    return Case(
        f"{title}, gradient",
        size=task.size,
        runs=runs,
        count=x.size,
        unit="entries",
        bytes=2 * x.nbytes,
        tolerance=task.tolerance,
    )


# ---- thresholds ---------------------------------------------------------------------------------


def _threshold(task: Task) -> Case:
    x, _ = task.double
    return Case(
        "Threshold of sparsemax, with its residual and support",
        size=f"{task.rows:,} × {task.entries:,}, float64, two threads",
        runs=[
            Run("resolvent", lambda: rv.probmap.threshold("sparsemax", x).value, threads=2),
            Run("NumPy, by a sort", lambda: threshold_numpy(x)),
        ],
        count=x.size,
        unit="entries",
        bytes=x.nbytes,
        # cumsum adds one by one.
        tolerance=task.entries * float(np.finfo(np.float64).eps),
    )


def threshold_numpy(x: Any) -> Any:
    """λ = (Σ_k x − 1)/k of the largest k whose smallest entry is above it."""
    falling = -np.sort(-x, axis=-1)
    k = np.arange(1, x.shape[-1] + 1)
    means = (np.cumsum(falling, axis=-1) - 1) / k
    support = np.sum(falling > means, axis=-1, keepdims=True)
    return np.take_along_axis(means, support - 1, axis=-1)[:, 0]


# ---- perturbed maxima ---------------------------------------------------------------------------


def _perturbed(rows: int, entries: int) -> Iterator[Case]:
    x = np.random.default_rng(3).standard_normal((rows, entries))
    for noise, log_cdf, log_pdf, reach in (
        ("normal", scipy.special.log_ndtr, log_normal_pdf, 10),
        ("logistic", scipy.special.log_expit, log_logistic_pdf, 45),
    ):
        yield Case(
            f"Perturbed maximum, {noise} noise",
            size=f"{rows} × {entries}, float64, two threads",
            runs=[
                Run("resolvent", lambda n=noise: rv.probmap.perturb_max(x, n), threads=2),
                Run(
                    "NumPy/SciPy, Gauss–Legendre rule",
                    lambda c=log_cdf, p=log_pdf, r=reach: perturbed_numpy(x, c, p, r),
                ),
            ],
            count=x.size,
            unit="entries",
            tolerance=_PERTURBED,
        )


def perturbed_numpy(x: Any, log_cdf: Any, log_pdf: Any, reach: int, order: int = 16) -> Any:
    """p_i = ∫ Π_j F(t − x_j) · f(t − x_i)/F(t − x_i) dt, in panels of length 1.

    Below max x − reach a factor of the product, and above max x + reach every density, is nothing.
    """
    nodes, weights = np.polynomial.legendre.leggauss(order)
    panels = np.arange(-reach, reach)[:, None]
    offsets = (panels + 0.5 * (nodes + 1)).ravel()
    weights = np.tile(0.5 * weights, 2 * reach)
    p = np.empty_like(x)
    for row, out in zip(x, p, strict=True):
        t = row.max() + offsets - row[:, None]
        logs = log_cdf(t)
        out[:] = np.exp(logs.sum(axis=0) + log_pdf(t) - logs) @ weights
    return p


def log_normal_pdf(t: Any) -> Any:
    """−t²/2 − log √(2π)."""
    return -0.5 * t * t - 0.5 * np.log(2 * np.pi)


def log_logistic_pdf(t: Any) -> Any:
    """log F(t)F(−t)."""
    return scipy.special.log_expit(t) + scipy.special.log_expit(-t)


def _student_t(entries: int) -> Case:
    x, df = np.random.default_rng(4).standard_normal(entries), 3.0
    return Case(
        "Perturbed maximum, Student's t with 3 degrees of freedom",
        size=f"n = {entries}, float64, two threads",
        runs=[
            Run("resolvent", lambda: rv.probmap.perturb_max(x, "student-t", df=df), threads=2),
            Run("SciPy quad, an integral for each entry", lambda: perturbed_quad(x, df)),
        ],
        count=entries,
        unit="entries",
        tolerance=_PERTURBED,
    )


def perturbed_quad(x: Any, df: float) -> Any:
    """p_i = ∫₀¹ Π_{j≠i} F(x_i − x_j + F⁻¹(u)) du."""

    def integrand(u: float, i: int) -> float:
        gaps = x[i] - np.delete(x, i) + scipy.special.stdtrit(df, u)
        return float(np.prod(scipy.special.stdtr(df, gaps)))

    # A thousandth, as the error is relative to the largest entry here, and estimated.
    options = {"epsabs": _PERTURBED / 1000, "epsrel": 0, "limit": 500}
    return np.array(
        [scipy.integrate.quad(integrand, 0, 1, (i,), **options)[0] for i in range(x.size)]
    )


def _perturbed_growth(sizes: tuple[int, ...], goals: bool) -> Iterator[Case]:
    rows, first = 8, sizes[0]
    rng = np.random.default_rng(5)
    logits = [rng.standard_normal((rows, n)) for n in sizes]
    for title, call in (
        ("Perturbed maximum against n", lambda x: rv.probmap.perturb_max(x, "normal")),
        (
            "Perturbed maximum, product with the transposed Jacobian against n",
            lambda x: rv.probmap.vjp("perturb_max", x, x, noise="normal"),
        ),
    ):
        yield Case(
            title,
            size=f"{rows} rows, normal noise, float64, two threads",
            runs=[
                Run(
                    f"n = {x.shape[-1]:,}",
                    lambda call=call, x=x: call(x),
                    threads=2,
                    comparable=False,
                    count=x.size,
                    at_most=_LINEAR * n / first if goals and n > first else None,
                )
                for n, x in zip(sizes, logits, strict=True)
            ],
            unit="entries",
            versus="the first",
        )
