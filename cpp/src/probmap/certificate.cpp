#include "resolvent/probmap/certificate.hpp"

#include <functional>
#include <vector>

#include "lanes.hpp"

namespace resolvent::probmap {
namespace {

using Real = long double;

constexpr Real kTiny = std::numeric_limits<Real>::epsilon();
constexpr int kMostPasses = 500;

struct Answer {
  Real value;
  Real residual;
  Index support;
};

/// The row divided by τ, largest entry first as `top`, the others as distances from it; masked
/// entries are left out.
struct Distances {
  Real top = -kInfinity<Real>;
  std::vector<Real> below;

  Distances(const double* x, Index n, double temperature, Real factor) {
    const double max = *std::max_element(x, x + n);
    top = factor * static_cast<Real>(max) / static_cast<Real>(temperature);
    below.reserve(static_cast<std::size_t>(n));
    for (Index j = 0; j < n; ++j) {
      if (x[j] == -kInfinity<double>) continue;
      below.push_back(factor * (static_cast<Real>(max) - static_cast<Real>(x[j])) /
                      static_cast<Real>(temperature));
    }
  }
};

Index count_below(const std::vector<Real>& distances, Real limit) {
  return std::count_if(distances.begin(), distances.end(), [=](Real d) { return d < limit; });
}

Answer softmax_answer(const Distances& row) {
  Real sum = 0;
  for (const Real d : row.below) sum += std::exp(-d);
  const Real shift = std::log(sum);
  Real total = 0;
  for (const Real d : row.below) total += std::exp(-d - shift);
  return {row.top + shift, total - 1, static_cast<Index>(row.below.size())};
}

struct RealSums {
  Real F = 0;
  Real S = 0;
};

/// Σ u^q and Σ u^{q−1} of the positive u = 1 − v − d.
RealSums sums_at(const std::vector<Real>& distances, Real v, Real q) {
  RealSums sums;
  for (const Real d : distances) {
    if (!(v + d < 1)) continue;
    const Real power = q == 1 ? 1 - v - d : std::exp(q * std::log1p(-(v + d)));
    sums.F += power;
    sums.S += q == 1 ? Real(1) : power / (1 - v - d);
  }
  return sums;
}

/// ‖u‖_q = 1 for q ≥ 1, by Newton's steps from v = 0, which rise to the root. λ = top − (1 − v).
Answer convex_answer(const Distances& row, Real q) {
  Real v = 0;
  for (int pass = 0; pass < kMostPasses; ++pass) {
    const RealSums sums = sums_at(row.below, v, q);
    const Real step = -sums.F * std::expm1(-std::log(sums.F) / q) / sums.S;
    if (!(step > kTiny * (1 - v) / q)) break;
    v += step;
  }
  return {row.top - (1 - v), sums_at(row.below, v, q).F - 1, count_below(row.below, 1 - v)};
}

/// Entmax with α > 2, in z = p_max: Σ (w − d)_+^q = 1, w = z^{1/q}, by bisection to neighbours.
Answer steep_answer(const Distances& row, Real q) {
  const auto width = [q](Real z) { return std::exp(std::log(z) / q); };
  const auto excess = [&](Real z) {
    const Real w = width(z);
    Real sum = -1;
    for (const Real d : row.below) {
      if (d == 0) {
        sum += z;
      } else if (d < w) {
        sum += z * std::exp(q * std::log1p(-d / w));
      }
    }
    return sum;
  };
  Real low = 1 / static_cast<Real>(row.below.size());
  Real high = 1;
  if (excess(high) <= 0) low = high;
  for (int pass = 0; pass < kMostPasses && low < high; ++pass) {
    const Real middle = low + (high - low) / 2;
    if (!(low < middle && middle < high)) break;
    (excess(middle) > 0 ? high : low) = middle;
  }
  const Real w = width(high);
  const Index support =
      std::count_if(row.below.begin(), row.below.end(), [=](Real d) { return d == 0 || d < w; });
  return {row.top - w, std::min(std::abs(excess(low)), std::abs(excess(high))), support};
}

/// Σ clip(1 − v − d, 0, 1) − total falls with v from v ≤ −d_max on; bisection to neighbours, then
/// one step on the line that the root lies on.
Answer budget_answer(const Distances& row, Real total) {
  const auto excess = [&](Real v) {
    Real sum = -total;
    for (const Real d : row.below) sum += std::clamp<Real>(1 - v - d, 0, 1);
    return sum;
  };
  std::vector<Real> sorted = row.below;
  std::sort(sorted.begin(), sorted.end());
  const Real pivot = sorted[static_cast<std::size_t>(std::ceil(total)) - 1];
  Real low = -pivot;
  Real high = 1 - pivot;
  if (excess(low) <= 0) high = low;
  for (int pass = 0; pass < kMostPasses && low < high; ++pass) {
    const Real middle = low + (high - low) / 2;
    if (!(low < middle && middle < high)) break;
    (excess(middle) > 0 ? low : high) = middle;
  }
  const Real v = high;
  return {row.top - (1 - v), excess(v), count_below(row.below, 1 - v)};
}

Answer normmax_answer(const Distances& row, double alpha) {
  if (alpha == 1.0) return {row.top - 1, 0, std::count(row.below.begin(), row.below.end(), 0)};
  if (std::isinf(alpha)) return convex_answer(row, 1);
  return convex_answer(row, static_cast<Real>(alpha) / (static_cast<Real>(alpha) - 1));
}

Answer entmax_answer(const double* x, Index n, double alpha, double temperature) {
  if (alpha == 1.0) return softmax_answer(Distances(x, n, temperature, 1));
  const Real c = static_cast<Real>(alpha) - 1;
  const Distances row(x, n, temperature, c);
  return alpha <= 2.0 ? convex_answer(row, 1 / c) : steep_answer(row, 1 / c);
}

/// Runs `answer` over the rows; empty ones get λ = −∞ and no support.
template <class F>
Certificate certify(ConstRows<double> x, F&& answer) {
  Census<double> census(x);
  Certificate found{Vector<double>(x.rows()), Vector<double>(x.rows()), Vector<Index>(x.rows())};
  for_rows(x.rows(), x.cols(), [&](Index row) {
    const Maxima<double> m = maxima(x.row(row).data(), x.cols());
    if (!m.is_clean()) return census.refuse();
    const bool empty = m.overall() == -kInfinity<double>;
    const Answer a = empty ? Answer{-kInfinity<Real>, 0, 0} : answer(x.row(row).data(), row);
    found.value[row] = static_cast<double>(a.value);
    found.residual[row] = static_cast<double>(a.residual);
    found.support[row] = a.support;
  });
  census.check();
  return found;
}

}  // namespace

Certificate softmax_certificate(ConstRows<double> x, Parameter temperature) {
  return certify(x, [&](const double* from, Index row) {
    return softmax_answer(Distances(from, x.cols(), temperature[row], 1));
  });
}

Certificate entmax_certificate(ConstRows<double> x, Parameter alpha, Parameter temperature) {
  return certify(x, [&](const double* from, Index row) {
    require(std::isfinite(alpha[row]), "alpha must be finite for a threshold, got ", alpha[row]);
    return entmax_answer(from, x.cols(), alpha[row], temperature[row]);
  });
}

Certificate normmax_certificate(ConstRows<double> x, Parameter alpha, Parameter temperature) {
  return certify(x, [&](const double* from, Index row) {
    return normmax_answer(Distances(from, x.cols(), temperature[row], 1), alpha[row]);
  });
}

Certificate budget_certificate(ConstRows<double> x, Parameter total, Parameter temperature) {
  return certify(x, [&](const double* from, Index row) {
    const Distances distances(from, x.cols(), temperature[row], 1);
    const auto entries = static_cast<double>(distances.below.size());
    require(total[row] <= entries, "total must be at most ", entries,
            ", the number of entries in row ", row, ", got ", total[row]);
    return budget_answer(distances, static_cast<Real>(total[row]));
  });
}

}  // namespace resolvent::probmap
