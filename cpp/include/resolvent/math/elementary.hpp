#pragma once

#include <bit>
#include <cstdint>

#include "resolvent/math/config.hpp"

/// exp and log without branches, tables or fused operations: a compiler can run them on every lane
/// of a vector, and they give the same bits on every instruction set. exp and log are within 1.2
/// ulp, log1p within 1.5, one_minus_exp within 2.
///
/// The polynomials interpolate at Chebyshev nodes; what they leave is below a tenth of an ulp.
namespace resolvent::math {

/// The parts of a floating-point number, and ln 2 in two pieces: an integer of up to 10 bits times
/// the high one is exact.
template <class T>
struct Ieee;

template <>
struct Ieee<float> {
  using Bits = std::uint32_t;
  static constexpr int kFraction = 23;  // bits after the leading one
  static constexpr Bits kRootHalf = 0x3f3504f3;
  static constexpr float kRound = 0x1.8p23f;  // x + kRound − kRound is the nearest integer
  static constexpr float kLn2High = 0x1.62ep-1f;
  static constexpr float kLn2Low = 0x1.0bfbe8p-15f;
  static constexpr float kExpZero = -104.0f;  // e^x rounds to 0 from here on
  static constexpr int kScale = 32;
};

template <>
struct Ieee<double> {
  using Bits = std::uint64_t;
  static constexpr int kFraction = 52;
  static constexpr Bits kRootHalf = 0x3fe6a09e667f3bcd;
  static constexpr double kRound = 0x1.8p52;
  static constexpr double kLn2High = 0x1.62e42feep-1;
  static constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  static constexpr double kExpZero = -746.0;
  static constexpr int kScale = 100;
};

/// 2^k for a constant k inside the range of normal numbers.
template <class T>
RESOLVENT_HD constexpr T power_of_two(int k) {
  using Bits = typename Ieee<T>::Bits;
  const Bits one = std::bit_cast<Bits>(T(1));
  return std::bit_cast<T>(one + (static_cast<Bits>(k) << Ieee<T>::kFraction));
}

/// (e^r − 1 − r)/r² for |r| ≤ ½ ln 2.
RESOLVENT_HD inline float exp_tail(float r) {
  return 0.5f +
         r * (0.166665770f + r * (0.0416665546f + r * (0.00836317905f + r * 0.00139261836f)));
}

RESOLVENT_HD inline double exp_tail(double r) {
  double sum = 2.5100385495510319e-8;
  sum = 2.7620088445409748e-7 + r * sum;
  sum = 2.7557268459997065e-6 + r * sum;
  sum = 2.4801521295954375e-5 + r * sum;
  sum = 1.9841269863053616e-4 + r * sum;
  sum = 1.3888888917213717e-3 + r * sum;
  sum = 8.3333333333300618e-3 + r * sum;
  sum = 4.1666666666624128e-2 + r * sum;
  sum = 0.16666666666666667 + r * sum;
  return 0.5 + r * sum;
}

/// 2^kScale e^x for x ≤ 0, −∞ included: the factor keeps it a normal number wherever e^x is not
/// rounded to 0. NaN stays NaN.
template <class T>
RESOLVENT_HD inline T scaled_exp(T x) {
  using F = Ieee<T>;
  using Bits = typename F::Bits;
  x = x < F::kExpZero ? F::kExpZero : x;
  const T shifted = x * T(1.4426950408889634) + F::kRound;
  const T k = shifted - F::kRound;
  const T r = (x - k * F::kLn2High) - k * F::kLn2Low;
  // The last bits of `shifted` are k; they move into the exponent.
  const Bits exponent = std::bit_cast<Bits>(power_of_two<T>(F::kScale)) +
                        (std::bit_cast<Bits>(shifted) << F::kFraction);
  return (T(1) + (r + r * r * exp_tail(r))) * std::bit_cast<T>(exponent);
}

/// e^x for x ≤ 0, −∞ included; denormal results within one of their ulp.
template <class T>
RESOLVENT_HD inline T exp_nonpositive(T x) {
  return scaled_exp(x) * power_of_two<T>(-Ieee<T>::kScale);
}

/// (log((1+s)/(1−s))/s − 2)/s² as a function of z = s², for |s| ≤ (√2 − 1)/(√2 + 1).
RESOLVENT_HD inline float log_tail(float z) {
  return 0.66666667f + z * (0.40000122f + z * (0.28550817f + z * 0.23330582f));
}

RESOLVENT_HD inline double log_tail(double z) {
  double sum = 0.14616585424888622;
  sum = 0.15331710618210771 + z * sum;
  sum = 0.18182889455674946 + z * sum;
  sum = 0.22222211130259877 + z * sum;
  sum = 0.28571428626003269 + z * sum;
  sum = 0.39999999999899443 + z * sum;
  return 0.66666666666666697 + z * sum;
}

/// The natural logarithm of a positive normal number.
template <class T>
RESOLVENT_HD inline T log_positive(T x) {
  using F = Ieee<T>;
  using Bits = typename F::Bits;
  // x = 2^k m with m in [√½, √2): the exponent is that of x/√½.
  const Bits above = std::bit_cast<Bits>(x) - F::kRootHalf;
  constexpr Bits kMask = (Bits(1) << F::kFraction) - 1;
  const T m = std::bit_cast<T>((above & kMask) + F::kRootHalf);
  // k as a number: its bits, the sign moved to where it is added like any other, on top of
  // kRound's.
  constexpr Bits kSign = Bits(1) << (8 * sizeof(T) - F::kFraction - 1);
  const Bits integer = (above >> F::kFraction) ^ kSign;
  const T k = std::bit_cast<T>(integer + (std::bit_cast<Bits>(F::kRound) - kSign)) - F::kRound;
  const T f = m - T(1);
  const T s = f / (T(2) + f);
  const T z = s * s;
  const T half_square = T(0.5) * f * f;
  const T rest = s * (half_square + z * log_tail(z)) + k * F::kLn2Low;
  return k * F::kLn2High - ((half_square - rest) - f);
}

/// log(1 + a) for a > −1, with a small relative error as a → 0.
template <class T>
RESOLVENT_HD inline T log1p_above(T a) {
  const T u = T(1) + a;
  return log_positive(u) + (a - (u - T(1))) / u;
}

/// 1 − e^{−t} for t ≥ 0, with a small relative error as t → 0.
template <class T>
RESOLVENT_HD inline T one_minus_exp(T t) {
  const T near = t - t * t * exp_tail(-t);
  const T far = T(1) - exp_nonpositive(-t);
  return t < T(0.34) ? near : far;  // exp_tail reaches ½ ln 2
}

}  // namespace resolvent::math
