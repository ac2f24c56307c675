#pragma once

#include <cmath>
#include <type_traits>

#include "lanes.hpp"
#include "resolvent/math/probmap.hpp"

/// The equation that sparsemax, entmax and normmax share: find v in [0, 1) with ‖u_+‖_q = 1, where
/// u_i = 1 − v − c(max − x_i). Sources and method: resolvent/probmap/maps.hpp.
namespace resolvent::probmap {

/// How u^q is had. `power` and `near_one` differ in what is carried exactly: w = 1 − v, from which
/// u has no error of its own, or v itself, as u lies near 1 where q is large.
enum class Form { linear, square, power, near_one };

/// Larger exponents amplify the error of u more than that of v.
constexpr double kLargestPower = 4.0;

inline Form form_of(double q) {
  if (q == 1.0) return Form::linear;
  if (q == 2.0) return Form::square;
  return q <= kLargestPower ? Form::power : Form::near_one;
}

/// The unknown, w or v, in two parts: a number that varies slowly and what rounding would lose.
template <class T>
struct Split {
  T high;
  T low;
};

template <class T>
Split<T> split(double value, double correction) {
  const T high = static_cast<T>(value);
  return {high, static_cast<T>((value - static_cast<double>(high)) + correction)};
}

/// F += Σ u^q and S += Σ u^{q−1} in every lane.
template <Form form, class T, class P>
void add_powers(const T* x, Index depth, P max, P c, P high, P low, T q, T* F, T* S) {
  for (Index k = 0; k < depth; ++k, x += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T distance = (max[l] - x[l]) * c[l];
      if constexpr (form == Form::linear) {
        const T u = (high[l] - distance) + low[l];
        F[l] += math::positive_part(u);
        S[l] += u > T(0) ? T(1) : T(0);
      } else if constexpr (form == Form::square) {
        const T u = math::positive_part((high[l] - distance) + low[l]);
        F[l] += u * u;
        S[l] += u;
      } else {
        const auto term = form == Form::power
                              ? math::power_term((high[l] - distance) + low[l], q)
                              : math::power_term_near_one((high[l] + distance) + low[l], q);
        F[l] += term.power;
        S[l] += term.slope;
      }
    }
  }
}

/// out = u^q, or u^{q−1} where `slopes`.
template <Form form, bool slopes, class T, class P>
void write_powers(const T* x, Index depth, P max, P c, P high, P low, T q, T* out) {
  for (Index k = 0; k < depth; ++k, x += kLanes<T>, out += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T distance = (max[l] - x[l]) * c[l];
      if constexpr (form == Form::linear || form == Form::square) {
        const T u = math::positive_part((high[l] - distance) + low[l]);
        const T one = u > T(0) ? T(1) : T(0);
        out[l] = form == Form::linear ? (slopes ? one : u) : (slopes ? u : u * u);
      } else {
        const auto term = form == Form::power
                              ? math::power_term((high[l] - distance) + low[l], q)
                              : math::power_term_near_one((high[l] + distance) + low[l], q);
        out[l] = slopes ? term.slope : term.power;
      }
    }
  }
}

struct Sums {
  double F;
  double S;
};

/// Newton's step for ‖u‖_q = 1 in v, (‖u‖_q − 1)/(−d‖u‖_q/dv): never beyond the root, and the root
/// itself where all u are equal. Inlined, so that it can run on every lane of a vector.
template <Form form>
[[gnu::always_inline]] inline double newton_step(Sums sums, double q) {
  if constexpr (form == Form::linear) return (sums.F - 1.0) / sums.S;
  if constexpr (form == Form::square) return (sums.F - std::sqrt(sums.F)) / sums.S;
  return sums.F * math::one_minus_exp(math::log_positive(sums.F) / q) / sums.S;
}

/// What Newton's method found: the unknown (w or v) before its last step, and that step.
struct Root {
  double value;
  double correction;
};

/// Newton's steps go on while they are larger than this many roundings of u.
constexpr double kStepRoundings = 4.0;

/// More passes than any row needs: steps shrink the product of the excess and the slope by four.
constexpr int kMostPasses = 100;

/// `value` is 1 − v, or v where the form is near_one; `sums(value)` gives F and S there.
template <Form form, class T, class F>
Root solve(double value, double q, F&& sums) {
  constexpr bool rising = form == Form::near_one;
  const double tolerance = kStepRoundings * static_cast<double>(kEpsilon<T>) / std::max(q, 1.0);
  double step = 0.0;
  for (int pass = 0; pass < kMostPasses; ++pass) {
    step = newton_step<form>(sums(value), q);
    const double largest = rising ? 1.0 - value : value;
    if (!(step > tolerance * largest)) break;
    value = rising ? value + step : value - step;
  }
  return {value, rising ? step : -step};
}

/// Where to start when nothing is known: v = 0.
template <Form form>
constexpr double kStart = form == Form::near_one ? 0.0 : 1.0;

/// Entries with a distance from here on have u ≤ 0 at `value`, or u that rounding could not tell
/// from it.
template <Form form, class T>
T limit_of(double value) {
  const double largest = form == Form::near_one ? 1.0 - value : value;
  return static_cast<T>(largest * (1.0 + static_cast<double>(kEpsilon<T>)));
}

/// F and S of a row, or of the part of it that is held in `x`.
template <Form form, class T>
Sums power_sums(const T* x, Index n, T max, T c, Split<T> at, T q) {
  Sums total{0.0, 0.0};
  sweep(x, n, [&](const T* block, Index depth) {
    T F[kLanes<T>] = {};
    T S[kLanes<T>] = {};
    add_powers<form>(block, depth, Same<T>{max}, Same<T>{c}, Same<T>{at.high}, Same<T>{at.low}, q,
                     F, S);
    total.F += fold(F);
    total.S += fold(S);
  });
  return total;
}

}  // namespace resolvent::probmap
