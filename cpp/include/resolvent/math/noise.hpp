#pragma once

#include <cmath>
#include <limits>
#include <numbers>

#include "resolvent/math/elementary.hpp"

/// Distributions in standard form: log F(e) and the reversed hazard f(e)/F(e), each with a small
/// relative error in both tails. Where F(e) = 0 the logarithm is −∞ and the hazard means nothing.
namespace resolvent::math {

struct LogCdf {
  double log_cdf;
  double hazard;
};

/// F = exp(−e^{−e}).
RESOLVENT_HD inline LogCdf gumbel(double e) {
  const double small = exp_nonpositive(e < 0.0 ? e : -e);
  const double rate = e < 0.0 ? 1.0 / small : small;
  return {-rate, rate};
}

/// F = 1/(1 + e^{−e}).
RESOLVENT_HD inline LogCdf logistic(double e) {
  const double t = exp_nonpositive(e < 0.0 ? e : -e);
  return {(e < 0.0 ? e : 0.0) - log1p_above(t), (e < 0.0 ? 1.0 : t) / (1.0 + t)};
}

/// f = ½ e^{−|e|}.
RESOLVENT_HD inline LogCdf laplace(double e) {
  const double half = 0.5 * exp_nonpositive(e < 0.0 ? e : -e);
  return {e < 0.0 ? e - std::numbers::ln2 : log1p_above(-half),
          e < 0.0 ? 1.0 : half / (1.0 - half)};
}

/// F = 1 − e^{−e} for e > 0.
RESOLVENT_HD inline LogCdf exponential(double e) {
  if (!(e > 0.0)) return {-std::numeric_limits<double>::infinity(), 0.0};
  return {e < 1.0 ? std::log(-std::expm1(-e)) : std::log1p(-std::exp(-e)), 1.0 / std::expm1(e)};
}

/// F = e on [0, 1].
RESOLVENT_HD inline LogCdf uniform(double e) {
  if (!(e > 0.0)) return {-std::numeric_limits<double>::infinity(), 0.0};
  return e < 1.0 ? LogCdf{std::log(e), 1.0 / e} : LogCdf{0.0, 0.0};
}

/// f = 1/(π(1 + e²)).
RESOLVENT_HD inline LogCdf cauchy(double e) {
  const double tail = std::atan2(1.0, std::abs(e)) * std::numbers::inv_pi;
  const double density = std::numbers::inv_pi / (1.0 + e * e);
  return e < 0.0 ? LogCdf{std::log(tail), density / tail}
                 : LogCdf{std::log1p(-tail), density / (1.0 - tail)};
}

/// f = e^{−e²/2}/√(2π). Far to the left F = f(e)/(−e)·(1 − 1/e² + 3/e⁴ − …).
RESOLVENT_HD inline LogCdf normal(double e) {
  constexpr double kRootTwoPi = 2.5066282746310002;
  const double tail = 0.5 * std::erfc(std::abs(e) * (0.5 * std::numbers::sqrt2));
  if (e >= 0.0) {
    return {std::log1p(-tail), std::exp(-0.5 * e * e) / kRootTwoPi / (1.0 - tail)};
  }
  if (e > -20.0) {
    return {std::log(tail), std::exp(-0.5 * e * e) / kRootTwoPi / tail};
  }
  const double z = 1.0 / (e * e);
  const double series = 1.0 - z * (1.0 - z * (3.0 - z * (15.0 - z * (105.0 - z * 945.0))));
  return {-0.5 * e * e - std::log(-e * kRootTwoPi) + std::log(series), -e / series};
}

/// B(a, b)-normalised x^a(1−x)^b/a times a continued fraction: the regularised incomplete beta
/// function I_x(a, b), for x < (a + 1)/(a + b + 2) (NIST DLMF 8.17.22, by Lentz's method).
inline double incomplete_beta_fraction(double x, double a, double b, double log_beta) {
  constexpr double kTiny = 1e-300;
  constexpr int kMostTerms = 100'000;  // √max(a, b) are needed
  double c = 1.0;
  double d = 1.0 - (a + b) * x / (a + 1.0);
  d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
  double fraction = d;
  for (int m = 1; m < kMostTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double change = 1.0;
    for (const double term : {even, odd}) {
      d = 1.0 + term * d;
      d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
      c = 1.0 + term / c;
      c = std::abs(c) < kTiny ? kTiny : c;
      change = c * d;
      fraction *= change;
    }
    if (std::abs(change - 1.0) < std::numeric_limits<double>::epsilon()) break;
  }
  return std::exp(a * std::log(x) + b * std::log1p(-x) - log_beta) / a * fraction;
}

/// log B(a, ½) = log Γ(a) + ½ log π − log Γ(a + ½). The difference of two large logarithms is taken
/// from its series, ½ log a − 1/(8a) + 1/(192a³) − 1/(640a⁵) + 17/(14336a⁷) − ….
inline double log_beta_half(double a) {
  constexpr double kHalfLogPi = 0.57236494292470008707;
  if (a < 30.0) return std::lgamma(a) + kHalfLogPi - std::lgamma(a + 0.5);
  const double r = 1.0 / a;
  const double z = r * r;
  const double series = r * (0.125 - z * (1.0 / 192.0 - z * (1.0 / 640.0 - z * 17.0 / 14336.0)));
  return kHalfLogPi - (0.5 * std::log(a) - series);
}

/// f ∝ (1 + e²/ν)^{−(ν+1)/2}; log_beta = log B(ν/2, ½).
inline LogCdf student_t(double e, double nu, double log_beta) {
  const double square = e * e;
  const double log_base = std::log1p(square / nu);  // log(1/x), x = ν/(ν + e²)
  const double density = std::exp(-0.5 * (nu + 1.0) * log_base - log_beta) / std::sqrt(nu);
  const double x = nu / (nu + square);
  const double complement = square / (nu + square);
  const double a = 0.5 * nu;
  double tail = 0.5;  // of each side
  if (x < (a + 1.0) / (a + 2.5)) {
    tail = 0.5 * incomplete_beta_fraction(x, a, 0.5, log_beta);
  } else if (complement > 0.0) {
    tail = 0.5 * (1.0 - incomplete_beta_fraction(complement, 0.5, a, log_beta));
  }
  return e < 0.0 ? LogCdf{std::log(tail), density / tail}
                 : LogCdf{std::log1p(-tail), density / (1.0 - tail)};
}

}  // namespace resolvent::math
