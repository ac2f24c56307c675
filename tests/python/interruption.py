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
