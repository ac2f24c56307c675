#include "resolvent/discretize/rules.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/discretize.hpp"

namespace resolvent::discretize {
namespace {

using Pair = math::ComplexPair<double>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Operations that one evaluation of an exponential or a division counts for.
constexpr double kWorkPerValue = 100.0;

constexpr std::array<std::pair<Rule, std::string_view>, 7> kRuleNames{{{Rule::forward, "forward"},
                                                                       {Rule::backward, "backward"},
                                                                       {Rule::bilinear, "bilinear"},
                                                                       {Rule::gbt, "gbt"},
                                                                       {Rule::zoh, "zoh"},
                                                                       {Rule::foh, "foh"},
                                                                       {Rule::mamba, "mamba"}}};

Pair pair_of(Complex z) { return {z.real(), z.imag()}; }

Pair error_of(Rule rule, double alpha, Part part, Pair z) {
  if (is_rational(rule)) {
    return part == Part::state ? math::gbt_error(alpha, z) : math::gbt_error_over_z(alpha, z);
  }
  if (rule == Rule::mamba && part == Part::input) {  // 1 − φ_1 = −zφ_2
    if (math::magnitude(z) > 2.0) return Pair{1.0, 0.0} - math::phi(1, z);
    return -1.0 * (z * math::phi(2, z));
  }
  return {0.0, 0.0};
}

double growth_of(Rule rule, double alpha, Pair z) {
  if (!is_rational(rule)) return std::exp(z.re);
  if (z.im == 0.0 && alpha * z.re == 1.0) return kInfinity;
  return math::magnitude(math::gbt_stability(alpha, z));
}

// ---- first crossing ----------------------------------------------------------------------------

/// The error of a rational rule along the ray ρe^{iθ}.
class Ray {
 public:
  Ray(Complex direction, double alpha)
      : cosine_(direction.real()), sine_(direction.imag()), alpha_(alpha) {}

  double error(double rho) const { return math::magnitude(math::gbt_error(alpha_, at(rho))); }

  /// A bound of the error up to ρ ≤ ½: |α−½|ρ² + ρ³(α²/(1 − αρ) + φ_3(ρ)); increasing.
  double bound(double rho) const {
    return std::abs(alpha_ - 0.5) * rho * rho + rho * rho * rho * curvature(rho);
  }

  /// A bound of the error's derivative on [ρ, ρ + reach].
  double slope(double rho, double reach) const {
    const double end = rho + reach;
    // For small ρ that of `bound`; (ρ³h)' ≤ 3ρ²h + ρ³h' with h' ≤ α³/(1−αρ)² + φ_3(ρ) ≤ 4h.
    if (end <= 0.5) {
      const double h = curvature(end);
      return 2.0 * std::abs(alpha_ - 0.5) * end + (3.0 + 4.0 * end) * end * end * h;
    }
    // |R'| = 1/|1 − αz|², and 1 − αz changes by at most α·reach.
    const double pole = math::magnitude(Pair{1.0 - alpha_ * rho * cosine_, -alpha_ * rho * sine_});
    const double nearest = pole - alpha_ * reach;
    const double rational = nearest > 0.0 ? 1.0 / (nearest * nearest) : kInfinity;
    return rational + std::exp(std::max(rho * cosine_, end * cosine_));
  }

  /// A bound of the error beyond ρ, for directions in the left half plane.
  double beyond(double rho) const {
    if (cosine_ > 0.0 || alpha_ == 0.0) return kInfinity;
    const double limit = (1.0 - alpha_) / alpha_;  // |R(∞)|; |R − R(∞)| = 1/(α|1 − αz|)
    const double pole = math::magnitude(Pair{1.0 - alpha_ * rho * cosine_, -alpha_ * rho * sine_});
    // |R| is largest on the boundary of the half plane, where it runs monotonically from 1 to
    // |R(∞)|.
    const double rational = std::min(limit + 1.0 / (alpha_ * pole), std::max(1.0, limit));
    return rational + std::exp(rho * cosine_);
  }

 private:
  Pair at(double rho) const { return {rho * cosine_, rho * sine_}; }

  double curvature(double rho) const {
    return alpha_ * alpha_ / (1.0 - alpha_ * rho) + math::phi(3, Pair{rho, 0.0}).re;
  }

