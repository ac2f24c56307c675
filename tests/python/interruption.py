"""Programs that are interrupted by Ctrl-C while they compute."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

#: A shell starts what runs in the background with Ctrl-C ignored, and children inherit that.
HEED_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def output_after_ctrl_c(script, *, delay=0.0):
    """What a program prints after its first line, Ctrl-C coming `delay` seconds after that."""
    command = [sys.executable, "-c", f"{HEED_CTRL_C}\n{textwrap.dedent(script)}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        run.stdout.readline()
        time.sleep(delay)
        run.send_signal(signal.SIGINT)
        try:
            return run.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            run.kill()
            raise


def printed_by_a_stopped_call(setup, call, *, delay, patience):
    """ "stopped True" for a call on one thread that Ctrl-C ends within `patience` seconds."""
    script = f"""\
import time, numpy as np, resolvent as rv
rv.set_threads(1)
{textwrap.dedent(setup).strip()}
print("started", flush=True)
begun = time.perf_counter()
try:
    {call}
    print("finished", flush=True)
except KeyboardInterrupt:
    print("stopped", time.perf_counter() - begun < {delay + patience}, flush=True)
"""
    return output_after_ctrl_c(script, delay=delay)
