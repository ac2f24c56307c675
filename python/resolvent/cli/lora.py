"""``resolvent lora``: adapters for the layers of a model, from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from resolvent import lora
from resolvent.cli._common import Quiet, group, progress_bar
from resolvent.lora._report import METRICS

__all__ = ["app"]

app = group("LoRA: adapters that follow the full gradient.")


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


Weights = Annotated[
    Path,
    typer.Option(help="A .safetensors file, its index if there are several, or their folder."),
]
Gradients = Annotated[
    Path | None,
    typer.Option(help="The same for the gradients, which have the names of the weights."),
]
Out = Annotated[Path, typer.Option(help="The folder to make.")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Remove an adapter that was made in --out before, with all."),
]
Rank = Annotated[int, typer.Option(help="Rank r of every adapter: A is in×r, B is r×out.")]
Alpha = Annotated[
    float | None, typer.Option(help="α: the adapter is scaled by s; the rank if not given.")
]
Scaling = Annotated[str, typer.Option(help="s = α/r (lora) or α/√r (rslora).")]
Scale = Annotated[str, typer.Option(help=f"Length of LoRA-GA's factors: {_listed(lora.SCALES)}.")]
Directions = Annotated[
    str,
    typer.Option(help=f"Which singular directions A and B get: {_listed(lora.DIRECTIONS)}."),
]
Gamma = Annotated[float, typer.Option(help="γ of --scale stable.")]
Adam = Annotated[str, typer.Option(help=f"How lora-ga-adam starts: {_listed(lora.ADAM_OPTIONS)}.")]
Distribution = Annotated[str, typer.Option(help="Of LoRA's random A: kaiming or gaussian.")]
Seed = Annotated[int, typer.Option(help="Another number gives other random factors.")]
Target = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REGEX",
        help="Layers whose name it is found in; may be given several times. If not given, all "
        "matrices that both files have, without embeddings.",
    ),
]
Orientation = Annotated[
    str, typer.Option(help="Matrices in the files are out×in (torch) or in×out (post).")
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Leave out layers that only one file has.")
]
Workers = Annotated[int, typer.Option(help="Processes on this machine.")]
Dtype = Annotated[
    str | None,
    typer.Option(help="Type of all that is written: float64, float32, float16 or bfloat16."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="A Dask cluster whose workers see the files under the same paths."
    ),
]


@app.command()
def init(
    *,
    weights: Weights,
    gradients: Gradients = None,
    out: Out,
    rank: Rank = 8,
    method: Annotated[
        str, typer.Option(help=f"How the adapters start: {_listed(lora.METHODS)}.")
    ] = "lora-ga",
    alpha: Alpha = None,
    scaling: Scaling = "lora",
    scale: Scale = "stable",
    directions: Directions = "a-first",
    gamma: Gamma = 16.0,
    adam: Adam = "sign-svd",
    distribution: Distribution = "kaiming",
    optimizer: Annotated[
        str | None, typer.Option(help="Whose first step the report judges: sgd or adam.")
    ] = None,
    seed: Seed = 0,
    target: Target = None,
    orientation: Orientation = "torch",
    dtype: Dtype = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the base, for PEFT.")
    ] = None,
    task_type: Annotated[str | None, typer.Option(help="For PEFT: CAUSAL_LM, SEQ_CLS, …")] = None,
    target_rank: Annotated[
        int | None, typer.Option(help="The average rank that AdaLoRA ends with.")
    ] = None,
    total_steps: Annotated[
        int | None, typer.Option(help="Length of AdaLoRA's training, which PEFT has to know.")
    ] = None,
    allow_missing: AllowMissing = False,
    overwrite: Overwrite = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
) -> None:
    """Make adapters that PEFT loads, a layer at a time.

    Writes the adapter, what its start needs to be taken off the base, and a report. A run that was
    stopped goes on when the same command is given again.
    """
    options: dict[str, Any] = {  # the library checks the names
        "method": method,
        "alpha": alpha,
        "scaling": scaling,
        "scale": scale,
        "directions": directions,
        "gamma": gamma,
        "adam": adam,
        "distribution": distribution,
        "optimizer": optimizer,
        "seed": seed,
        "target": target,
        "orientation": orientation,
        "dtype": dtype,
        "base_model": base_model,
        "task_type": task_type,
        "target_rank": target_rank,
        "total_steps": total_steps,
        "allow_missing": allow_missing,
        "overwrite": overwrite,
        "workers": workers,
        "scheduler": scheduler,
    }
    with _moved(quiet) as progress:
        report = lora.initialize_files(
            weights, gradients, out, rank=rank, progress=progress, **options
        )
    if not quiet:
        means = ", ".join(f"{METRICS[k][0]} {v:.3g}" for k, v in report.mean.items())
        print(f"{out}: {len(report.cards)} layers; mean {means}")


@app.command()
def compare(
    weights: Weights,
    gradients: Annotated[Path, typer.Option(help="Their gradients, under the same names.")],
    rank: Rank = 8,
    methods: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="All methods if not given; may be repeated."),
    ] = None,
    alpha: Alpha = None,
    scaling: Scaling = "lora",
    scale: Scale = "stable",
    directions: Directions = "a-first",
    gamma: Gamma = 16.0,
    adam: Adam = "sign-svd",
    distribution: Distribution = "kaiming",
    optimizer: Annotated[
        str, typer.Option(help="Whose first step is compared: sgd or adam.")
    ] = "sgd",
    seed: Seed = 0,
    target: Target = None,
    orientation: Orientation = "torch",
    allow_missing: AllowMissing = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    quiet: Quiet = False,
) -> None:
    """Print how well adapters would follow the gradients; write nothing."""
    names = [name.strip() for given in methods or [] for name in given.split(",")] or None
    options: dict[str, Any] = {
        "methods": names,
        "alpha": alpha,
        "scaling": scaling,
        "scale": scale,
        "directions": directions,
        "gamma": gamma,
        "adam": adam,
        "distribution": distribution,
        "optimizer": optimizer,
        "seed": seed,
        "target": target,
        "orientation": orientation,
        "allow_missing": allow_missing,
        "workers": workers,
        "scheduler": scheduler,
    }
    with _moved(quiet) as progress:
        found = lora.compare_files(weights, gradients, rank=rank, progress=progress, **options)
    print(found)


@app.command()
def untouched(
    trained: Annotated[Path, typer.Argument(help="Folder of the adapter after training.")],
    initial: Annotated[Path, typer.Option(help="Folder that training began with.")],
    out: Out,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Turn a trained adapter into one of twice the rank that works on an untouched base."""
    lora.untouched_files(trained, initial, out, overwrite=overwrite)
    if not quiet:
        print(out)


@contextmanager
def _moved(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A bar, as the callback that moves it."""
    with progress_bar(quiet) as bar:
        task = bar.add_task("layers", total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name or "layers")

        yield progress
