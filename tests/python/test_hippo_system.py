"""Systems: matrices, O(N) products and solves, bases, normalisations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hippo_support import (
    CASES,
    DEFAULT_CASES,
    ENTRY,
    EPS,
    ORDERS,
    SOLVE,
    SUM,
    Case,
    assert_bits,
    assert_within,
    case_orders,
    poles,
    signal,
)

import resolvent as rv
from oracles import exact
from oracles import hippo as oracle

# Large ones too: (I - lam A)^-1 is the resolvent at 1/lam, wanted near frequency 0.
LAMBDAS = (0.0, 0.03, 2.5, 0.2 + 0.9j, -3j, 40.0 - 1e-3j, 1e5, 1e5j)


@pytest.mark.parametrize(("case", "order"), case_orders())
@pytest.mark.parametrize("window", [1.0, 0.7])
def test_matrices_have_the_closed_form(case, order, window):
    system = case.system(order, window)
    a, b = case.matrices(order, window)
    assert system.A.shape == (order, order)
    assert system.B.shape == (order,)
    assert_within(system.A, a, ENTRY * EPS * np.abs(a).max(), "A")
    assert_within(system.B, b, ENTRY * EPS * np.abs(b).max(), "B")
    assert np.iscomplexobj(system.A) == (case.normalization == "complex")


@pytest.mark.parametrize("order", [1, 2, 8, 32])
@pytest.mark.parametrize("case", [c for c in CASES if c.measure in ("legs", "legt")], ids=str)
def test_legendre_matrices_agree_with_exact_rational_integrals(case, order):
    """The second route: the general construction in exact fractions, rounded once."""
    build = getattr(exact, case.measure)
    a, b = (exact.to_float(m) for m in build(order, case.normalization))
    system = case.system(order)
    assert_within(system.A, a, ENTRY * EPS * np.abs(a), "A")
    assert_within(system.B, b, ENTRY * EPS * np.abs(b), "B")


def test_lmu_is_a_measure_and_a_normalization():
    by_measure = rv.hippo.system("lmu", 6, window=2.0)
    by_name = rv.hippo.system("legt", 6, window=2.0, normalization="lmu")
    assert by_measure.measure == "lmu"
    assert_bits(by_measure.A, by_name.A)
    assert_bits(by_measure.B, by_name.B)


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
def test_attributes(case):
    system = case.system(5, window=3.0)
    assert system.measure == case.measure
    assert system.order == 5
    assert system.normalization == case.normalization
    assert system.clock == case.clock
    assert system.window == 3.0


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
def test_system_is_frozen_and_its_matrices_are_cached_and_read_only(case):
    system = case.system(4)
    assert system.A is system.A
    for array in (system.A, system.B):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    with pytest.raises(AttributeError):
        system.order = 5


def test_default_normalization_is_probability():
    for measure, names in oracle.NORMALIZATIONS.items():
        extra = {"poles": poles(4)} if measure == "malmquist" else {}
        assert rv.hippo.system(measure, 4, **extra).normalization == names[0]


def test_scaled_clock_has_no_window():
    for measure in ("legs", "fous"):
        one, other = (rv.hippo.system(measure, 7, window=w) for w in (1.0, 5.0))
        assert_bits(one.A, other.A)
        assert_bits(one.B, other.B)


@pytest.mark.parametrize("measure", ["legs", "fous"])
def test_invariant_reads_the_matrices_at_a_fixed_time_unit(measure):
    system = rv.hippo.system(measure, 7, window=4.0)
    invariant = system.invariant()
    assert invariant.clock == "invariant"
    assert invariant.window == 4.0
    assert_within(invariant.A, system.A / 4.0, ENTRY * EPS * np.abs(system.A))
    assert_within(invariant.B, system.B / 4.0, ENTRY * EPS * np.abs(system.B))


@pytest.mark.parametrize("order", [10**6])
def test_a_large_system_costs_nothing_until_its_matrix_is_asked_for(order):
    """A dense matrix of this order would need 8 TB."""
    system = rv.hippo.system("legs", order)
    x = np.zeros(order)
    x[0] = 1.0  # the constant signal is stationary: A e_0 = -B
    assert_within(system.apply(x), -system.B, ENTRY * EPS * np.abs(system.B))
    assert str(order) in repr(system)


@pytest.mark.parametrize(("case", "order"), case_orders())
@pytest.mark.parametrize("batch", [(), (3,), (2, 4)], ids=str)
def test_apply_is_the_dense_product(case, order, batch):
    system = case.system(order, window=0.7)
    a, _ = case.matrices(order, window=0.7)
    x = signal((*batch, order))
    bound = (SUM * order + ENTRY) * EPS * (np.abs(x) @ np.abs(a).T)
    assert_within(system.apply(x), x @ a.T, bound)


def _solve_parameters():
    for order in ORDERS:
        # I - lam A is well-conditioned for negative lam at small orders only
        for lam in (*LAMBDAS, -0.011, -0.37) if order <= 5 else LAMBDAS:
            for case in CASES:
                if order in case.orders():
                    yield pytest.param(case, order, lam, id=f"{case}-{order}-{lam}")


@pytest.mark.parametrize(("case", "order", "lam"), list(_solve_parameters()))
def test_solve_is_the_dense_solution(case, order, lam):
    system = case.system(order, window=0.7)
    a, _ = case.matrices(order, window=0.7)
    v = signal((3, order))
    matrix = np.eye(order) - lam * a
    condition = np.linalg.cond(matrix)
    assert condition < 1e9, f"condition {condition:.1e}: the comparison would say nothing"
    expected = np.linalg.solve(matrix, v.T).T
    z = system.solve(lam, v)
    bound = SOLVE * (order + 1) * EPS * condition
    assert_within(z, expected, bound * np.linalg.norm(expected, axis=-1, keepdims=True))


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
@pytest.mark.parametrize("lam", [0.5, 0.2 + 0.9j])
def test_solve_inverts_apply_at_large_order(case, lam):
    """z - lam A z = v to a small residual, where the dense solver would take minutes."""
    order = 3000
    if case.measure in ("glagt", "fous"):
        order = 300  # no O(N) form is promised
    system = case.system(order)
    v = signal((order,))
    z = system.solve(lam, v)
    az = system.apply(z)
    scale = np.linalg.norm(z) + abs(lam) * np.linalg.norm(az) + np.linalg.norm(v)
    # b^T x of norm up to r_N |x| enters and leaves again: the growth of the O(N) sums
    growth = np.linalg.norm(system.B) * np.abs(system.B).max() + order
    assert np.linalg.norm(z - lam * az - v) <= SUM * growth * EPS * scale


@pytest.mark.parametrize("case", CASES, ids=str)
def test_solve_with_zero_gives_the_vector_back(case):
    v = signal((3, 5))
    assert_within(case.system(5).solve(0.0, v), v, ENTRY * EPS * np.abs(v))


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=str)
def test_apply_and_solve_keep_single_precision_and_accept_integers(case):
    system = case.system(6)
    x = np.arange(6)
    for function in (system.apply, lambda v: system.solve(0.3, v)):
        assert function(x).dtype == np.float64
        assert_bits(function(x), function(x.astype(float)))
        single = function(x.astype(np.float32))
        assert single.dtype == np.float32
    strided = np.zeros((6, 4))
    strided[:, 1] = x
    assert_bits(system.apply(strided[:, 1]), system.apply(x.astype(float)))
    assert system.apply(np.zeros((0, 6))).shape == (0, 6)


# ---------------------------------------------------------------------------------------------
# Bases.


def _quadrature(clock):
    """Nodes and weights on the reference interval; a graded rule where it is a half-line."""
    if clock != "invariant":
        return oracle.gauss_legendre(120, 0, 1)
    y, w = oracle.gauss_legendre(600, 0, 400.0**0.1)
    return y**10, 10 * y**9 * w


@pytest.mark.parametrize(("case", "order"), case_orders(orders=(1, 2, 3, 5, 8)))
def test_basis_is_dual_to_what_the_coefficients_measure(case, order):
    """int analysis_m basis_n = delta_mn: whatever the normalisation, sum c_n basis_n is u."""
    s, w = _quadrature(case.clock)
    keywords = case.function_keywords(order)
    analysis, synthesis = oracle.functions(case.measure, order, s, **keywords)
    basis = case.system(order).basis(s)
    assert basis.shape == (order, len(s))
    gram = (analysis * w) @ basis.T
    size = (np.abs(analysis) * w) @ np.abs(basis).T
    assert_within(gram, np.eye(order), SUM * len(s) * EPS * size, "biorthogonality")
    assert_within(basis, synthesis, ENTRY * order * EPS * np.abs(synthesis).max(), "basis")


ORTHONORMAL = [
    Case("legs", "probability"),
    Case("legt", "probability"),
    Case("lagt", "probability"),
    Case("fout", "probability"),
    Case("fous", "probability"),
    Case("malmquist", "probability"),
    Case("fout", "complex"),
]


@pytest.mark.parametrize(("case", "order"), case_orders(ORTHONORMAL, (1, 2, 3, 5, 8)))
def test_default_bases_are_orthonormal(case, order):
    s, w = _quadrature(case.clock)
    basis = case.system(order).basis(s)
    gram = (basis.conj() * w) @ basis.T
    size = (np.abs(basis) * w) @ np.abs(basis).T
    assert_within(gram, np.eye(order), SUM * len(s) * EPS * size)


@pytest.mark.parametrize("order", [1, 2, 5, 33])
def test_basis_values_at_the_ends(order):
    n = np.arange(order)
    legs = rv.hippo.system("legs", order).basis([0.0, 1.0])
    root = np.sqrt(2 * n + 1)
    bound = ENTRY * order * EPS * root
    assert_within(legs[:, 0], (-1.0) ** n * root, bound)
    assert_within(legs[:, 1], root, bound)
    lmu = rv.hippo.system("lmu", order).basis([0.0, 1.0])
    assert_within(lmu[:, 0], np.ones(order), ENTRY * order * EPS)
    assert_within(lmu[:, 1], (-1.0) ** n, ENTRY * order * EPS)
    lagt = rv.hippo.system("lagt", order).basis([0.0])
    assert_within(lagt[:, 0], np.ones(order), ENTRY * order * EPS)


def test_basis_of_invariant_legs_is_a_function_of_the_exponential_of_the_lag():
    system = rv.hippo.system("legs", 6, window=2.0)
    s = np.exp(-np.linspace(0, 5, 9))
    bound = ENTRY * 6 * EPS * np.sqrt(11)
    assert_within(system.invariant().basis(s), system.basis(s), bound)


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8, 33])
def test_impulse_responses_have_their_closed_form(order):
    """e^{tA} B of the library's matrices is the function that the system remembers u with."""
    t = np.array([0.0, 0.1, 0.7, 2.0, 5.0])
    p = poles(order)
    pairs = [
        (rv.hippo.system("legs", order), oracle.legs_impulse(order, t)),
        (rv.hippo.system("lagt", order), oracle.lagt_impulse(order, t)),
        (
            rv.hippo.system("glagt", order, normalization="laguerre", alpha=0.4, beta=0.2),
            oracle.glagt_impulse(order, t, 0.4, 0.2),
        ),
        (rv.hippo.system("malmquist", order, poles=p), oracle.malmquist_impulse(p, t)),
    ]
    for system, expected in pairs:
        norm = np.linalg.norm(system.A, 2)
        for i, time in enumerate(t):
            response = scipy.linalg.expm(time * system.A) @ system.B
            bound = SUM * (order + 4) * EPS * (1 + norm * time) * np.abs(system.B).max()
            assert_within(response, expected[:, i], bound, system.measure)


