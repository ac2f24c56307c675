#pragma once

#include "resolvent/core/types.hpp"

/// Rational transfer functions G(z) = (b_1 + b_2 z + … + b_d z^{d−1})/(1 + a_1 z + … + a_d z^d) in
/// the delay z (Parnichkun et al. 2024, arXiv:2405.06147). A row of b and of a is one channel;
/// a_1 … a_d and b_1 … b_d are entries 0 … d − 1.
namespace resolvent::rational {

/// out (H, L): the inverse DFT of G at the L-th roots of unity, which is the L-periodic sum
/// Σ_j K_{k+jL} of the kernel. O(L log L) per channel whatever d, d ≤ L.
///
/// b and a are transformed together, as real and imaginary parts, and pruned: with D the smallest
/// divisor of L that is not below d, L/D transforms of length D. Throws `InvalidArgument` where the
/// denominator vanishes at a root of unity.
template <class T>
void periodic_kernel(ConstRows<T> b, ConstRows<T> a, Rows<T> out);

/// out (H, L): the power series K_k = b_{k+1} − Σ_i a_i K_{k−i} of G itself. O(dL).
template <class T>
void series_kernel(ConstRows<T> b, ConstRows<T> a, Rows<T> out);

/// The companion recurrence w_k = u_k − Σ_i a_i w_{k−i}, y_k = Σ_i b_i w_{k−i+1} over u (H, L).
/// `state` (H, d) holds w_{−1} … w_{−d} before and w_{L−1} … w_{L−d} after. O(d) per sample.
template <class T>
void run_companion(ConstRows<T> b, ConstRows<T> a, ConstRows<T> u, Rows<T> y, Rows<T> state);

/// Reflection coefficients k_1 … k_d of the polynomials 1 + a_1 z + … + a_d z^d by the step-down
/// recursion k_m = a_m, a_i ← (a_i − k_m ā_{m−i})/(1 − |k_m|²), m = d … 1 (Schur–Cohn): all poles
/// lie inside the circle if and only if every |k_m| < 1. O(d²). After a |k_m| = 1 the lower ones
/// are not determined and NaN.
template <class T>
void step_down(ConstRows<T> a, Rows<T> reflection);

/// Its inverse, a ← [a, 0] + k·[0, reverse of [1, ā]] with the leading 1 counted: maps every
/// (−1, 1)^d one-to-one onto the stable denominators. O(d²).
template <class T>
void step_up(ConstRows<T> reflection, Rows<T> a);

/// out (H, d): ζ^exponent mod ζ^d + a_1 ζ^{d−1} + … + a_d, ascending coefficients r_0 … r_{d−1}, so
/// that K_{k + exponent} = Σ_i r_i K_{k+i} for every sequence with that recurrence. O(d² log
/// exponent) by squarings (Fiduccia 1985).
template <class T>
void power_remainder(ConstRows<T> a, Index exponent, Rows<T> out);

}  // namespace resolvent::rational
