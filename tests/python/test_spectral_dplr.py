"""Diagonal plus low rank: similarity to A, read-outs, conjugate pairs, transfer functions."""

from __future__ import annotations

import numpy as np
import pytest
from hippo_support import (
    CASES,
    ENTRY,
    EPS,
    SOLVE,
    SUM,
    Case,
    assert_bits,
    assert_within,
    signal,
)
from hypothesis import given
from hypothesis import strategies as st

import resolvent as rv
from oracles import spectral as oracle

# The promise: A is rebuilt to RECONSTRUCTION N eps ||A||_2.
RECONSTRUCTION = 50
# A dense Hermitian solver moves eigenvalues by a few N eps times the norm.
DENSE = 16

SUPPORTED = tuple(case for case in CASES if case.measure != "fous")
REAL = tuple(case for case in SUPPORTED if case.normalization != "complex")
UNITARY = ("probability", "lebesgue")
RANK = {"legt": 2, "lmu": 2}
WINDOW = 0.3
ORDERS = (1, 2, 3, 7, 8, 33)


def options_of(case, order):
    keywords = case.keywords(order)
    keywords.pop("normalization")
    return keywords


def system_of(case, order, window=1.0):
    """The library's system on a clock where its window counts."""
    system = case.system(order, window)
    return system.invariant() if system.clock == "scaled" else system


def form_of(case, order, window=1.0):
    """The splitting A = T (shift + K - G G^T) T^-1 written out."""
    return oracle.normal_form(
        case.measure, order, case.normalization, window=window, **options_of(case, order)
    )


def pairs(cases=SUPPORTED, orders=ORDERS):
    return [pytest.param(c, n, id=f"{c}-{n}") for c in cases for n in c.orders(orders)]


def norm(matrix):
    return np.linalg.norm(matrix, 2)


def is_even_fourier(case, order):
    """The last cosine stands alone: 0 is an eigenvalue twice."""
    return case.measure == "fout" and order % 2 == 0


# ---------------------------------------------------------------------------------------------
# A = V (diag - P Q*) V^-1.


@pytest.mark.parametrize("window", [1.0, 0.3])
@pytest.mark.parametrize(("case", "order"), pairs())
def test_the_system_is_rebuilt(case, order, window):
    """to_dense, and V (diag - P Q*) V^-1 by hand."""
    system = system_of(case, order, window)
    form = rv.spectral.dplr(system)
    a = form_of(case, order, window).A
    dense = form.to_dense()
    assert dense.dtype == system.A.dtype
    assert norm(dense - a) <= RECONSTRUCTION * order * EPS * norm(a)

    v = form.eigenvectors()
    normal = np.diag(form.eigenvalues) - form.P @ form.Q.conj().T
    rebuilt = v @ normal @ np.linalg.inv(v)
    condition = np.linalg.cond(v)
    assert norm(rebuilt - a) <= RECONSTRUCTION * order * EPS * norm(a) * condition
    assert_within(form.to_dense("normal"), normal, SUM * EPS * norm(normal))
    b = v @ form.B
    assert np.linalg.norm(b - system.B) <= RECONSTRUCTION * order * EPS * np.linalg.norm(system.B)


@pytest.mark.parametrize(("case", "order"), pairs())
def test_shapes_types_and_order(case, order):
    form = rv.spectral.dplr(case.system(order))
    rank = RANK.get(case.measure, 1)
    assert form.eigenvalues.shape == form.B.shape == form.multiplicity.shape == (order,)
    assert form.P.shape == form.Q.shape == (order, rank)
    assert form.eigenvectors().shape == (order, order)
    for array in (form.eigenvalues, form.P, form.Q, form.B, form.eigenvectors()):
        assert array.dtype == np.complex128
    assert_bits(form.P, form.Q)
    assert (np.diff(form.eigenvalues.imag) <= 0).all()
    assert (form.multiplicity == 1).all()
    assert (form.half, form.order) == (False, order)