@pytest.mark.parametrize("order", [1, 3, 5, 33])
@pytest.mark.parametrize("measure", ["fout", "fous"])
def test_complex_and_real_fourier_bases_are_unitarily_equivalent(measure, order):
    t = oracle.fourier_real_to_complex(order)
    real = rv.hippo.system(measure, order)
    cplx = rv.hippo.system(measure, order, normalization="complex")
    bound = SUM * order * EPS * np.abs(real.A).max()
    assert_within(cplx.A, t @ real.A @ t.conj().T, bound)
    assert_within(cplx.B, t @ real.B, bound)


@pytest.mark.parametrize("order", [1, 2, 5, 33])
def test_malmquist_holds_lagt_and_legs(order):
    lagt = rv.hippo.system("lagt", order)
    equal = rv.hippo.system("malmquist", order, poles=np.full(order, 0.5))
    assert_within(equal.A, lagt.A, ENTRY * EPS)
    assert_within(equal.B, lagt.B, ENTRY * EPS)
    legs = rv.hippo.system("legs", order)
    ladder = rv.hippo.system("malmquist", order, poles=np.arange(order) + 0.5)
    bound = ENTRY * EPS * 2 * order
    assert_within(ladder.A - 0.5 * np.eye(order), legs.A, bound)
    assert_within(ladder.B, legs.B, bound)


