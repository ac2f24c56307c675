#pragma once

#include "resolvent/math/config.hpp"
#include "resolvent/math/elementary.hpp"

/// Scalar formulas of recurrences whose state decays.
namespace resolvent::math {

/// φ_1(−t) = (1 − e^{−t})/t for t ≥ 0: the mean decay over a step. Relative error some 3 eps.
template <class T>
RESOLVENT_HD inline T phi1_decay(T t) {
  const T inside = t > T(0) ? t : T(1);
  return t > T(0) ? one_minus_exp(inside) / inside : T(1);
}

/// φ_1'(−t) = φ_1 − φ_2 = (φ_1(−t) − e^{−t})/t for t ≥ 0, with decay = e^{−t} and mean = φ_1(−t).
/// Relative error some 10 eps: where the difference would cancel, φ_2 is exp_tail.
template <class T>
RESOLVENT_HD inline T phi1_slope_decay(T t, T decay, T mean) {
  constexpr T kNear = T(0.34);  // exp_tail reaches ½ ln 2
  const T inside = t < kNear ? kNear : t;
  const T near = T(1) - exp_tail(-t) * (T(1) + t);
  const T far = (mean - decay) / inside;
  return t < kNear ? near : far;
}

/// e^a and e^b relative to the larger of them.
template <class T>
struct RelativeWeights {
  T largest;  ///< max(a, b)
  T first;    ///< e^{a − largest}
  T second;   ///< e^{b − largest}
};

/// One exponential. a = −∞ is a weight of 0; b must be finite.
template <class T>
RESOLVENT_HD inline RelativeWeights<T> relative_weights(T a, T b) {
  const T difference = a - b;
  const bool above = difference > T(0);
  const T smaller = exp_nonpositive(above ? -difference : difference);
  return {above ? a : b, above ? T(1) : smaller, above ? smaller : T(1)};
}

}  // namespace resolvent::math