@pytest.mark.parametrize(("case", "order"), pairs())
def test_spectrum_and_low_rank_part_against_a_dense_hermitian_solver(case, order):
    """Eigenvalues; traces of P* f(N) P and b* f(N) b, which do not depend on phases."""
    exact = form_of(case, order, WINDOW)
    form = rv.spectral.dplr(system_of(case, order, WINDOW))
    mu, q = exact.spectrum()
    size = norm(exact.K) + norm(exact.G) ** 2
    bound = DENSE * order * EPS * size
    assert_within(form.eigenvalues, exact.shift + 1j * mu, bound)

    z = 0.3 + size * (1 + 0.5j)  # well away from the spectrum
    dense = q / (z - exact.shift - 1j * mu) @ q.conj().T
    left = np.column_stack([exact.G, exact.B_o])
    found = np.column_stack([form.P, form.B])
    expected = left.conj().T @ dense @ left
    inside = found.conj().T / (z - form.eigenvalues) @ found
    tolerance = RECONSTRUCTION * order * EPS * (norm(left) ** 2) / abs(z)
    rank = exact.G.shape[1]
    # P is G up to a unitary matrix on the right: the trace and the entry of B are invariant
    assert abs(np.trace(expected[:rank, :rank]) - np.trace(inside[:rank, :rank])) <= tolerance
    assert abs(expected[rank, rank] - inside[rank, rank]) <= tolerance
    assert_within(
        np.linalg.svd(found.conj().T @ found)[1],
        np.linalg.svd(left.T @ left)[1],
        RECONSTRUCTION * order * EPS * norm(left) ** 2,
    )


