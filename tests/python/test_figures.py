"""The figures and what their captions claim; the plots of result objects."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import resolvent as rv

pytest.importorskip("pywt")
pytest.importorskip("sklearn")
mpl.use("Agg")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resolvent.figures import FIGURES, draw
from resolvent.figures import hippo as figures
from resolvent.plot import hippo as plot
from resolvent.plot import style

EPS = np.finfo(float).eps

#: Arguments that make each figure quick.
SMALL = {
    "hippo-matrices": {"order": 5},
    "hippo-bases": {"order": 3},
    "hippo-ecg": {"order": 16, "orders": (8, 16), "length": 256},
    "hippo-order-window": {"orders": (4, 8, 16), "windows": (16, 32, 64), "curves": (8,)},
    "hippo-memory-decay": {"orders": (2, 4), "points": 20},
    "hippo-rules": {"lengths": (32, 64, 128)},
    "hippo-fourier-leak": {"order": 9, "samples": 100},
    "hippo-timescale": {"order": 8, "shown": 8},
    "spectral-s4-eigenvalues": {"orders": (16, 64), "dense_up_to": 16, "points": 20},
    "spectral-phase": {"order": 5},
    "spectral-conditioning": {"order": 16, "draws": 1, "orders": (4, 16, 24)},
    "spectral-pseudospectra": {"order": 9, "points": 12},
    "spectral-clipping": {"order": 16},
    "spectral-pade": {"orders": (4, 8)},
    "discretize-stability": {"order": 4, "points": (20, 24)},
    "discretize-convergence": {"lengths": (32, 64, 128)},
    "ssm-routes": {"order": 6, "length": 20},
    "ssm-kernels": {"order": 8},
    "ssm-cost": {},
    "ssm-ecg": {"order": 4, "window": 16},
    "ssm-circle": {"order": 6, "length": 16},
    "rational-perturbation": {"order": 6, "draws": 4},
    "rational-digits": {"orders": (2, 6)},
    "rational-fit": {"length": 48, "order": 3},
    "rational-hankel": {"order": 6, "orders": (2, 4)},
    "rational-bode": {"order": 4, "window": 8},
    "probmap-plane": {"points": 24},
    "probmap-simplex": {"points": 40},
    "probmap-gap": {"points": 41},
    "probmap-alpha": {"points": 41},
    "probmap-temperature": {"points": 41},
    "probmap-gradients": {"points": 17, "others": 3},
    "probmap-taylor": {"points": 61},
    "probmap-noise": {"others": 2, "points": 21, "draws": 50},
    "probmap-losses": {"points": 40},
    "probmap-digits": {"points": 7, "steps": 60},
    "probmap-attention": {},
    "lora-alignment": {"rank": 2},
    "lora-losses": {"steps": 4, "rates": (0.1,), "seeds": (0,), "record_every": 2},
    "lora-trajectory": {"steps": 4, "rates": (0.1,), "seeds": (0,), "record_every": 2},
    "lora-scale": {"ranks": (1, 2), "gammas": (4.0, 16.0), "steps": 4},
    "lora-peft": {"rank": 2},
    "lora-adam": {"ranks": (1,)},
    "lora-spectra": {},
    "lora-batches": {"count": 8},
    "attention-routes": {"longest": 16, "deepest": 3, "most": 1e6},
    "attention-state": {"length": 20},
    "attention-influence": {"length": 16, "samples": 2},
    "attention-memory": {"states": (4, 8), "trials": 16},
    "attention-text": {"length": 90},
    "attention-reading": {"sizes": (16,), "constant": (16, 32), "length": 500},
    "distill-landscape": {"points": 5},
    "distill-trajectories": {"steps": 4},
    "distill-phase": {"points": 8},
    "distill-plane": {"steps": 4, "samples": 128},
    "distill-weights": {"points": 7, "sigmas": 2, "steps": 2},
    "distill-iris": {"most": 3, "steps": 2, "samples": 128},
}


def drawn_share(picture: Figure) -> float:
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    return float(np.mean(np.any(np.abs(pixels - pixels[0, 0]) > 5, axis=-1)))


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


def test_every_figure_has_a_small_size():
    assert set(SMALL) == set(FIGURES)


@pytest.mark.parametrize("theme", style.THEMES)
@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_not_blank(name, theme):
    with style.theme(theme):
        picture = FIGURES[name].draw(**SMALL[name])
    assert drawn_share(picture) > 0.01


def test_figures_say_what_to_see():
    for entry in FIGURES.values():
        assert entry.title
        assert 60 < len(entry.caption) < 400


# ---- what the captions claim --------------------------------------------------------------------


def test_orders_of_the_rules():
    found = figures.rule_errors(measure="legs", lengths=(1024, 2048, 4096, 8192))
    for rule in ("forward", "backward", "zoh", "gbt"):
        assert found.slope(rule) == pytest.approx(1.0, abs=0.05)
    assert found.slope("bilinear-split") == pytest.approx(2.0, abs=0.01)
    assert 0.6 < found.slope("bilinear") < 1.0
    assert found.errors["exact"].max() < 8 * 8192 * EPS
    # bilinear: error = step (a + b ln(1/step)): step⁻¹ error grows by the same at each halving.
    grows = np.diff(found.errors["bilinear"] / found.steps)
    assert np.all(grows > 0.0)
    assert grows.max() / grows.min() < 1.2


def test_orders_on_the_fixed_clock():
    found = figures.rule_errors(measure="lagt", lengths=(512, 1024, 2048))
    assert found.slope("forward") == pytest.approx(1.0, abs=0.05)
    assert found.slope("bilinear") == pytest.approx(2.0, abs=0.01)
    assert found.errors["zoh"].max() < 1e3 * 2048 * EPS


def test_decay_is_polynomial_on_the_scaled_clock_and_exponential_on_the_other():
    decay = figures.past_impulse(order=8, oldest=1e5, points=60)
    old = decay.age > 1e4
    slope = np.polyfit(np.log(decay.age[old]), np.log(decay.scaled[old]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.02)
    late = (decay.age > 8.0) & (decay.age < 20.0)
    rate = np.polyfit(decay.age[late], np.log(decay.invariant[late]), 1)[0]
    assert rate == pytest.approx(-1.0, abs=0.02)


def test_left_closure_leaks_a_third():
    found = figures.leak(order=65, samples=500)
    left, average = found.share["left"], found.share["average"]
    assert left[0] == pytest.approx(2 / 3, rel=0.01)
    assert left[1] / left[0] == pytest.approx(1 / 3, rel=0.02)
    assert left[2] / left[1] == pytest.approx(1 / 3, rel=0.02)
    assert average[1] < 0.05
    slow = found.eigenvalues["left"]
    slow = slow[np.abs(slow.imag) < 20.0]
    assert np.allclose(slow.real, -np.log(3.0), rtol=0.01)
    assert found.eigenvalues["average"].real.min() < -4.0


def test_legs_has_no_time_scale():
    found = figures.timescale(order=16, stretches=(1, 2))
    assert found.difference("scaled") < 64 * 528 * EPS
    assert found.difference("invariant") > 0.1


def test_legs_reaches_the_best_and_windows_do_not():
    kept = figures.ecg_orders(orders=(16, 64), length=512)
    assert np.allclose(kept.rmse["legs"], kept.optimal["legs"], rtol=1e-9)
    assert np.all(kept.rmse["legt"] > 1.001 * kept.optimal["legt"])
    assert np.all(np.diff(kept.rmse["legs"]) < 0.0)


def test_error_depends_on_samples_per_coefficient():
    errors = figures.window_errors(orders=(8, 16, 32), windows=(32, 64, 128)).error
    diagonal = np.diag(errors)
    assert diagonal.max() / diagonal.min() < 1.2
    assert np.all(np.diff(errors, axis=0) < 0.0)
    assert np.all(np.diff(errors, axis=1) > 0.0)


# ---- files --------------------------------------------------------------------------------------


def test_draw_writes_whole_deterministic_files(tmp_path: Path):
    steps = []
    for folder in ("a", "b"):
        files = draw(
            ["hippo-matrices"],
            tmp_path / folder,
            progress=lambda done, total, name: steps.append((done, total, name)),
        )
    assert [f.name for f in files] == [
        f"hippo-matrices-{theme}.{kind}" for theme in ("light", "dark") for kind in ("svg", "png")
    ]
    assert steps[:3] == [(0, 2, "hippo-matrices"), (1, 2, "hippo-matrices"), (2, 2, "")]
    for file in files:
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == sorted(
        [*(f.name for f in files), "gallery.json"]
    )
    gallery = json.loads((tmp_path / "b" / "gallery.json").read_text(encoding="utf-8"))
    entry = FIGURES["hippo-matrices"]
    assert gallery == [{"name": entry.name, "title": entry.title, "caption": entry.caption}]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"names": ["moon"]}, "names must be of 'hippo-matrices'"),
        ({"formats": ["gif"]}, "formats must be of 'svg', 'png'; got 'gif'"),
        ({"themes": ["blue"]}, "themes must be of 'light', 'dark'; got 'blue'"),
    ],
)
def test_draw_refuses_unknown_names(tmp_path, arguments, named):
    with pytest.raises(rv.InvalidArgument, match=named):
        draw(out=tmp_path / "none", **arguments)
    assert not (tmp_path / "none").exists()


# ---- plots --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300,), (4, 300), (2, 2, 20_000)])
def test_plot_reconstruction_error(axes, shape):
    u = np.random.default_rng(0).standard_normal(shape)
    result = rv.hippo.reconstruction_error(u, rv.hippo.system("legs", 8))
    assert result.plot(axes) is axes
    assert len(axes.lines) == 2
    assert len(axes.child_axes[-1].lines) == 2
    assert drawn_share(axes.figure) > 0.02
    count = int(np.prod(shape[:-1]))
    assert ("signal 1 of" in axes.get_title(loc="left")) == (count > 1)


def test_plot_refuses_no_signal(axes):
    result = rv.hippo.reconstruction_error(np.ones((1, 9)), rv.hippo.system("legs", 2))
    empty = rv.hippo.ReconstructionError(
        **{**vars(result), "signal": result.signal[:0], "error": result.error[:0]}
    )
    with pytest.raises(rv.InvalidArgument, match="at least one signal"):
        plot.plot_reconstruction_error(empty, axes)


def test_long_lines_keep_their_extremes():
    values = np.random.default_rng(1).standard_normal(100_003)
    times = np.arange(len(values), dtype=float)
    t, v = plot.thinned(times, values)
    assert len(t) == len(v) <= 6000
    assert (v.min(), v.max()) == (values.min(), values.max())
    assert np.all(np.diff(t) >= 0.0)
    assert plot.thinned(times[:50], values[:50])[1] is not None


@pytest.mark.parametrize("measure", ["legs", "legt", "lmu", "lagt", "glagt", "fout", "fous"])
def test_plot_matrix_and_basis(measure):
    system = rv.hippo.system(measure, 7)
    left, right = Figure(layout="constrained").subplots(1, 2)
    assert plot.plot_matrix(system, left).images[0].get_array().shape == (7, 9)
    assert len(plot.plot_basis(system, right, functions=3).lines) == 3
    assert drawn_share(left.figure) > 0.02


def test_plot_basis_of_other_systems(axes):
    plot.plot_basis(rv.hippo.system("legs", 4).invariant(), axes)
    plot.plot_basis(rv.hippo.system("fout", 5, normalization="complex"), axes)
    plot.plot_basis(rv.hippo.derive("chebyshev", "window", 4), axes)
    with pytest.raises(rv.InvalidArgument, match="functions must be at least 1, got 0"):
        plot.plot_basis(rv.hippo.system("legs", 4), axes, functions=0)


def test_plot_coefficients(axes):
    path = rv.hippo.project(np.sin(np.arange(90.0)), rv.hippo.system("legs", 6), every=3)
    plot.plot_coefficients(path, axes, times=3.0 * np.arange(1, 31))
    assert axes.images[0].get_array().shape == (6, 30)
    with pytest.raises(rv.ShapeMismatch, match=r"\(K, N\)"):
        plot.plot_coefficients(path[0], axes)
    with pytest.raises(rv.ShapeMismatch, match="times must have shape"):
        plot.plot_coefficients(path, axes, times=[1.0])


def test_themes_end_with_their_context():
    before = mpl.rcParams["axes.facecolor"]
    with style.theme("dark"):
        assert mpl.rcParams["axes.facecolor"] != before
        assert style.diverging()(0.5)[:3] == pytest.approx(
            (0x14 / 255, 0x18 / 255, 0x1E / 255), abs=0.02
        )
    assert mpl.rcParams["axes.facecolor"] == before
    with (
        pytest.raises(rv.InvalidArgument, match="theme must be one of 'light', 'dark'"),
        style.theme("x"),
    ):
        pass
