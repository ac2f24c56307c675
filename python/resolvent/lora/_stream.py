"""Adapters for the layers of a file, one layer in memory at a time."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from resolvent import _core
from resolvent._arrays import count_parameter, name_parameter, positive_parameter
from resolvent._core import __version__
from resolvent._files import atomically
from resolvent._warnings import IllConditionedWarning, warn_caller
from resolvent.lora import _peft as peft
from resolvent.lora import _safetensors as tensors
from resolvent.lora._adapter import OPTIMIZERS, Optimizer
from resolvent.lora._execute import outcomes
from resolvent.lora._folder import (
    Destination,
    SavedAdapter,
    parents,
    write_adapter,
    write_doubled,
    write_json,
)
from resolvent.lora._initialize import (
    ADAM_OPTIONS,
    DIRECTION_ALIASES,
    DIRECTIONS,
    DISTRIBUTIONS,
    METHODS,
    SCALE_ALIASES,
    SCALES,
    SCALINGS,
    START_OPTIONS,
    Method,
    methods_of_rank,
)
from resolvent.lora._layer import (
    Layer,
    LayerCard,
    Outcome,
    Settings,
    compare_layer,
    initialize_layer,
)
from resolvent.lora._lowrank import seed_parameter
from resolvent.lora._plan import check_rank, planned
from resolvent.lora._report import FilesComparison, FilesReport, write_reports
from resolvent.lora._safetensors import Writer

__all__ = ["compare_files", "initialize_files", "untouched_files"]

PathLike: TypeAlias = "str | os.PathLike[str]"

Scaling = Literal["lora", "rslora"]
Scale = Literal["stable", "unit", "gd", "weight", "weightS"]
Directions = Literal["a-first", "b-first", "interleaved", "random", "ArB2r", "A2rBr", "ArBr"]
AdamOption = Literal["sign-svd", "sgd-solution", "minimise"]
Distribution = Literal["kaiming", "gaussian"]
Orientation = Literal["torch", "post"]
FileType = Literal["float64", "float32", "float16", "bfloat16"]

#: (layers finished, layers in all, the last one's name).
Progress: TypeAlias = Callable[[int, int, str], object]

#: Options in which the methods of a comparison may differ.
_VARIED = {"method", *START_OPTIONS, "seed"}

ORIENTATIONS = ("torch", "post")


def initialize_files(
    weights: PathLike,
    gradients: PathLike | None,
    out: PathLike,
    *,
    rank: int,
    method: Method = "lora-ga",
    alpha: float | None = None,
    scaling: Scaling = "lora",
    scale: Scale = "stable",
    directions: Directions = "a-first",
    gamma: float = 16.0,
    adam: AdamOption = "sign-svd",
    distribution: Distribution = "kaiming",
    optimizer: Optimizer | None = None,
    seed: int = 0,
    target: str | Sequence[str] | None = None,
    orientation: Orientation = "torch",
    dtype: FileType | None = None,
    base_model: str | None = None,
    task_type: str | None = None,
    target_rank: int | None = None,
    total_steps: int | None = None,
    allow_missing: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> FilesReport:
    """Adapters for the layers of a model, from files into a folder that PEFT loads.

    A layer is read, initialised and judged at a time: memory is that of one weight and one
    gradient (with several workers, of one per worker). Files may hold float64, float32, float16 or
    bfloat16; the computation is in single precision, or in double if a file has it.

    Parameters
    ----------
    weights : path-like
        A .safetensors file, the index of a model in several (.safetensors.index.json), or a folder
        with such files.
    gradients : path-like or None
        Likewise, with the gradients of the loss under the weights' names. None for a method that
        needs none; the report then has no alignment.
    out : path-like
        The folder to make. It appears when all is in it.
    rank : int
    method : str
        As in :func:`initialize`, and so are `alpha`, `scaling`, `scale`, `directions`, `gamma`,
        `adam` and `distribution`.
    optimizer : {"sgd", "adam"}, optional
        Whose first step the report judges; "adam" for lora-ga-adam, else "sgd".
    seed : int
        Every layer draws from a stream of its own, given by this and its name.
    target : str or sequence of str, optional
        Regular expressions, searched for in the names. If not given: the matrices that both files
        have, without those that are embeddings by their names (`left_out` of the result).
    orientation : {"torch", "post"}
        Whether a file's matrix is out×in, or in×out (Conv1D of GPT-2; PEFT's fan_in_fan_out).
    dtype : {"float64", "float32", "float16", "bfloat16"}, optional
        Of everything written. If not given the adapter is in float32 (float64 if a file has it)
        and the offset has the type of each weight. The offset is that of the factors as written.
    base_model, task_type : str, optional
        For adapter_config.json: base_model_name_or_path, and "CAUSAL_LM", "SEQ_CLS", ….
    target_rank, total_steps : int, optional
        AdaLoRA's budget: the average rank to end with (two thirds of `rank`, rounded up, if not
        given) and the length of training, which PEFT has to know.
    allow_missing : bool
        Leave out layers that one of the files lacks, instead of an error.
    overwrite : bool
        Replace `out`, and what an unfinished run with other settings has left. A folder that
        holds anything else than an adapter made here, or one of the inputs, is refused.
    workers : int
        Processes on this machine. A script has to call this under ``if __name__ == "__main__"``.
    scheduler : str, optional
        Address of a Dask cluster ("tcp://host:8786") whose workers see the files under the same
        paths; needs the extra ``distributed``. The death of a worker is survived.
    progress : callable, optional
        Called with (layers finished, layers in all, name of the last).

    Returns
    -------
    FilesReport

    Raises
    ------
    InvalidArgument
        For files that cannot be used, layers that do not fit, unknown names, an `out` that exists.
        The message says which file or layer. Nothing is left behind.
    ShapeMismatch
        If a gradient is not of its weight's shape.
    OSError
        If writing fails, or a worker is killed. What is finished is kept.

    Warns
    -----
    IllConditionedWarning
        Where gradients have fewer than 2·rank directions; where offsets are about as small as the
        rounding of a base in bfloat16 or float16.

    Notes
    -----
    Written are ``adapter_model.safetensors`` and ``adapter_config.json``; ``report.md``,
    ``report.html`` and ``report.png``; and for methods that do not start at zero
    ``offset.safetensors``, for every weight the matrix to add to it, and ``untouched/``, the same
    adapter with its start taken off inside it, [A A₀]·[B; −B₀] of rank 2·rank, which changes an
    untouched base by nothing.

    A base in bfloat16 or float16 is rounded once more when the offset is added to it (bfloat16:
    by .17 % of its norm). That is no part of the adapter: an untouched base does without it.

    Unfinished work is kept in ``.NAME.partial`` beside `out`: the same call goes on from there.
    Results have the same bits for any number of workers, threads and interruptions.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, resolvent as rv
    >>> from safetensors.numpy import save_file
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name in ("weights", "gradients"):
    ...     layer = {"layer.0.weight": rng.standard_normal((12, 10)).astype(np.float32)}
    ...     save_file(layer, folder / f"{name}.safetensors")
    >>> report = rv.lora.initialize_files(
    ...     folder / "weights.safetensors", folder / "gradients.safetensors",
    ...     folder / "adapter", rank=2)
    >>> sorted(made.name for made in report.out.iterdir())
    ['adapter_config.json', 'adapter_model.safetensors', 'offset.safetensors', 'report.html',
     'report.md', 'report.png', 'untouched']
    """
    destination = Destination(out, overwrite)
    settings = _settings(
        method=method,
        rank=rank,
        alpha=alpha,
        scaling=scaling,
        scale=scale,
        directions=directions,
        gamma=gamma,
        adam=adam,
        distribution=distribution,
        optimizer=optimizer,
        seed=seed,
        orientation=orientation,
        dtype=dtype,
    )
    workers = count_parameter(workers, "workers")
    budget = _budget(settings, target_rank, total_steps)
    plan = planned(weights, gradients, settings, target, allow_missing)
    destination.keep(plan.files)
    config = peft.adapter_config(
        method,
        [peft.module_of(layer.name) for layer in plan.layers],
        map(peft.module_of, plan.others),
        rank=settings.rank,
        alpha=settings.alpha,
        scaling=scaling,
        fan_in_fan_out=orientation == "post",
        base_model=base_model,
        task_type=task_type,
        **budget,
    )
    state = {"version": __version__, **asdict(settings), "config": config, **plan.inputs}
    with _partial(destination.folder, state, overwrite) as work:
        cards = _initialized(work, plan.layers, settings, workers, scheduler, progress)
        report = FilesReport(destination.folder, settings, tuple(cards), tuple(plan.left_out))
        result = work / "result"
        shutil.rmtree(result, ignore_errors=True)
        result.mkdir()
        records = [tensors.read_header(_record(work, k)).tensors for k in range(len(plan.layers))]
        write_adapter(result, plan.layers, records, settings, config)
        write_reports(result, report, plan.named)
        destination.publish(result)
    _warn(report)
    _warn_of_rounding(plan.layers, report)
    return report


def compare_files(
    weights: PathLike,
    gradients: PathLike,
    *,
    rank: int,
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    alpha: float | None = None,
    scaling: Scaling = "lora",
    scale: Scale = "stable",
    directions: Directions = "a-first",
    gamma: float = 16.0,
    adam: AdamOption = "sign-svd",
    distribution: Distribution = "kaiming",
    optimizer: Optimizer = "sgd",
    seed: int = 0,
    target: str | Sequence[str] | None = None,
    orientation: Orientation = "torch",
    allow_missing: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> FilesComparison:
    """How well the adapters of several methods would follow the gradients of a model's layers.

    Nothing is written. Memory is that of one weight and one gradient, and a few more of that size.

    Parameters
    ----------
    weights, gradients : path-like
        As in :func:`initialize_files`, and so is all that is not listed here.
    rank : int
    methods : sequence of str, or mapping of str to mapping, optional
        Names of methods, or label → options of :func:`initialize` with a "method" among them;
        all methods if not given (orthogonal for an even rank only).
    optimizer : {"sgd", "adam"}
        Whose first step is compared.

    Returns
    -------
    FilesComparison
        Printed, it is the table of cosines by layer and the means of all metrics.

    Raises
    ------
    InvalidArgument, ShapeMismatch, OSError
        As in :func:`initialize_files`.

    Examples
    --------
    >>> import tempfile, pathlib, numpy as np, resolvent as rv
    >>> from safetensors.numpy import save_file
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> rng = np.random.default_rng(0)
    >>> for name in ("weights", "gradients"):
    ...     layer = {"layer.0.weight": rng.standard_normal((12, 10))}
    ...     save_file(layer, folder / f"{name}.safetensors")
    >>> found = rv.lora.compare_files(
    ...     folder / "weights.safetensors", folder / "gradients.safetensors",
    ...     rank=2, methods=["lora", "lora-ga"])
    >>> found.mean["lora-ga"]["cosine"] > found.mean["lora"]["cosine"]
    True
    """
    variants = _variants(methods, rank)
    common = {
        "rank": rank,
        "alpha": alpha,
        "scaling": scaling,
        "scale": scale,
        "directions": directions,
        "gamma": gamma,
        "adam": adam,
        "distribution": distribution,
        "optimizer": optimizer,
        "seed": seed,
        "orientation": orientation,
        "dtype": None,
    }
    each = [_settings(**{**common, **options}) for options in variants.values()]
    workers = count_parameter(workers, "workers")
    plan = planned(weights, gradients, each[0], target, allow_missing)
    for settings in each:
        check_rank(plan.layers, settings)
    tasks = [partial(compare_layer, layer, each[0], variants) for layer in plan.layers]
    found: dict[str, Outcome] = {}
    with closing(outcomes(tasks, workers=workers, scheduler=scheduler)) as results:
        for outcome in results:
            if outcome.error is not None:
                raise outcome.error
            found[outcome.layer] = outcome
            if progress is not None:
                progress(len(found), len(tasks), outcome.layer)
    names = [layer.name for layer in plan.layers]
    return FilesComparison(
        {label: tuple(found[name].cards[label] for name in names) for label in variants}
    )


def untouched_files(
    trained: PathLike, initial: PathLike, out: PathLike, *, overwrite: bool = False
) -> Path:
    """A trained adapter as one of twice the rank that works on the base as it was.

    Parameters
    ----------
    trained : path-like
        Folder of the adapter after training, from PEFT's save_pretrained.
    initial : path-like
        Folder that training began with, from :func:`initialize_files`.
    out : path-like
        The folder to make: adapter_model.safetensors and adapter_config.json.
    overwrite : bool
        Replace `out`, if it is an adapter made here and none of the inputs.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InvalidArgument
        For folders that are no LoRA adapters of the same layers, adapters of embeddings, and an
        `out` that exists.
    ShapeMismatch
        If a layer's shapes differ between the two.

    Notes
    -----
    With W₀ + s(A B − A₀B₀) = W₀ + s [A A₀]·[B; −B₀] the offset of the base becomes part of the
    adapter. α becomes 2α, with rsLoRA √2 α, so that s stays; so do PEFT's patterns of ranks and α.
    What else was trained (heads that are saved with the adapter, biases) is taken over as it is.
    """
    destination = Destination(out, overwrite)
    folder = destination.folder
    after, before = SavedAdapter(trained), SavedAdapter(initial)
    destination.keep((*after.files, *before.files))
    before.check_same_layers(after)
    with parents(folder):
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            result = temporary / "result"
            write_doubled(result, after.config, after.pairs(before), after.others)
            destination.publish(result)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


# ---- settings -----------------------------------------------------------------------------------


def _settings(*, alpha: float | None, optimizer: str | None, **given: Any) -> Settings:
    """Checked, so that a wrong name is found before a large file is read."""
    for name, aliases in (("directions", DIRECTION_ALIASES), ("scale", SCALE_ALIASES)):
        given[name] = aliases.get(given[name], given[name])
    names = {
        "method": METHODS,
        "scaling": SCALINGS,
        "scale": SCALES,
        "directions": DIRECTIONS,
        "adam": ADAM_OPTIONS,
        "distribution": DISTRIBUTIONS,
        "orientation": ORIENTATIONS,
    }
    for name, valid in names.items():
        name_parameter(given[name], valid, name)
    if given["dtype"] is not None:
        name_parameter(given["dtype"], tuple(tensors.DTYPES), "dtype")
    if optimizer is None:
        optimizer = "adam" if given["method"] == "lora-ga-adam" else "sgd"
    name_parameter(optimizer, OPTIMIZERS, "optimizer")
    rank = count_parameter(given["rank"], "rank")
    given |= {
        "rank": rank,
        "alpha": float(rank) if alpha is None else positive_parameter(alpha, "alpha"),
        "gamma": positive_parameter(given["gamma"], "gamma"),
        "seed": seed_parameter(given["seed"]),
        "optimizer": optimizer,
    }
    return Settings(**given)


def _budget(settings: Settings, target_rank: int | None, total_steps: int | None) -> dict[str, int]:
    """AdaLoRA's, for PEFT's settings."""
    if settings.method == "adalora" and total_steps is None:
        raise _core.InvalidArgument(
            "total_steps must be given for adalora: PEFT plans its ranks over the whole training"
        )
    target = -(-2 * settings.rank // 3) if target_rank is None else target_rank
    target = count_parameter(target, "target_rank")
    if target > settings.rank:
        raise _core.InvalidArgument(
            f"target_rank must be at most rank = {settings.rank}, got {target}"
        )
    steps = count_parameter(1 if total_steps is None else total_steps, "total_steps")
    return {"target_rank": target, "total_steps": steps}


def _variants(
    methods: Sequence[str] | Mapping[str, Mapping[str, Any]] | None, rank: int
) -> dict[str, dict[str, Any]]:
    """Label → options with a method."""
    if methods is None:
        methods = methods_of_rank(rank)
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, Mapping):
        methods = {method: {"method": method} for method in methods}
    if not methods:
        raise _core.InvalidArgument("methods must name at least one")
    for label, options in methods.items():
        unknown = options.keys() - _VARIED
        if "method" not in options or unknown:
            wrong = f"options {', '.join(sorted(unknown))}" if unknown else "no 'method'"
            raise _core.InvalidArgument(f"methods[{label!r}] has {wrong}")
    return {label: dict(options) for label, options in methods.items()}


# ---- unfinished work ----------------------------------------------------------------------------


#: All that is ever in the folder of a run that has not ended.
_WORK = {"layers", "lock", "state.json", "result", "replaced"}


@contextmanager
def _partial(folder: Path, state: dict[str, Any], overwrite: bool) -> Iterator[Path]:
    """The folder of a run that has not ended: kept after an error if it holds finished layers."""
    work = folder.parent / f".{folder.name}.partial"
    if work.exists() and not {path.name for path in work.iterdir()} <= _WORK:
        raise _core.InvalidArgument(f"{work} is in the way: it is of no unfinished run")
    with _about(folder, work), parents(work):
        (work / "layers").mkdir(parents=True, exist_ok=True)
        with _locked(work, folder):
            try:
                _adopt(work, json.loads(json.dumps(state)), overwrite)
                yield work
            except BaseException:
                if not any((work / "layers").glob("*.safetensors")):
                    shutil.rmtree(work, ignore_errors=True)
                raise
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _about(folder: Path, work: Path) -> Iterator[None]:
    """Errors of the file system name the folder that was asked for."""
    try:
        yield
    except OSError as error:
        if error.errno and (error.filename is None or str(error.filename).startswith(str(work))):
            error.filename = str(folder)
        raise


@contextmanager
def _locked(work: Path, folder: Path) -> Iterator[None]:
    """Whoever else makes this folder is refused."""
    import fcntl  # POSIX only

    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _core.InvalidArgument(f"out: another run is making {folder}") from error
        yield


def _adopt(work: Path, state: dict[str, Any], overwrite: bool) -> None:
    """Goes on with what is there, if it was begun with the same settings and files."""
    file = work / "state.json"
    begun = _read_state(file) if file.exists() else None
    if begun is not None and begun != state:
        if not overwrite:
            changed = next(k for k in {**state, **begun} if begun.get(k) != state.get(k))
            raise _core.InvalidArgument(
                f"{work} holds an unfinished run that differs in {changed!r}: finish it, remove it "
                "or overwrite"
            )
        begun = None
    if begun is None:
        shutil.rmtree(work / "layers")
        (work / "layers").mkdir()
        write_json(file, state)


def _read_state(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError):  # written by something else
        return {}


def _initialized(
    work: Path,
    layers: list[Layer],
    settings: Settings,
    workers: int,
    scheduler: str | None,
    progress: Progress | None,
) -> list[LayerCard]:
    """Makes what is not in the working folder yet; gives the cards of all layers."""
    records = {layer.name: _record(work, k) for k, layer in enumerate(layers)}
    left = [layer for layer in layers if not records[layer.name].exists()]
    tasks = [partial(initialize_layer, layer, settings) for layer in left]
    kinds = {layer.name: layer.kind(settings) for layer in layers}
    done = len(layers) - len(left)
    if progress is not None:
        progress(done, len(layers), "")
    with closing(outcomes(tasks, workers=workers, scheduler=scheduler)) as results:
        for outcome in results:
            if outcome.error is not None:  # for ever: other files are another run
                shutil.rmtree(work / "layers")
                (work / "layers").mkdir()
                raise outcome.error
            _save(records[outcome.layer], outcome, kinds[outcome.layer])
            done += 1
            if progress is not None:
                progress(done, len(layers), outcome.layer)
    return [_saved_card(records[layer.name]) for layer in layers]


def _record(work: Path, index: int) -> Path:
    """Where a finished layer is kept."""
    return work / "layers" / f"{index:06d}.safetensors"


def _save(record: Path, outcome: Outcome, kind: str) -> None:
    """A finished layer, whole or not at all."""
    layout = {part: (kind, array.shape) for part, array in outcome.parts.items()}
    card = json.dumps(outcome.cards[""].json())

    def write(file: Path) -> None:
        with Writer(file, layout, {"card": card}) as writer:
            for part in writer.names:
                writer.write(part, [outcome.parts[part]])

    atomically(record, write)


def _saved_card(record: Path) -> LayerCard:
    return LayerCard.from_json(json.loads(tensors.read_header(record).metadata["card"]))


def _warn(report: FilesReport) -> None:
    poor = [card for card in report.cards if card.lost]
    if poor and report.settings.of_gradient:
        first, wanted = poor[0], 2 * report.settings.rank
        more = f" (and {len(poor) - 1} more layers: see report.md)" if len(poor) > 1 else ""
        warn_caller(
            IllConditionedWarning(
                f"layer {first.layer}: {first.lost} of the {wanted} directions of "
                f"its gradient are below rounding{more}",
                first.spectrum[wanted - 1] / first.spectrum[0],
            )
        )


#: Relative rounding errors of the types that are coarser than the computation.
_ROUNDING = {"BF16": 2.0**-8, "F16": 2.0**-11}

#: An offset of so many rounding errors of its weight loses a tenth: they are a third on average.
_CLEAR = 4.0


def _warn_of_rounding(layers: Sequence[Layer], report: FilesReport) -> None:
    poor = [
        (card, _ROUNDING[layer.weight.kind])
        for layer, card in zip(layers, report.cards, strict=True)
        if 0.0 < card.offset_ratio < _CLEAR * _ROUNDING.get(layer.weight.kind, 0.0)
    ]
    if poor:
        card, unit = poor[0]
        more = f" (and {len(poor) - 1} more layers)" if len(poor) > 1 else ""
        warn_caller(
            IllConditionedWarning(
                f"layer {card.layer}: its offset is {card.offset_ratio:.2g} of the weight, whose "
                f"type rounds by {unit:.2g}: keep the base in float32{more}",
                card.offset_ratio / unit,
            )
        )