@pytest.mark.parametrize("order", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist"])
def test_cascades_are_the_normal_spectrum_with_positive_b(measure, order):
    system = system_of(Case(measure, "probability"), order, WINDOW)
    spectrum = rv.spectral.normal_spectrum(system)
    form = rv.spectral.dplr(system)
    assert_bits(form.eigenvalues, spectrum.eigenvalues)
    assert (form.B.imag == 0).all()
    assert (form.B.real > 0).all()
    assert_within(form.B, np.sqrt(spectrum.weights), ENTRY * EPS * np.abs(form.B))
    # B = b/w, P P* = b b*/(2w): P = B sqrt(w/2)
    assert_within(form.P[:, 0], form.B * np.sqrt(WINDOW / 2), ENTRY * EPS * np.abs(form.P[:, 0]))


@pytest.mark.parametrize(("case", "order"), pairs())
def test_eigenvectors_are_unitary_where_the_basis_is_orthonormal(case, order):
    v = rv.spectral.dplr(case.system(order)).eigenvectors()
    if case.normalization in (*UNITARY, "complex") and case.measure != "glagt":
        gram = v.conj().T @ v
        assert_within(gram, np.eye(order), RECONSTRUCTION * order * EPS)
    else:  # T^-1 V is, T the change from the orthonormal coordinates
        inside = np.linalg.solve(form_of(case, order).T, v)
        assert_within(inside.conj().T @ inside, np.eye(order), RECONSTRUCTION * order * EPS)


@pytest.mark.parametrize("order", [200, 201])
@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist", "legt", "fout"])
def test_larger_orders(measure, order):
    system = system_of(Case(measure, "probability"), order)
    form = rv.spectral.dplr(system)
    v = form.eigenvectors()
    assert_within(v.conj().T @ v, np.eye(order), RECONSTRUCTION * order * EPS)
    size = norm(system.A)
    assert norm(form.to_dense() - system.A) <= RECONSTRUCTION * order * EPS * size
    b = v.conj().T @ system.B
    assert np.linalg.norm(b - form.B) <= RECONSTRUCTION * order * EPS * np.linalg.norm(b)


def test_eigenvectors_keep_their_accuracy_at_order_two_thousand():
    """Unitary columns, sampled: products of thousands of unimodular factors."""
    for measure in ("legs", "lagt"):
        system = rv.hippo.system(measure, 2000)
        form = rv.spectral.dplr(system)
        v = form.eigenvectors()
        some = v[:, [0, 1, 500, 999, 1000, 1999]]
        assert_within(np.abs(v.conj().T @ some).max(axis=0), np.ones(6), SUM * 2000 * EPS)
        assert_within(some.conj().T @ some, np.eye(6), SUM * 2000 * EPS)
        product = v.conj().T @ system.B
        assert_within(product, form.B, SUM * 2000 * EPS * np.linalg.norm(form.B))


# ---------------------------------------------------------------------------------------------
# Conjugate pairs.


@pytest.mark.parametrize(("case", "order"), pairs(REAL))
def test_real_systems_have_conjugate_pairs(case, order):
    form = rv.spectral.dplr(case.system(order))
    bound = ENTRY * order * EPS
    assert (form.eigenvalues == form.eigenvalues[::-1].conj()).all()
    if is_even_fourier(case, order):
        return  # the two zeros span a plane of their own
    assert_within(form.B, form.B[::-1].conj(), bound * np.abs(form.B).max())
    assert_within(form.P, form.P[::-1].conj(), bound * np.abs(form.P).max())
    v = form.eigenvectors()
    assert_within(v, v[:, ::-1].conj(), bound * np.abs(v).max())
    if order % 2:
        middle = order // 2
        assert form.eigenvalues[middle].imag == 0.0
        assert_within(v[:, middle].imag, np.zeros(order), bound * np.abs(v).max())


@pytest.mark.parametrize(("case", "order"), pairs(REAL))
def test_half_keeps_one_of_each_pair_and_the_real_one_last(case, order):
    system = system_of(case, order, WINDOW)
    full, half = rv.spectral.dplr(system), rv.spectral.dplr(system, half=True)
    count = len(half.eigenvalues)
    assert (half.half, half.order) == (True, order)
    assert half.P.shape == half.Q.shape == (count, RANK.get(case.measure, 1))
    assert half.B.shape == (count,)
    assert half.multiplicity.sum() == order
    paired = half.multiplicity == 2
    assert (half.eigenvalues[paired].imag > 0).all()
    assert (half.eigenvalues[~paired].imag == 0).all()
    assert (np.diff(paired.astype(int)) <= 0).all()  # the real ones last
    if not is_even_fourier(case, order):
        assert count == (order + 1) // 2
        assert_bits(half.eigenvalues, full.eigenvalues[:count])
        assert_bits(half.P, full.P[:count])
        assert_bits(half.B, full.B[:count])
    whole = half.expand()
    assert not whole.half
    bound = ENTRY * EPS * norm(full.to_dense("normal"))
    assert_bits(whole.eigenvalues, full.eigenvalues)
    assert_within(half.to_dense("normal"), full.to_dense("normal"), bound)
    assert_within(whole.to_dense("normal"), full.to_dense("normal"), bound)
    a = form_of(case, order, WINDOW).A
    for form in (half, whole):
        assert norm(form.to_dense() - a) <= RECONSTRUCTION * order * EPS * norm(a)
    assert half.eigenvectors().shape == (order, count)
    assert_bits(full.expand().eigenvalues, full.eigenvalues)


@pytest.mark.parametrize(("case", "order"), pairs(REAL))
def test_half_outputs_are_the_real_outputs(case, order):
    """y = C x = Re sum multiplicity C~ x~, with C~ = C V and x~ = V^-1 x."""
    system = system_of(case, order, WINDOW)
    half = rv.spectral.dplr(system, half=True)
    c, x = signal((3, order), 1), signal((5, order), 2)
    inside, state = half.transform(c), half.transform_state(x)
    assert inside.shape == (3, len(half.B))
    assert state.shape == (5, len(half.B))
    found = ((half.multiplicity * inside) @ state.T).real
    condition = np.linalg.cond(half.expand().eigenvectors())
    size = np.linalg.norm(c, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    assert_within(found, c @ x.T, RECONSTRUCTION * order * EPS * size * condition)


# ---------------------------------------------------------------------------------------------
# Coordinates.


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("case", "order"), pairs(REAL, (1, 2, 3, 8, 21)))
def test_transforms_are_the_products_with_the_eigenvectors(case, order, half):
    system = system_of(case, order)
    form = rv.spectral.dplr(system, half=half)
    full = rv.spectral.dplr(system)
    v, every = form.eigenvectors(), full.eigenvectors()
    condition = np.linalg.cond(every)
    rounding = RECONSTRUCTION * order * EPS * condition
    c, x = signal((2, 3, order), 3), signal((2, 3, order), 4)
    inside, state = form.transform(c), form.transform_state(x)
    assert inside.dtype == state.dtype == np.complex128
    assert inside.shape == state.shape == (2, 3, v.shape[1])
    assert_within(inside, c @ v, rounding * np.linalg.norm(c, axis=-1, keepdims=True) * norm(v))
    inverse = np.linalg.inv(every)
    if not half:
        size = np.linalg.norm(x, axis=-1, keepdims=True) * norm(inverse)
        assert_within(state, x @ inverse.T, rounding * size)
    back, again = form.inverse_transform(inside), form.inverse_transform_state(state)
    assert back.shape == again.shape == (2, 3, order)
    if half:
        assert back.dtype == again.dtype == np.float64
    assert_within(back, c, rounding * np.linalg.norm(c, axis=-1, keepdims=True))
    assert_within(again, x, rounding * np.linalg.norm(x, axis=-1, keepdims=True))
    assert_within(
        form.transform(c[0, 0]), inside[0, 0], rounding * np.linalg.norm(c[0, 0]) * norm(v)
    )
    assert form.transform(np.zeros((0, order))).shape == (0, v.shape[1])


@pytest.mark.parametrize("order", [1, 3, 7])
def test_transforms_of_the_complex_fourier_basis(order):
    system = rv.hippo.system("fout", order, normalization="complex")
    form = rv.spectral.dplr(system)
    v = form.eigenvectors()
    c = signal((2, order), 5) + 1j * signal((2, order), 6)
    bound = RECONSTRUCTION * order * EPS * np.abs(c).max()
    assert_within(form.transform(c), c @ v, bound)
    assert_within(form.inverse_transform(form.transform(c)), c, bound)
    assert_within(form.inverse_transform_state(form.transform_state(c)), c, bound)


@pytest.mark.parametrize(("case", "order"), pairs(orders=(1, 2, 3, 7, 8)))
def test_the_transfer_function_is_the_same_in_both_coordinates(case, order):
    system = system_of(case, order, WINDOW)
    exact = form_of(case, order, WINDOW)
    form = rv.spectral.dplr(system)
    c = signal((order,), 7)
    inside = form.transform(c)
    normal = form.to_dense("normal")
    for s in (0.5, 1.0 + 3.0j, -0.2 + 11.0j):
        matrix = s * np.eye(order) - exact.A
        state = np.linalg.solve(matrix, exact.B)
        condition = np.linalg.cond(matrix) * np.linalg.cond(form.eigenvectors())
        size = np.linalg.norm(c) * np.linalg.norm(state)
        bound = RECONSTRUCTION * (order + 1) * EPS * condition * size
        assert_within(oracle.transfer(normal, form.B, inside, s), c @ state, bound)


@pytest.mark.parametrize(("case", "order"), pairs(REAL, (2, 3, 8)))
def test_half_transfer_function(case, order):
    """With the low rank: the pairs couple, so the full diag - PQ* of the expanded form counts."""
    system = system_of(case, order, WINDOW)
    half = rv.spectral.dplr(system, half=True)
    whole = half.expand()
    c, s = signal((order,), 8), 0.7 + 2.0j
    found = oracle.transfer(half.to_dense("normal"), whole.B, whole.transform(c), s)
    exact = form_of(case, order, WINDOW)
    matrix = s * np.eye(order) - exact.A
    state = np.linalg.solve(matrix, exact.B)
    condition = np.linalg.cond(matrix) * np.linalg.cond(whole.eigenvectors())
    bound = RECONSTRUCTION * order * EPS * condition * np.linalg.norm(c) * np.linalg.norm(state)
    assert_within(found, c @ state, bound)


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=12).map(lambda v: 10.0 ** np.array(v)),
    st.integers(0, 3),
)
def test_similarity_for_random_poles_over_ten_decades(p, repeats):
    p = np.concatenate([p, p[:repeats]])
    order = len(p)
    system = rv.hippo.system("malmquist", order, poles=p)
    form = rv.spectral.dplr(system)
    v = form.eigenvectors()
    assert_within(v.conj().T @ v, np.eye(order), RECONSTRUCTION * order * EPS)
    assert norm(form.to_dense() - system.A) <= RECONSTRUCTION * order * EPS * norm(system.A)
    assert_within(form.inverse_transform(form.transform(p)), p, SOLVE * order * EPS * p.sum())


