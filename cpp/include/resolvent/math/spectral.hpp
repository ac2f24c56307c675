#pragma once

#include <cmath>
#include <cstddef>

#include "resolvent/math/config.hpp"

/// The scalar formulas of the normal-plus-low-rank form of the triangular HiPPO systems.
///
/// Their transfer function is all-pass, R(s) = Π_k (s − p_k)/(s + p_k), and on the imaginary axis
/// R(iμ) = (−1)^N e^{−iΦ(μ)} with the phase Φ(μ) = Σ_k 2·arctan(μ/p_k). The eigenvalues of the
/// normal part are where R = −1.
namespace resolvent::math {

/// A phase at one point: the value, what is missing to its limit Nπ, and its slope dΦ/dμ.
template <class T>
struct Phase {
  T value;
  T complement;
  T slope;
};

/// The slope 2p/(p² + μ²) of the phase of one pole p > 0 at μ ≥ 0.
template <class T>
RESOLVENT_HD inline T pole_slope(T pole, T mu) {
  // Divided first, so that neither square can overflow.
  const T ratio = pole > mu ? mu / pole : pole / mu;
  const T larger = pole > mu ? pole : mu;
  const T share = pole > mu ? T(1) : ratio;  // pole/larger
  return T(2) * share / (larger * (T(1) + ratio * ratio));
}

/// The contribution of one pole p > 0 to the phase at μ ≥ 0.
template <class T>
RESOLVENT_HD inline Phase<T> pole_phase(T pole, T mu) {
  return {T(2) * std::atan2(mu, pole), T(2) * std::atan2(pole, mu), pole_slope(pole, mu)};
}

/// Σ of the boundary terms at x of the midpoint Euler–Maclaurin formula for the phase of LegS.
///
/// Σ_{k=m}^{n−1} f(k+½) = ∫_m^n f dx + Σ_i B_{2i}(½)/(2i)! [f^{(2i−1)}]_m^n. With z = x + iμ the
/// derivatives of f(x) = 2·arctan(μ/x) are powers of 1/z: the i-th term is 2c_i Im z^{−(2i−1)},
/// c_i = B_{2i}(½)/(2i(2i−1)), and −2(2i−1)c_i Re z^{−2i} for the slope. Five terms leave less than
/// 1e-16 of the sum for |z| ≥ 16. They are Stirling's series of Im lnΓ(z + ½).
template <class T>
RESOLVENT_HD inline Phase<T> midpoint_terms(T x, T mu) {
  constexpr T kCoefficient[] = {T(-1) / T(24), T(7) / T(2880), T(-31) / T(40320),
                                T(127) / T(215040), T(-511) / T(608256)};
  const T size = x * x + mu * mu;
  const T re = x / size;  // 1/z
  const T im = -mu / size;
  const T re2 = re * re - im * im;  // 1/z²
  const T im2 = T(2) * re * im;
  T odd_re = re;  // z^{−(2i−1)}
  T odd_im = im;
  T value(0);
  T slope(0);
  for (int i = 0; i < 5; ++i) {
    const T even_re = odd_re * re - odd_im * im;
    value += T(2) * kCoefficient[i] * odd_im;
    slope -= T(2) * T(2 * i + 1) * kCoefficient[i] * even_re;
    const T next_re = odd_re * re2 - odd_im * im2;
    odd_im = odd_re * im2 + odd_im * re2;
    odd_re = next_re;
  }
  return {value, -value, slope};
}

/// The phase of LegS, poles k + ½ for k < order, at μ ≥ 0. O(1): fewer than 16 poles are summed,
/// and so are those below 16 where μ is below 16 too; all others by the midpoint Euler–Maclaurin
/// formula, whose integral is ∫ 2·arctan(μ/x) dx = 2x·arctan(μ/x) + μ ln(x² + μ²). Value,
/// complement and slope each to a few eps relative, also for μ ≪ 1 and μ ≫ order.
template <class T>
RESOLVENT_HD inline Phase<T> legs_phase(std::ptrdiff_t order, T mu) {
  constexpr std::ptrdiff_t kSmooth = 16;
  const bool few = order < kSmooth;
  const std::ptrdiff_t summed = few ? order : (mu >= T(kSmooth) ? 0 : kSmooth);
  Phase<T> sum{T(0), T(0), T(0)};
  for (std::ptrdiff_t k = 0; k < summed; ++k) {
    const Phase<T> one = pole_phase(static_cast<T>(k) + T(0.5), mu);
    sum.value += one.value;
    sum.complement += one.complement;
    sum.slope += one.slope;
  }
  if (summed == order) return sum;
  const T low = static_cast<T>(summed);
  const T high = static_cast<T>(order);
  const T log_ratio = std::log1p((high - low) * (high + low) / (low * low + mu * mu));
  const Phase<T> upper = midpoint_terms(high, mu);
  const Phase<T> lower = midpoint_terms(low, mu);
  const T turn = T(2) * (high * std::atan2(mu, high) - low * std::atan2(mu, low));
  const T unturned = T(2) * (high * std::atan2(high, mu) - low * std::atan2(low, mu));
  sum.value += turn + mu * log_ratio + (upper.value - lower.value);
  sum.complement += unturned - mu * log_ratio + (upper.complement - lower.complement);
  sum.slope += log_ratio + (upper.slope - lower.slope);
  return sum;
}

/// One factor of the eigenvectors of the normal part: with u_n = Π_{k<n} (iμ − p_k)/(iμ + p_k), the
/// n-th entry is b_n u_n/(iμ + p_n) = b_n·(re + i·im), and u_{n+1} = u_n·(turn_re + i·turn_im).
template <class T>
struct AllPass {
  T re, im;
  T turn_re, turn_im;
};

template <class T>
RESOLVENT_HD inline AllPass<T> all_pass(T pole, T mu, T u_re, T u_im) {
  const T inverse = T(1) / (pole * pole + mu * mu);
  const T re = pole * inverse;  // 1/(p + iμ)
  const T im = -mu * inverse;
  const T turn_re = (mu * mu - pole * pole) * inverse;  // (iμ − p)(p − iμ)/(p² + μ²)
  const T turn_im = T(2) * pole * mu * inverse;
  return {u_re * re - u_im * im, u_re * im + u_im * re, u_re * turn_re - u_im * turn_im,
          u_re * turn_im + u_im * turn_re};
}

}  // namespace resolvent::math
