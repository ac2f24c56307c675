#pragma once

#include <cmath>
#include <cstddef>

#include "resolvent/math/config.hpp"
#include "resolvent/math/discretize.hpp"

/// Scalar formulas of state-space kernels. z is the delay: G(z) = Σ_k K_k z^k, K_k = C Ā^k B̄.
namespace resolvent::math {

/// e^{−2πi k/n}, 0 ≤ k < n, to about 1 ulp: the angle is reduced to at most π/4 in integers first.
template <class T>
RESOLVENT_HD inline ComplexPair<T> root_of_unity(std::ptrdiff_t k, std::ptrdiff_t n) {
  using std::cos;
  using std::sin;
  // Eighths of the circle: 8k = octant·n + rest. Odd octants count their angle from their end.
  const std::ptrdiff_t octant = (8 * k) / n;
  const std::ptrdiff_t rest = 8 * k - octant * n;
  const bool odd = octant % 2 != 0;
  const T share = static_cast<T>(odd ? n - rest : rest) / static_cast<T>(n);
  const T angle = share * T(0.785398163397448309615660845819875721);
  const T c = cos(angle);
  const T s = sin(angle);
  switch ((octant + 1) / 2 % 4) {  // the multiple of π/2 that the angle is counted from
    case 0:
      return odd ? ComplexPair<T>{c, s} : ComplexPair<T>{c, -s};
    case 1:
      return odd ? ComplexPair<T>{s, -c} : ComplexPair<T>{-s, -c};
    case 2:
      return odd ? ComplexPair<T>{-c, -s} : ComplexPair<T>{-c, s};
    default:
      return odd ? ComplexPair<T>{-s, c} : ComplexPair<T>{s, c};
  }
}

/// Where the rule with the weight α of the new state evaluates the resolvent of εA:
/// C(I − zĀ)⁻¹B̄ = weight·C(σ − εA)⁻¹(εB), σ = (1 − z)·weight, weight = 1/(α + (1 − α)z).
template <class T>
struct Node {
  ComplexPair<T> sigma;
  ComplexPair<T> weight;
};

/// The node of z, which must not be −α/(1 − α), where the weight is infinite.
template <class T>
RESOLVENT_HD inline Node<T> node(T alpha, ComplexPair<T> z) {
  const ComplexPair<T> denominator{alpha + (T(1) - alpha) * z.re, (T(1) - alpha) * z.im};
  const ComplexPair<T> one{T(1), T(0)};
  return {(one - z) / denominator, one / denominator};
}

/// The node of z = e^{−iθ}, θ = 2πk/n ≤ π, for the bilinear rule: σ = 2i·tan(θ/2) on the axis, and
/// the weight 1 + i·tan(θ/2). θ < π.
template <class T>
RESOLVENT_HD inline Node<T> bilinear_node(std::ptrdiff_t k, std::ptrdiff_t n) {
  const ComplexPair<T> half = root_of_unity<T>(k, 2 * n);  // e^{−iθ/2}
  const T tangent = -half.im / half.re;
  return {{T(0), T(2) * tangent}, {T(1), tangent}};
}

/// 1/((σ − λ)(σ − λ̄)) for λ = a + iμ and σ = x + iy, from the differences x − a, y − μ and the sum
/// y + μ, which are where digits are lost; T may be narrower than what they were computed in. Then
///   c/(σ − λ) + c̄/(σ − λ̄) = (2Re(c)(σ − a) − 2Im(c)μ)·pair_reciprocal,
/// in which nothing cancels but what the sum itself does: one reciprocal serves every sum over the
/// same pair.
template <class T>
RESOLVENT_HD inline ComplexPair<T> pair_reciprocal(T real, T below, T above) {
  const T re = real * real - below * above;
  const T im = real * (below + above);
  const T scale = T(1) / (re * re + im * im);
  return {re * scale, -im * scale};
}

/// 1/(re + i·im).
template <class T>
RESOLVENT_HD inline ComplexPair<T> reciprocal(T re, T im) {
  const T scale = T(1) / (re * re + im * im);
  return {re * scale, -im * scale};
}

/// One section of a cascade in the Laplace domain. With w_n = Π_{k<n} (s + d_k − e_k)/(s + d_k) the
/// state is ξ_n = e_n w_n/(s + d_n), for A_nn = −d_n, A_nk = −e_n (k < n), B_n = e_n: products
/// only, so nothing cancels.
template <class T>
struct ResponseSection {
  ComplexPair<T> state;
  ComplexPair<T> passed;  ///< w_{n+1}
};

template <class T>
RESOLVENT_HD inline ResponseSection<T> response_section(T d, T e, ComplexPair<T> s,
                                                        ComplexPair<T> w) {
  const ComplexPair<T> inverse = reciprocal(s.re + d, s.im);
  const ComplexPair<T> driven = w * inverse;
  return {e * driven, ComplexPair<T>{s.re + (d - e), s.im} * driven};
}

}  // namespace resolvent::math