# ---------------------------------------------------------------------------------------------
# Without a system, reproducible, large.


def random_form(order, rank=2, seed=0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    return draw(order), draw(order, rank), draw(order, rank), draw(order)


def test_a_form_made_by_hand():
    values, p, q, b = random_form(5)
    form = rv.spectral.DPLR(values, p, q, b)
    expected = np.diag(values) - p @ q.conj().T
    for basis in ("system", "normal"):
        assert_within(form.to_dense(basis), expected, ENTRY * EPS * norm(expected))
    assert form.order == 5
    assert (form.multiplicity == 1).all()


@pytest.mark.parametrize("order", [4, 5])
def test_a_half_form_made_by_hand(order):
    """Pairs are expanded by conjugation; the real one stays in the middle."""
    count = (order + 1) // 2
    values, p, q, b = random_form(count)
    values = -1 + 1j * np.linspace(3, 1, count)
    if order % 2:
        values[-1], p[-1], q[-1], b[-1] = -0.5, p[-1].real, q[-1].real, b[-1].real
    form = rv.spectral.DPLR(values, p, q, b, half=True, order=order)
    kept = slice(0, order // 2)
    expanded = [np.concatenate([v, v[kept].conj()[::-1]]) for v in (values, p, q, b)]
    expected = np.diag(expanded[0]) - expanded[1] @ expanded[2].conj().T
    assert_within(form.to_dense("normal"), expected, ENTRY * EPS * norm(expected))
    assert_bits(form.expand().B, expanded[3])
    assert form.multiplicity.tolist() == [2] * (order // 2) + [1] * (order % 2)


@pytest.mark.parametrize("case", REAL, ids=str)
def test_the_same_bits_every_time(case):
    for order in case.orders((3, 8)):
        one, two = (rv.spectral.dplr(case.system(order)) for _ in range(2))
        for name in ("eigenvalues", "P", "Q", "B"):
            assert_bits(getattr(one, name), getattr(two, name))
        assert_bits(one.eigenvectors(), two.eigenvectors())


@pytest.mark.slow
def test_order_one_million_needs_linear_memory():
    form = rv.spectral.dplr(rv.hippo.system("legs", 10**6))
    spectrum = rv.spectral.normal_spectrum(rv.hippo.system("legs", 10**6))
    assert_bits(form.eigenvalues, spectrum.eigenvalues)
    assert form.P.shape == (10**6, 1)
    half = rv.spectral.dplr(rv.hippo.system("legs", 10**6 - 1), half=True)
    assert half.eigenvalues.shape == (500_000,)
    assert half.eigenvalues[-1] == -0.5


@pytest.mark.parametrize("measure", ["legs", "lagt", "malmquist"])
def test_transform_at_an_order_where_the_matrix_would_be_large(measure):
    """Norms, products and a round trip at N = 1500, without the eigenvectors."""
    order = 1500
    system = system_of(Case(measure, "probability"), order)
    form = rv.spectral.dplr(system)
    c = signal((2, order), 9)
    inside = form.transform(c)
    lengths = np.linalg.norm(c, axis=1)
    bound = SUM * order * EPS
    assert_within(np.linalg.norm(inside, axis=1), lengths, bound * lengths)
    assert_within(inside @ inside.conj().T, c @ c.T, bound * np.outer(lengths, lengths))
    assert_within(form.inverse_transform(inside), c, bound * lengths[:, None])
    expected = c @ system.B
    size = lengths * np.linalg.norm(system.B)
    assert_within(inside @ form.B, expected, bound * size)


def test_published_clipping_is_not_applied():
    """The public S4 code cuts Im(V* B) at +-2, which changes B by most of its norm at N = 64."""
    form = rv.spectral.dplr(rv.hippo.system("legs", 64))
    square = 64.0**2  # |r|^2 = sum of 2n + 1
    assert abs(np.sum(np.abs(form.B) ** 2) - square) <= SUM * 64 * EPS * square
    assert np.abs(form.B).max() > 2