  double cosine_;
  double sine_;
  double alpha_;
};

/// The largest ρ ≤ ½ up to which `bound` stays within the tolerance.
double safe_start(const Ray& ray, double tolerance) {
  double low = 0.0;
  double high = 0.5;
  if (ray.bound(high) <= tolerance) return high;
  while (low == 0.0 && high > 1e-300) {
    (ray.bound(0.5 * high) <= tolerance ? low : high) = 0.5 * high;
  }
  for (int i = 0; i < 30; ++i) {
    const double middle = 0.5 * (low + high);
    (ray.bound(middle) <= tolerance ? low : high) = middle;
  }
  return low;
}

/// The first ρ at which the error reaches the tolerance.
double first_crossing(const Ray& ray, double tolerance, Checkpoint& checkpoint) {
  constexpr long kMostSteps = 100'000'000;
  constexpr double kResolution = 1e-11;
  double rho = safe_start(ray, tolerance);
  for (long step = 0; step < kMostSteps; ++step) {
    if (step % 1024 == 0) checkpoint();
    const double room = tolerance - ray.error(rho);
    if (room <= 0.0 || ray.beyond(rho) <= tolerance) return room <= 0.0 ? rho : kInfinity;
    // A reach whose own bound it does not exceed; halving ends, since the bound falls to |error'|.
    double reach = std::max(rho, 1e-300);
    double safe = room / ray.slope(rho, reach);
    while (safe < reach) {
      reach = std::max(safe, 0.5 * reach);
      if (safe == reach) break;
      safe = room / ray.slope(rho, reach);
    }
    if (reach <= kResolution * rho) return rho;
    rho += reach;
  }
  throw NotConverged(message("tolerance = ", tolerance, " is too close to the largest error"));
}

}  // namespace

Rule rule_from_name(std::string_view name) {
  std::string valid;
  for (const auto& [rule, text] : kRuleNames) {
    if (text == name) return rule;
    valid += (valid.empty() ? "'" : ", '") + std::string(text) + "'";
  }
  throw InvalidArgument(message("rule must be one of ", valid, "; got '", name, "'"));
}

std::string_view name_of(Rule rule) {
  return std::ranges::find(kRuleNames, rule, &std::pair<Rule, std::string_view>::first)->second;
}

bool is_rational(Rule rule) {
  return rule != Rule::zoh && rule != Rule::foh && rule != Rule::mamba;
}

double weight_of(Rule rule, double alpha) {
  switch (rule) {
    case Rule::forward:
      return 0.0;
    case Rule::backward:
      return 1.0;
    case Rule::gbt:
      require(alpha >= 0.0 && alpha <= 1.0, "alpha must lie in [0, 1], got ", alpha);
      return alpha;
    default:
      return 0.5;
  }
}

Part part_from_name(std::string_view name) {
  if (name == "state") return Part::state;
  if (name == "input") return Part::input;
  throw InvalidArgument(message("of must be one of 'state', 'input'; got '", name, "'"));
}

void local_error(std::span<const Complex> eigenvalues, std::span<const double> steps, Rule rule,
                 double alpha, Part part, Rows<Complex> out) {
  const double weight = weight_of(rule, alpha);
  const auto columns = static_cast<Index>(eigenvalues.size());
  constexpr Index kBlock = 256;
  const Index blocks = (columns + kBlock - 1) / kBlock;
  const auto rows = static_cast<Index>(steps.size());
  const double work = kWorkPerValue * static_cast<double>(rows) * static_cast<double>(columns);
  parallel_for(rows * blocks, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    const Index row = i / blocks;
    const Index first = (i % blocks) * kBlock;
    for (Index j = first; j < std::min(columns, first + kBlock); ++j) {
      const Pair value = error_of(rule, weight, part, steps[row] * pair_of(eigenvalues[j]));
      out(row, j) = {value.re, value.im};
    }
  });
}

void growth(std::span<const double> real, std::span<const double> imag, Rule rule, double alpha,
            Rows<double> out) {
  const double weight = weight_of(rule, alpha);
  const auto rows = static_cast<Index>(imag.size());
  const auto columns = static_cast<Index>(real.size());
  const double work = kWorkPerValue * static_cast<double>(rows) * static_cast<double>(columns);
  parallel_for(rows, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    for (Index j = 0; j < columns; ++j) out(i, j) = growth_of(rule, weight, {real[j], imag[i]});
  });
}

void phi(std::span<const Complex> z, Index order, std::span<Complex> out) {
  constexpr Index kBlock = 1024;
  const auto count = static_cast<Index>(z.size());
  parallel_for((count + kBlock - 1) / kBlock, kWorkPerValue * static_cast<double>(count),
               [&](Index block, Checkpoint& checkpoint) {
                 checkpoint();
                 for (Index i = block * kBlock; i < std::min(count, (block + 1) * kBlock); ++i) {
                   const Pair value = math::phi(static_cast<int>(order), pair_of(z[i]));
                   out[i] = {value.re, value.im};
                 }
               });
}

double largest_step(std::span<const Complex> eigenvalues, Rule rule, double alpha,
                    double tolerance) {
  require(tolerance > 0.0 && std::isfinite(tolerance),
          "tolerance must be positive and finite, got ", tolerance);
  const double weight = weight_of(rule, alpha);
  if (!is_rational(rule)) return kInfinity;
  const auto count = static_cast<Index>(eigenvalues.size());
  std::vector<double> limits(eigenvalues.size(), kInfinity);
  const double work = 1e5 * static_cast<double>(count);
  parallel_for(count, work, [&](Index j, Checkpoint& checkpoint) {
    checkpoint();
    const double size = std::abs(eigenvalues[j]);
    if (size == 0.0) return;
    limits[j] = first_crossing(Ray(eigenvalues[j] / size, weight), tolerance, checkpoint) / size;
  });
  return limits.empty() ? kInfinity : *std::ranges::min_element(limits);
}

}  // namespace resolvent::discretize