# ---------------------------------------------------------------------------------------------
# Normalisations.


def _pairs():
    for measure, names in oracle.NORMALIZATIONS.items():
        for source in names:
            for target in names:
                for order in (1, 2, 3, 7):
                    even_complex = "complex" in (source, target) and order % 2 == 0
                    if source != target and not even_complex:
                        name = f"{measure}-{source}-{target}-{order}"
                        yield pytest.param(measure, source, target, order, id=name)


def _scale(measure, normalization, order, **options):
    """Coefficients in a normalisation from those in the first one: a matrix, from the bases."""
    s, w = _quadrature(oracle.CLOCK[measure])
    analysis, _ = oracle.functions(measure, order, s, normalization=normalization, **options)
    _, synthesis = oracle.functions(measure, order, s, **options)
    return (analysis * w) @ synthesis.T


@pytest.mark.parametrize(("measure", "source", "target", "order"), list(_pairs()))
def test_to_and_convert_are_the_change_of_basis(measure, source, target, order):
    options = {"poles": poles(order)} if measure == "malmquist" else {}
    start = rv.hippo.system(measure, order, normalization=source, window=0.7, **options)
    end = start.to(target)
    assert end.normalization == target
    assert (end.measure, end.order, end.window, end.clock) == (
        start.measure,
        start.order,
        start.window,
        start.clock,
    )
    a, b = oracle.matrices(measure, order, normalization=target, window=0.7, **options)
    assert_within(end.A, a, ENTRY * EPS * np.abs(a).max())
    assert_within(end.B, b, ENTRY * EPS * np.abs(b).max())

    # coefficients of one real signal in both normalisations, from the bases by quadrature
    x = signal((4, order))
    to_source, to_target = (_scale(measure, m, order, **options) for m in (source, target))
    c, expected = x @ to_source.T, x @ to_target.T
    bound = SUM * 600 * EPS * np.abs(to_target).sum() * np.abs(x).max()
    bound = bound * np.linalg.cond(to_source)
    converted = rv.hippo.convert(c, start, target)
    assert_within(converted, expected, bound)
    assert_bits(rv.hippo.convert(c, start, end), converted)
    back = rv.hippo.convert(converted, end, source)
    assert_within(back, c, ENTRY * order * EPS * np.abs(c).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_to_its_own_normalization_changes_nothing(case):
    system = case.system(5)
    assert_bits(system.to(case.normalization).A, system.A)
    c = signal((2, 5)).astype(system.A.dtype)
    assert_bits(rv.hippo.convert(c, system, case.normalization), c)


@pytest.mark.parametrize("closure", ["left", "average"])
def test_conversion_keeps_the_closure(closure):
    system = rv.hippo.system("fout", 5, closure=closure)
    assert system.to("complex").closure == closure
    a, _ = oracle.fout(5, "complex", closure)
    assert_within(system.to("complex").A, a, ENTRY * EPS * np.abs(a).max())


@pytest.mark.parametrize("order", ORDERS)
def test_similar_systems_have_the_same_transfer_function(order):
    """Matrices are not invariants; C (sI - A)^-1 B with the same read-out is."""
    s = np.array([0.4, 1.0 + 2.0j, -0.3j + 0.1])
    reference = rv.hippo.system("legt", order, window=0.7)
    lags = [0.2, 0.9]
    for name in oracle.NORMALIZATIONS["legt"]:
        system = reference.to(name)
        for value in s:
            responses, bound = [], 0.0
            for one in (system, reference):
                matrix = value * np.eye(order) - one.A
                readout = one.basis(lags).T
                state = np.linalg.solve(matrix, one.B)
                responses.append(readout @ state)
                size = np.linalg.norm(readout, axis=1).max() * np.linalg.norm(state)
                bound += SOLVE * (order + 1) * EPS * np.linalg.cond(matrix) * size
            assert_within(*responses, bound, name)


# ---------------------------------------------------------------------------------------------
# What the closures do (MATH: the leak of kappa = 1).


@pytest.mark.parametrize("half", [32, 128])
def test_slowest_low_frequency_mode_of_the_left_closure_loses_two_thirds_per_window(half):
    """kappa = 1: Re -> -ln 3, error O(1/M); a third of each window leaks into the next."""
    eigenvalues = np.linalg.eigvals(rv.hippo.system("fout", 2 * half + 1, closure="left").A)
    lowest = eigenvalues[np.argsort(np.abs(eigenvalues))[:3]]
    assert np.all(np.abs(lowest.real + np.log(3)) < 1 / half)


def test_low_frequency_modes_of_the_average_closure_run_off():
    """kappa = 2: the real part falls with log M; measured slope between 3/4 and 1."""
    sizes = np.array([8, 32, 128])
    lowest = []
    for half in sizes:
        values = np.linalg.eigvals(rv.hippo.system("fout", 2 * half + 1).A)
        lowest.append(values[np.argmin(np.abs(values.imag))].real)
    slopes = np.diff(lowest) / np.diff(np.log(sizes))
    assert np.all(slopes < -0.75)
    assert np.all(slopes > -1.0)


@pytest.mark.parametrize("order", [2, 4, 16])
@pytest.mark.parametrize("closure", ["left", "average"])
def test_even_orders_of_the_real_fourier_basis_hold_one_idle_coefficient(order, closure):
    """The last cosine has no sine to turn into: y = sqrt(2) x_0 - x_last is neither driven nor
    read (eigenvalue 0), so from zero history x_last = sqrt(2) x_0. Odd orders have no such mode.
    """
    system = rv.hippo.system("fout", order, closure=closure)
    idle = np.zeros(order)
    idle[[0, -1]] = np.sqrt(2), -1.0
    bound = ENTRY * order * EPS * np.abs(system.A).max()
    assert_within(idle @ system.A, np.zeros(order), bound)
    assert_within(idle @ system.B, 0.0, bound)
    x = rv.hippo.project(signal((200,)), system, step=0.02)
    assert_within(x[-1], np.sqrt(2) * x[0], SUM * 200 * order * EPS * np.abs(x).max())
    odd = np.linalg.eigvals(rv.hippo.system("fout", order + 1, closure=closure).A)
    assert np.abs(odd).min() > 0.5


def test_repr_is_short_and_names_the_system():
    text = repr(rv.hippo.system("legt", 64, window=2.5))
    assert "legt" in text
    assert "64" in text
    assert "2.5" in text
    assert len(text) < 200
