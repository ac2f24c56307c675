"""Laws of every probability map, in one suite: what theory says of each is a column of CASES."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hippo_support import assert_within
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv

EPS = np.finfo(float).eps

#: Roundings that a map may make, in eps of what its logits and probabilities are.
ROUNDINGS = 64.0

#: What the quadrature of perturb_max promises.
QUADRATURE = 1e-10


@dataclass(frozen=True)
class Case:
    """A map with parameters, and which laws it obeys."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    shift_invariant: bool = True
    monotone: bool = True
    fenchel_young: bool = False  # or a cross-entropy with the same gradient
    total: float = 1.0
    smoothness: float = 1.0  # a bound of |p(x) − p(y)| over |x − y|; ∞ where there is none

    def __call__(self, x, **common):
        return getattr(rv.probmap, self.name)(x, **self.parameters, **common)

    @property
    def error(self):
        """Absolute error of an entry, beside what the rounding of logits does."""
        return QUADRATURE if self.name == "perturb_max" else ROUNDINGS * EPS

    def __str__(self):
        return "-".join([self.name, *map(str, self.parameters.values())])


CASES = [
    Case("softmax", fenchel_young=True),
    Case("taylor_softmax", {"order": 2}, False, False),
    Case("taylor_softmax", {"order": 6}, False, False),
    Case("sparse_softmax", {"k": 2}, smoothness=np.inf),
    Case("sparse_softmax", {"p": 0.7}, smoothness=np.inf),
    Case("sparsemax", fenchel_young=True),
    Case("entmax", {"alpha": 1.0}, fenchel_young=True),
    Case("entmax", {"alpha": 1.2}, fenchel_young=True),
    Case("entmax", {"alpha": 1.5}, fenchel_young=True),
    Case("entmax", {"alpha": 1.9}, fenchel_young=True),
    Case("entmax", {"alpha": 3.0}, fenchel_young=True, smoothness=np.inf),
    Case("entmax", {"alpha": np.inf}, fenchel_young=True, smoothness=np.inf),
    Case("normmax", {"alpha": 2.0}, fenchel_young=True, smoothness=8.0),
    Case("budget", {"total": 1.6}, fenchel_young=True, total=1.6),
    *(
        Case("perturb_max", {"noise": noise}, smoothness=4.0)
        for noise in rv.probmap.NOISES
        if noise != "student-t"
    ),
    Case("perturb_max", {"noise": "student-t", "df": 3.0}),
    Case("normalize", {"f": "square"}, False, False, smoothness=np.inf),
    Case("normalize", {"f": "relu"}, False, smoothness=np.inf),
    Case("normalize", {"f": "sigmoid"}, False),
    Case("normalize", {"f": "softplus"}, False),
]

every = pytest.mark.parametrize("case", CASES, ids=str)

#: Multiples of 1/64, so that sums and shifts of them are exact; few distinct ones, for ties.
LOGIT = st.integers(-160, 160).map(lambda k: k / 64) | st.integers(-3, 3).map(float)
ROW = st.lists(LOGIT, min_size=2, max_size=7).map(np.array)


def roundings_of(case, x):
    """How much p may vary where logits are rounded."""
    if np.isinf(case.smoothness):
        return case.error
    return case.error + ROUNDINGS * EPS * case.smoothness * (1 + np.abs(x).max())


@every
@given(ROW)
def test_on_the_simplex(case, x):
    p = case(x)
    assert (p >= 0).all()
    assert (p <= 1).all()
    assert abs(p.sum() - case.total) <= 4 * EPS * np.sqrt(len(x)) * case.total


@every
@given(ROW, st.randoms(use_true_random=False))
def test_permutations_go_along(case, x, random):
    order = list(range(len(x)))
    random.shuffle(order)
    assert_within(case(x[order]), case(x)[order], roundings_of(case, x))


@pytest.mark.parametrize("case", [c for c in CASES if c.shift_invariant], ids=str)
@given(ROW, st.integers(-50, 50))
def test_shifts_change_nothing(case, x, shift):
    assert_within(case(x + shift), case(x), roundings_of(case, x))


@pytest.mark.parametrize("case", [c for c in CASES if c.monotone], ids=str)
@given(ROW)
def test_the_order_is_kept(case, x):
    p = case(x)[np.argsort(x, kind="stable")]
    assert (np.diff(p) >= -case.error).all()


@every
@given(ROW, st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_the_temperature_divides(case, x, temperature):
    cooled = case(x, temperature=temperature)
    assert_within(cooled, case(x / temperature), roundings_of(case, x / temperature))


@every
@given(ROW, st.data())
def test_masked_entries_are_as_if_absent(case, x, data):
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x))))
    least = 2  # k of sparse_softmax, and the total of budget
    if keep.sum() < least:
        keep[:least] = True
    p = case(x, mask=keep)
    assert not p[~keep].any()
    assert_within(p[keep], case(x[keep]), roundings_of(case, x))
    assert_within(case(np.where(keep, x, -np.inf)), p, 0.0)


@every
@given(st.lists(LOGIT, min_size=12, max_size=12))
def test_rows_do_not_know_each_other(case, values):
    x = np.array(values).reshape(3, 4)
    p = case(x)
    for row, expected in zip(x, p, strict=True):
        assert_within(case(row), expected, 0.0)
    assert_within(case(x.T, axis=0), p.T, 0.0)


@pytest.mark.parametrize("case", [c for c in CASES if c.fenchel_young], ids=str)
@given(ROW, st.data())
def test_the_gradient_of_the_loss_is_p_minus_y(case, x, data):
    y = case(np.array(data.draw(st.lists(LOGIT, min_size=len(x), max_size=len(x)))))
    slope = rv.probmap.loss_gradient(case.name, x, y, reduction="sum", **case.parameters)
    assert_within(slope, case(x) - y, roundings_of(case, x))
    lost = rv.probmap.loss(case.name, x, y, reduction="sum", **case.parameters)
    assert lost >= 0.0


@every
@given(ROW)
def test_what_one_entry_wins_others_lose(case, x):
    """Columns of the Jacobian add up to 0, by products with 1 and by sums of products."""
    bound_map = getattr(rv.probmap, case.name)(**case.parameters)
    J = rv.probmap.jacobian(bound_map, x)
    if not np.isfinite(J).all():
        return  # at a kink where the slope has no bound
    ones = rv.probmap.vjp(bound_map, x, np.ones(len(x)))
    bound = (1 + np.abs(J).max()) * (case.error + ROUNDINGS * EPS)
    assert_within(J.sum(axis=0), np.zeros(len(x)), bound)
    assert_within(ones, np.zeros(len(x)), bound)
