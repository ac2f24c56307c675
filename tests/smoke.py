"""A short test of an installed package: the right build is loaded, and it computes.

Prints a digest of results that have the same bits on every instruction set.
"""

from __future__ import annotations

import hashlib
import os
import sys

import numpy as np

import resolvent as rv
from resolvent import _loader

EPS = np.finfo(float).eps


def main() -> None:
    """Fails by an exception."""
    wanted = os.environ.get("RESOLVENT_ISA", "") or _loader.available[0]
    assert _loader.level == wanted, f"{_loader.level} is loaded, not {wanted}"

    order, length = 32, 2000
    u = np.random.default_rng(1).standard_normal((3, length))
    digest = hashlib.sha256()
    for measure in ("legs", "legt", "lagt", "fout"):
        system = rv.hippo.system(measure, order, window=length)
        coefficients = rv.hippo.project(u, system)
        assert coefficients.shape == (3, order)
        assert np.all(np.isfinite(coefficients))
        digest.update(coefficients.tobytes())

    points = 1j * np.linspace(0.0, 9.0, 101)
    poles = -0.5 + 1j * np.linspace(0.1, 7.3, order)
    sums = rv.ssm.cauchy(np.linspace(1.0, 2.0, order), points, poles, conjugate=True)
    digest.update(sums.tobytes())
    digest.update(rv.ssm.scan(np.linspace(0.0, 1.0, length), u).tobytes())

    for kind in (np.float32, np.float64):
        for n in (10, length):
            logits = (2.0 * np.random.default_rng(2).standard_normal((70, n))).astype(kind)
            for alpha in (1.0, 1.2, 1.5, 2.0, 3.0):
                p = rv.probmap.entmax(logits, alpha)
                digest.update(p.tobytes())
                digest.update(rv.probmap.vjp("entmax", logits, logits, p=p, alpha=alpha).tobytes())

    rng = np.random.default_rng(3)
    x, W = rng.standard_normal((300, 40)), rng.standard_normal((40, 17))
    problem = rv.lora.Problem(x, np.arange(300) % 17, [W])
    digest.update(problem.gradients().weights[0].tobytes())

    for kind in (np.float32, np.float64):
        q, k, v = rng.standard_normal((3, 2, 200, 20)).astype(kind)
        steps, linear = np.abs(v), rv.attention.linear
        digest.update(rv.attention.causal(q, k, v).tobytes())
        digest.update(linear.retnet(q, k, v, 0.9).tobytes())
        digest.update(linear.mamba(v, steps, -np.ones((20, 8)), q[..., :8], k[..., :8]).tobytes())
        digest.update(linear.rwkv(np.ones(20), np.zeros(20), k, v).tobytes())
        mixture = rv.distill.GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 2.0]], [np.eye(2)] * 2)
        digest.update(mixture.score(q[..., :2]).tobytes())

    # The exact rule needs no time stepping's error bars: it is the best approximation itself.
    system = rv.hippo.system("legs", order)
    best = rv.hippo.optimal(u, system)
    error = np.max(np.abs(rv.hippo.project(u, system, rule="exact") - best))
    assert error <= 1000 * order * EPS * np.max(np.abs(u)), error

    print(f"{digest.hexdigest()[:16]} {_loader.level} of {', '.join(_loader.available)}")


if __name__ == "__main__":
    sys.exit(main())
