"""Processes, threads, overlapping memory and other circumstances of real use."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading

import numpy as np
import pytest
from interruption import output_after_ctrl_c

import resolvent as rv

BATCH = (64, 400)


def batch(seed=0):
    return np.random.default_rng(seed).standard_normal(BATCH)


def _project_in_child(queue):
    queue.put(rv.hippo.project(batch(), rv.hippo.system("legs", 64)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_works_on(restore_threads):
    """OpenMP's threads do not survive a fork; the child must not wait for them."""
    rv.set_threads(2)
    expected = rv.hippo.project(batch(), rv.hippo.system("legs", 64))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_project_in_child, args=(queue,))
    child.start()
    result = queue.get(timeout=60)
    child.join()
    np.testing.assert_array_equal(result, expected)


def test_threads_that_share_a_memory_take_turns():
    """Ones all the time: every order of the calls ends in the same state."""
    for _ in range(20):
        memory = rv.hippo.Memory(rv.hippo.system("legs", 32), rule="bilinear-split", channels=(4,))
        ones = np.ones((4, 50))
        workers = [
            threading.Thread(target=lambda m=memory, u=ones: [m.update(u) for _ in range(8)])
            for _ in range(3)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert memory.time == 3 * 8 * 50
        expected = np.zeros((4, 32))
        expected[:, 0] = 1.0
        error = np.abs(memory.coefficients - expected).max()
        assert error <= 8 * np.finfo(float).eps * memory.time


def test_out_that_overlaps_the_input_is_refused():
    buffer = np.zeros(32 * 64)
    u, out = buffer[: 32 * 40].reshape(32, 40), buffer.reshape(32, 64)
    with pytest.raises(rv.InvalidArgument, match="out must not share memory with u"):
        rv.hippo.project(u, rv.hippo.system("legs", 64), out=out)


def test_a_masked_entry_is_refused():
    u = np.ma.array([1.0, 999.0, 3.0], mask=[0, 1, 0])
    with pytest.raises(rv.DtypeError, match="u must not have masked entries"):
        rv.hippo.project(u, rv.hippo.system("legs", 2))
    unmasked = np.ma.array([1.0, 2.0])
    assert rv.hippo.project(unmasked, rv.hippo.system("legs", 2)).shape == (2,)


def test_misaligned_samples_are_copied():
    raw = bytes(1) + np.arange(9.0).tobytes()
    u = np.frombuffer(raw, dtype=np.float64, offset=1)
    assert not u.flags.aligned
    system = rv.hippo.system("legt", 4, window=5.0)
    np.testing.assert_array_equal(
        rv.hippo.project(u, system), rv.hippo.project(np.arange(9.0), system)
    )


def test_a_sample_too_large_for_float32_is_refused():
    memory = rv.hippo.Memory(rv.hippo.system("legs", 2), dtype=np.float32)
    with pytest.raises(rv.InvalidArgument, match="u must be finite"):
        memory.update(1e300)
    assert memory.time == 0.0


@pytest.mark.parametrize("lam", [np.array(0.5j), np.complex64(0.5j), 0.5j])
def test_every_kind_of_complex_lam_is_complex(lam):
    s = rv.hippo.system("legs", 3)
    z = s.solve(lam, np.ones(3))
    assert np.abs(z - 0.5j * (s.A @ z) - 1.0).max() <= 32 * np.finfo(float).eps


@pytest.mark.parametrize("lam", ["1", None, [1.0]])
def test_a_lam_that_is_no_number_is_refused(lam):
    with pytest.raises(rv.DtypeError, match="lam must be a number"):
        rv.hippo.system("legs", 3).solve(lam, np.ones(3))


@pytest.mark.parametrize("count", ["2", 2.0, None])
def test_a_thread_count_that_is_no_integer_is_refused(count):
    with pytest.raises(rv.DtypeError, match="threads must be an integer"):
        rv.set_threads(count)


def test_bilinear_warns_of_a_large_irregular_step_on_the_scaled_clock():
    times = [0.001, 1.0, 2.0, 3.0]
    system = rv.hippo.system("legs", 8)
    with pytest.warns(rv.StabilityWarning, match="bilinear-split") as record:
        rv.hippo.project(np.ones(4), system, times=times)
    assert record[0].message.growth == pytest.approx(1000.0)
    settled = rv.hippo.project(np.ones(4), system, times=times, rule="bilinear-split")
    assert abs(settled[0] - 1.0) <= 1e3 * np.finfo(float).eps  # the step's ratio times rounding


def test_a_stream_warns_when_its_steps_become_unstable():
    memory = rv.hippo.Memory(rv.hippo.system("legt", 8), rule="forward", step=1e-3)
    with pytest.warns(rv.StabilityWarning) as record:
        memory.update(np.ones(4), times=[0.5, 1.0, 1.5, 2.0])
    assert record[0].filename == __file__


@pytest.mark.parametrize("now", [np.inf, np.nan, 0.0])
def test_reconstruct_needs_a_proper_now(now):
    with pytest.raises(rv.InvalidArgument, match="now must be finite"):
        rv.hippo.reconstruct(np.ones(3), rv.hippo.system("legs", 3), [0.0], now)


def test_error_measures_of_degenerate_signals():
    u = np.concatenate([np.ones(60), np.zeros(40)])
    system = rv.hippo.system("legt", 3, window=20.0)
    silent = rv.hippo.reconstruction_error(u, system)
    assert silent.rmse > 0.0
    assert silent.snr_db == -np.inf
    empty = rv.hippo.system("legt", 3, window=0.4)
    with pytest.warns(rv.ResolutionWarning), pytest.raises(rv.InvalidArgument, match="window"):
        rv.hippo.reconstruction_error(u, empty)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT as POSIX has it")
def test_ctrl_c_stops_a_long_projection_and_keeps_the_memory():
    script = """
        import numpy as np, resolvent as rv
        memory = rv.hippo.Memory(rv.hippo.system("legs", 400), rule="exact", channels=(32,))
        memory.update(np.ones((32, 3)))
        before = memory.coefficients
        print("started", flush=True)
        try:
            memory.update(np.ones((32, 1_000_000)))
        except KeyboardInterrupt:
            assert memory.time == 3.0
            assert (memory.coefficients == before).all()
            print("stopped", flush=True)
    """
    assert output_after_ctrl_c(script) == "stopped\n"
