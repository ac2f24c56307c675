#include "resolvent/core/quadrature.hpp"

#include <cmath>
#include <limits>
#include <numbers>

#include "resolvent/core/error.hpp"
#include "resolvent/math/polynomial.hpp"

namespace resolvent {
namespace {

/// P_count(1 − y) and the last difference P_count − P_{count−1}.
struct LegendreValue {
  double value;
  double difference;
};

/// By the recurrence for the differences, which keeps its relative accuracy as y → 0, where the one
/// in x = 1 − y has lost y's digits.
LegendreValue legendre_from_end(Index count, double y) {
  double value = 1.0;
  double difference = 0.0;
  for (Index n = 0; n < count; ++n) {
    difference = math::legendre_difference(static_cast<double>(n), y, value, difference);
    value += difference;
  }
  return {value, difference};
}

/// Distance from 1 of Tricomi's asymptotic zero i (0 the largest), good to O(count⁻⁴).
double initial_distance(Index count, Index i) {
  const auto n = static_cast<double>(count);
  const double angle = std::numbers::pi * (4.0 * static_cast<double>(i) + 3.0) / (4.0 * n + 2.0);
  const double half = std::sin(0.5 * angle);
  return 2.0 * half * half + (n - 1.0) / (8.0 * n * n * n) * std::cos(angle);
}

}  // namespace

Quadrature gauss_legendre(Index count) {
  require(count >= 1, "count must be at least 1, got ", count);
  Quadrature rule{Vector<double>(count), Vector<double>(count)};
  const auto n = static_cast<double>(count);
  for (Index i = 0; i < (count + 1) / 2; ++i) {
    double y = 2 * i + 1 == count ? 1.0 : initial_distance(count, i);
    LegendreValue p = legendre_from_end(count, y);
    // n (P_{n−1} − x P_n) = (1 − x²) P_n'
    const auto weighted_slope = [&] { return n * (y * p.value - p.difference); };
    for (int iteration = 0; iteration < 8; ++iteration) {
      const double step = p.value * y * (2.0 - y) / weighted_slope();
      y += step;
      p = legendre_from_end(count, y);
      if (std::abs(step) <= 2.0 * std::numeric_limits<double>::epsilon() * y) break;
    }
    if (2 * i + 1 == count) y = 1.0;
    const double weight = 2.0 * y * (2.0 - y) / (weighted_slope() * weighted_slope());
    rule.nodes[i] = y - 1.0;
    rule.nodes[count - 1 - i] = 1.0 - y;
    rule.weights[i] = rule.weights[count - 1 - i] = weight;
  }
  return rule;
}

}  // namespace resolvent
