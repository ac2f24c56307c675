#pragma once

#include <cmath>
#include <limits>

#include "resolvent/math/config.hpp"

/// Scalar formulas of the rules that turn x' = λx + u into x⁺ = R(ελ)x + …. Complex numbers are
/// pairs of real ones: std::complex multiplies through a slow call that looks after infinities, and
/// device code has no std::complex.
namespace resolvent::math {

template <class T>
struct ComplexPair {
  T re;
  T im;
};

template <class T>
RESOLVENT_HD inline ComplexPair<T> operator+(ComplexPair<T> a, ComplexPair<T> b) {
  return {a.re + b.re, a.im + b.im};
}

template <class T>
RESOLVENT_HD inline ComplexPair<T> operator-(ComplexPair<T> a, ComplexPair<T> b) {
  return {a.re - b.re, a.im - b.im};
}

template <class T>
RESOLVENT_HD inline ComplexPair<T> operator*(ComplexPair<T> a, ComplexPair<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

template <class T>
RESOLVENT_HD inline ComplexPair<T> operator*(T a, ComplexPair<T> b) {
  return {a * b.re, a * b.im};
}

/// a/b by Smith's formula: no overflow in between. A real quotient by 0 is infinite.
template <class T>
RESOLVENT_HD inline ComplexPair<T> operator/(ComplexPair<T> a, ComplexPair<T> b) {
  using std::abs;
  if (abs(b.re) >= abs(b.im)) {
    if (b.re == T(0)) return {a.re / b.re, a.im == T(0) ? T(0) : a.im / b.re};
    const T ratio = b.im / b.re;
    const T scale = b.re + b.im * ratio;
    return {(a.re + a.im * ratio) / scale, (a.im - a.re * ratio) / scale};
  }
  const T ratio = b.re / b.im;
  const T scale = b.re * ratio + b.im;
  return {(a.re * ratio + a.im) / scale, (a.im * ratio - a.re) / scale};
}

template <class T>
RESOLVENT_HD inline T magnitude(ComplexPair<T> z) {
  using std::hypot;
  return hypot(z.re, z.im);
}

template <class T>
RESOLVENT_HD inline ComplexPair<T> exp(ComplexPair<T> z) {
  using std::cos;
  using std::exp;
  using std::sin;
  const T size = exp(z.re);
  if (size == T(0)) return {T(0), T(0)};  // also for infinite z.re with any angle
  return {size * cos(z.im), z.im == T(0) ? T(0) : size * sin(z.im)};
}

/// e^z − 1: real part (eˣ − 1)cos y − 2 sin²(y/2), whose terms are small where e^z is near 1.
template <class T>
RESOLVENT_HD inline ComplexPair<T> expm1(ComplexPair<T> z) {
  using std::cos;
  using std::exp;
  using std::expm1;
  using std::sin;
  const T half = sin(T(0.5) * z.im);
  return {expm1(z.re) * cos(z.im) - T(2) * half * half,
          z.im == T(0) ? T(0) : exp(z.re) * sin(z.im)};
}

/// |z| below which φ_k is summed as a series: there its terms fall from the first on, and beyond
/// it the recurrence for φ_k loses no digits.
template <class T>
RESOLVENT_HD inline T phi_series_radius(int k) {
  return k < 1 ? T(0) : T(k + 1);
}

/// φ_k(z) = Σ_j z^j/(j+k)!, by Horner's rule: for |z| ≤ k + 1.
template <class T>
RESOLVENT_HD inline ComplexPair<T> phi_series(int k, ComplexPair<T> z) {
  const T size = magnitude(z);
  // The first j whose term |z|^j k!/(j+k)! is below rounding.
  int count = 1;
  for (T term = T(1); term > T(0.1) * std::numeric_limits<T>::epsilon(); ++count) {
    term *= size / static_cast<T>(count + k);
  }
  ComplexPair<T> sum{T(1), T(0)};
  for (int j = count; j >= 1; --j) {
    sum = (T(1) / static_cast<T>(j + k)) * (z * sum);
    sum.re += T(1);
  }
  T factorial = T(1);
  for (int j = 2; j <= k; ++j) factorial *= static_cast<T>(j);
  return (T(1) / factorial) * sum;
}

/// φ_k(z): φ_0 = exp, φ_{k+1}(z) = (φ_k(z) − 1/k!)/z. Error some k·eps relative to |φ_k(z)|.
template <class T>
RESOLVENT_HD inline ComplexPair<T> phi(int k, ComplexPair<T> z) {
  if (k == 0) return exp(z);
  if (k > 1 && magnitude(z) <= phi_series_radius<T>(k)) return phi_series(k, z);
  if (z.re == T(0) && z.im == T(0)) return {T(1), T(0)};
  if (z.re > T(700)) {  // e^z/z^k, where e^z alone may overflow
    const ComplexPair<T> root = exp(T(0.5) * z);
    ComplexPair<T> value = root;
    for (int j = 0; j < k; ++j) value = value / z;
    return root * value;
  }
  ComplexPair<T> value = expm1(z) / z;
  T inverse = T(1);
  for (int j = 1; j < k; ++j) {
    inverse /= static_cast<T>(j);
    value.re -= inverse;
    value = value / z;
  }
  return value;
}

/// R(z) of the generalised bilinear rule: (1 + (1 − α)z)/(1 − αz). α = 0 is the forward, ½ the
/// bilinear, 1 the backward rule.
template <class T>
RESOLVENT_HD inline ComplexPair<T> gbt_stability(T alpha, ComplexPair<T> z) {
  const T beta = T(1) - alpha;
  return ComplexPair<T>{T(1) + beta * z.re, beta * z.im} /
         ComplexPair<T>{T(1) - alpha * z.re, -alpha * z.im};
}

/// R(z)/z − e^z/z without the first terms of both, which agree:
/// z(α − ½) + z²(α²/(1 − αz) − φ_3(z)). This is also the error of the input, 1/(1 − αz) − φ_1(z).
template <class T>
RESOLVENT_HD inline ComplexPair<T> gbt_error_over_z(T alpha, ComplexPair<T> z) {
  const ComplexPair<T> pole{T(1) - alpha * z.re, -alpha * z.im};
  if (pole.re == T(0) && pole.im == T(0)) return {std::numeric_limits<T>::infinity(), T(0)};
  if (magnitude(z) > T(2)) return (gbt_stability(alpha, z) - exp(z)) / z;
  const ComplexPair<T> rest = ComplexPair<T>{alpha * alpha, T(0)} / pole - phi(3, z);
  return (alpha - T(0.5)) * z + z * (z * rest);
}

/// R(z) − e^z of the generalised bilinear rule, with a small relative error as z → 0 too.
template <class T>
RESOLVENT_HD inline ComplexPair<T> gbt_error(T alpha, ComplexPair<T> z) {
  if (magnitude(z) > T(2)) return gbt_stability(alpha, z) - exp(z);
  const ComplexPair<T> error = gbt_error_over_z(alpha, z);
  return z.im == T(0) ? z.re * error : z * error;  // infinite at a pole, not NaN
}

}  // namespace resolvent::math
