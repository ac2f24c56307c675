"""Transfer functions as products of sections of order 2 or less."""

from __future__ import annotations

import math

import numpy as np

from resolvent._arrays import Array

#: One or two roots of one section.
_Group = tuple[complex, ...]

#: How much larger than the numerator direct·[1, a] may be: so much is lost in their difference.
_TOLERATED_GROWTH = 16.0

#: b, a and direct of one section.
_Section = tuple[Array, Array, Array]


def sections(zeros: Array, poles: Array, gain: Array, *, real: bool) -> list[_Section]:
    """(b, a, direct) of each section of gain·Π(1 − q_i z)/Π(1 − p_i z).

    zeros q and poles p (..., d), gain (...). An infinite zero stands for the factor z. In real
    models conjugates stay together, and a section has at most two poles beside those at 0 that
    :func:`_proper` adds. The gain goes to the first section.
    """
    order = poles.shape[-1]
    rows = zip(zeros.reshape(-1, order), poles.reshape(-1, order), strict=True)
    pairing = _real_pairing if real else _complex_pairing
    channels = [pairing(q.tolist(), p.tolist()) for q, p in rows]
    made = []
    for i, (_, first_group) in enumerate(channels[0] if channels else []):
        shape = (*poles.shape[:-1], len(first_group) + 1)
        numerator, denominator = (
            np.array([_expanded(channel[i][side]) for channel in channels]).reshape(shape)
            for side in (0, 1)
        )
        if real:
            numerator, denominator = numerator.real, denominator.real
        if i == 0:
            numerator = numerator * gain[..., np.newaxis]
        made.append(_proper(numerator, denominator))
    return made


def _expanded(group: _Group) -> Array:
    """Π (1 − x z) over the group, by ascending powers of z; z itself for an infinite x."""
    product = np.ones(1, np.complex128)
    for x in group:
        factor = [1.0, -x] if np.isfinite(x) else [0.0, 1.0]
        product = np.convolve(product, factor)
    return product


def _proper(numerator: Array, denominator: Array) -> _Section:
    """b, a and direct of a numerator c as long as [1, a].

    direct = c_n/a_n and b = c − direct·[1, a]. Where the poles are so much smaller than the zeros
    that this cancels (or a_n = 0), b = c, with another a_{n+1} = 0.
    """
    top, bottom = numerator[..., -1], denominator[..., -1]
    direct = np.where(top == 0.0, 0.0, top) / np.where(bottom == 0.0, 1.0, bottom)
    size = np.abs(direct) * np.abs(denominator).sum(axis=-1)
    cancels = size > _TOLERATED_GROWTH * np.abs(numerator).sum(axis=-1)
    if (cancels | ((bottom == 0.0) & (top != 0.0))).any():
        zero = np.zeros_like(denominator[..., :1])
        return numerator, np.concatenate([denominator[..., 1:], zero], axis=-1), zero[..., 0]
    b = numerator[..., :-1] - direct[..., np.newaxis] * denominator[..., :-1]
    return b, denominator[..., 1:], direct


def _complex_pairing(zeros: list[complex], poles: list[complex]) -> list[tuple[_Group, _Group]]:
    return _matched([(q,) for q in zeros], [(p,) for p in poles])


def _real_pairing(zeros: list[complex], poles: list[complex]) -> list[tuple[_Group, _Group]]:
    """Groups of two, and for odd orders one section for the smallest real pole, the last."""
    single: list[tuple[_Group, _Group]] = []
    if len(poles) % 2:
        p = min((x for x in poles if x.imag == 0.0), key=abs)
        q = min((x for x in zeros if x.imag == 0.0), key=lambda x: _distance(x, p))
        poles, zeros = _without(poles, p), _without(zeros, q)
        single = [((q,), (p,))]
    return _matched(_in_twos(zeros), _in_twos(poles)) + single


def _in_twos(values: list[complex]) -> list[_Group]:
    """Conjugate pairs, and real values in the order of their size."""
    pairs: list[_Group] = [(x, x.conjugate()) for x in values if x.imag > 0.0]
    reals = sorted((x for x in values if x.imag == 0.0), key=lambda x: x.real)
    return pairs + list(zip(reals[::2], reals[1::2], strict=True))


def _matched(zeros: list[_Group], poles: list[_Group]) -> list[tuple[_Group, _Group]]:
    """Each group of poles with one of zeros, from the slowest poles to the fastest.

    Zeros at 0 go to the smallest poles, as direct is the quotient of the products of zeros and
    poles and would be large there. The others go to the poles they are closest to, the slowest
    choosing first.
    """
    at_zero = [q for q in zeros if 0.0 in q]
    others = [q for q in zeros if 0.0 not in q]
    slowest_first = sorted(poles, key=lambda p: -max(map(abs, p)))
    by_product = sorted(range(len(poles)), key=lambda i: abs(math.prod(slowest_first[i])))
    reserved = dict(zip(by_product, at_zero, strict=False))
    matched = []
    for i, p in enumerate(slowest_first):
        q = reserved.get(i)
        if q is None:
            q = min(others, key=lambda group: min(_distance(x, p[0]) for x in group))
            others.remove(q)
        matched.append((q, p))
    return matched


def _distance(x: complex, y: complex) -> float:
    return abs(x - y) if np.isfinite(x) else math.inf


def _without(values: list[complex], value: complex) -> list[complex]:
    index = values.index(value)
    return values[:index] + values[index + 1 :]
