#pragma once

#include <limits>

#include "resolvent/math/elementary.hpp"

/// The scalar formulas of the maps to the simplex.
namespace resolvent::math {

/// max(u, 0); NaN stays NaN.
template <class T>
RESOLVENT_HD inline T positive_part(T u) {
  return u < T(0) ? T(0) : u;
}

/// u^q and u^{q−1} of the positive part of u.
template <class T>
struct PowerTerm {
  T power;
  T slope;
};

/// For u ≤ 1 and q ≥ 0. Denormal u are taken as the smallest normal number.
template <class T>
RESOLVENT_HD inline PowerTerm<T> power_term(T u, T q) {
  constexpr T kLeast = std::numeric_limits<T>::min();
  const T base = u > kLeast ? u : kLeast;
  const T power = u > T(0) ? exp_nonpositive(q * log_positive(base)) : T(0);
  return {power, power / base};
}

/// For u = 1 − v, v ≥ 0: as accurate for large q, where u^q varies as v does.
template <class T>
RESOLVENT_HD inline PowerTerm<T> power_term_near_one(T v, T q) {
  constexpr T kMost = T(1) - std::numeric_limits<T>::epsilon();
  const T below = v < kMost ? v : kMost;
  const T power = v < T(1) ? exp_nonpositive(q * log1p_above(-below)) : T(0);
  return {power, power / (T(1) - below)};
}

/// A function and its derivative, up to a common factor.
template <class T>
struct ValueSlope {
  T value;
  T slope;
};

/// e^{−shift} times 1/(1 + e^{−z}) and its derivative; shift ≤ 0, and z ≤ shift where it is not 0.
template <class T>
RESOLVENT_HD inline ValueSlope<T> scaled_sigmoid(T z, T shift) {
  const T t = exp_nonpositive(z < T(0) ? z : -z);
  const T value = (z < T(0) ? exp_nonpositive(z - shift) : T(1)) / (T(1) + t);
  return {value, value * (z < T(0) ? T(1) : t) / (T(1) + t)};
}

/// e^{−shift} times log(1 + e^z) and its derivative, the sigmoid.
template <class T>
RESOLVENT_HD inline ValueSlope<T> scaled_softplus(T z, T shift) {
  const T slope = scaled_sigmoid(z, shift).value;
  if (z >= T(0)) return {z + log1p_above(exp_nonpositive(-z)), slope};
  // log(1 + t) = t·(log(1 + t)/t), so that t may be as small as it likes.
  const T t = exp_nonpositive(z);
  const T ratio = t > std::numeric_limits<T>::min() ? log1p_above(t) / t : T(1);
  return {exp_nonpositive(z - shift) * ratio, slope};
}

/// r^k Σ_{m ≤ k} z^m/m! and its derivative, from y = rz and powers[i] = r^i. By Horner's rule;
/// relative error about k eps times Σ|z|^m/m! over the sum.
template <class T>
RESOLVENT_HD inline ValueSlope<T> scaled_taylor(T y, int order, const T* powers) {
  T derivative = T(1);  // of the sum without its last term, without one factor r
  for (int m = order - 1; m >= 1; --m) {
    derivative = powers[order - m] + y / static_cast<T>(m) * derivative;
  }
  T value = T(1);
  for (int m = order; m >= 1; --m) {
    value = powers[order - m + 1] + y / static_cast<T>(m) * value;
  }
  return {value, derivative * powers[1]};
}

}  // namespace resolvent::math
