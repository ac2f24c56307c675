#include "resolvent/hippo/projection.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/hippo/propagator.hpp"
#include "resolvent/math/polynomial.hpp"

namespace resolvent::hippo {
namespace {

using std::numbers::pi;
using std::numbers::sqrt2;

constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr Index kPointBlock = 256;

/// Malmquist's table steps from point to point, so it is made in one piece.
Index points_per_table(const System& system, Index points) {
  return system.measure() == Measure::malmquist ? std::max<Index>(points, 1) : kPointBlock;
}

bool is_polynomial(const System& system) {
  return system.measure() == Measure::legs || system.measure() == Measure::legt;
}

void require_functions(const System& system) {
  require(system.measure() != Measure::derived && !system.is_complex(),
          "this system's basis is not known here");
}

// ---- tables of functions -----------------------------------------------------------------------

/// table(n, j) = P_n(2s_j − 1).
void tabulate_legendre(std::span<const double> s, Matrix<double>& table) {
  const auto points = static_cast<Index>(s.size());
  const Vector<double> z = 2.0 * ConstVectorView<double>(s.data(), points).array() - 1.0;
  table.row(0).setOnes();
  if (table.rows() > 1) table.row(1) = z.transpose();
  for (Index n = 1; n + 1 < table.rows(); ++n) {
    for (Index j = 0; j < points; ++j) {
      table(n + 1, j) = math::legendre_next(n, z[j], table(n, j), table(n - 1, j));
    }
  }
}

/// table(n, j) = 1, √2cos 2πs, √2sin 2πs, √2cos 4πs, ….
void tabulate_fourier(std::span<const double> s, Matrix<double>& table) {
  for (Index j = 0; j < table.cols(); ++j) {
    table(0, j) = 1.0;
    for (Index n = 1; n < table.rows(); ++n) {
      // The angle is reduced before it is multiplied out: ms mod 1 is exact to eps·m.
      const double turns = static_cast<double>((n + 1) / 2) * s[static_cast<std::size_t>(j)];
      const double angle = 2.0 * pi * (turns - std::round(turns));
      table(n, j) = sqrt2 * (n % 2 == 1 ? std::cos(angle) : std::sin(angle));
    }
  }
}

/// table(n, j) = L_n^{(α)}(t_j) · e^{exponent_j}. The factor stays apart until the end, so a large
/// t underflows only where the product does.
template <class Exponent>
void tabulate_laguerre(double alpha, std::span<const double> lags, Exponent&& exponent,
                       Matrix<double>& table) {
  constexpr double kBig = 1e150;
  for (Index j = 0; j < table.cols(); ++j) {
    const double t = lags[static_cast<std::size_t>(j)];
    double log_factor = exponent(t);
    double factor = std::exp(log_factor);
    double previous = 0.0;
    double value = 1.0;
    for (Index n = 0; n < table.rows(); ++n) {
      table(n, j) = factor * value;
      const double next = math::laguerre_next(n, alpha, t, value, previous);
      previous = value;
      value = next;
      if (std::abs(value) > kBig) {
        value /= kBig;
        previous /= kBig;
        log_factor += std::log(kBig);
        factor = std::exp(log_factor);
      }
    }
  }
}

/// table(n, j) = (e^{t_j A} B)_n in inner coordinates, for any cascade: steps from one lag to the
/// next in increasing order, with a new propagator only where the gap changes.
void tabulate_impulse_by_steps(const System& system, std::span<const double> lags,
                               Matrix<double>& table) {
  const System orthonormal = balanced(system);
  const Vector<double> B = orthonormal.B() * orthonormal.unit();
  const Vector<double> scale = orthonormal.scale();
  std::vector<std::size_t> sorted(lags.size());
  std::iota(sorted.begin(), sorted.end(), std::size_t{0});
  std::ranges::sort(sorted, {}, [&](std::size_t i) { return lags[i]; });
  Vector<double> impulse = B;
  Matrix<double> phi;
  double reached = 0.0;
  double prepared = -1.0;
  for (const std::size_t i : sorted) {
    const double gap = lags[i] - reached;
    if (gap > 0.0) {
      if (std::abs(gap - prepared) > 4.0 * kEps * lags[i]) {
        phi = exponential(orthonormal, gap * orthonormal.unit());
        prepared = gap;
      }
      impulse = phi.triangularView<Eigen::Lower>() * impulse;
      reached = lags[i];
    }
    table.col(static_cast<Index>(i)) = impulse.cwiseQuotient(scale);
  }
}

/// The analysing functions of a fading memory, e^{tA}B in inner coordinates.
void tabulate_impulse(const System& system, std::span<const double> lags, Matrix<double>& table) {
  const Config& config = system.config();
  if (system.measure() == Measure::malmquist) {
    tabulate_impulse_by_steps(system, lags, table);
  } else {
    const bool generalized = system.measure() == Measure::glagt;
    const double alpha = generalized ? config.alpha : 0.0;
    const double rate = generalized ? 0.5 * (1.0 + config.beta) : 0.5;
    tabulate_laguerre(alpha, lags, [&](double t) { return -rate * t; }, table);
  }
}

/// The functions that inner coefficients of a fading memory multiply: the dual ones.
void tabulate_fading_basis(const System& system, std::span<const double> lags,
                           Matrix<double>& table) {
  const Config& config = system.config();
  if (system.measure() == Measure::glagt) {
    const double alpha = config.alpha;
    const double rate = 0.5 * (1.0 - config.beta);
    tabulate_laguerre(
        alpha, lags,
        [&](double t) { return alpha == 0.0 ? -rate * t : alpha * std::log(t) - rate * t; }, table);
    double squared_norm = std::tgamma(alpha + 1.0);  // Γ(n+α+1)/n!
    for (Index n = 0; n < table.rows(); ++n) {
      if (n > 0) squared_norm *= (static_cast<double>(n) + alpha) / static_cast<double>(n);
      table.row(n) /= squared_norm;
    }
    return;
  }
  tabulate_impulse(system, lags, table);
  table.array().colwise() /= system.cascade().coupling.array();
}

// ---- exact projection --------------------------------------------------------------------------

/// sums(channel, n) = Σ_i (u_{i−1} − u_i) f_n(edge i), with u = 0 outside, over the first `cells`
/// cells, in blocks of edges.
template <class Tabulate>
Matrix<double> sum_over_jumps(ConstRows<double> u, Index cells,
                              const std::vector<double>& positions, Index functions, Index block,
                              Checkpoint& checkpoint, Tabulate&& tabulate) {
  const Index edges = cells + 1;
  Matrix<double> sums = Matrix<double>::Zero(u.rows(), functions);
  for (Index start = 0; start < edges; start += block) {
    checkpoint();
    const Index count = std::min(block, edges - start);
    Matrix<double> jumps(u.rows(), count);
    for (Index i = 0; i < count; ++i) {
      const Index cell = start + i;
      jumps.col(i).setZero();
      if (cell > 0) jumps.col(i) += u.col(cell - 1);
      if (cell < cells) jumps.col(i) -= u.col(cell);
    }
    Matrix<double> table(functions, count);
    const auto offset = static_cast<std::size_t>(start);
    tabulate(std::span(positions).subspan(offset, static_cast<std::size_t>(count)), table);
    sums.noalias() += jumps * table.transpose();
  }
  return sums;
}

/// ∫ P_n(2s−1) ds = (P_{n+1} − P_{n−1})/(2(2n+1)): inner coefficients (2n+1)∫ u P_n ds.
void finish_legendre(const Matrix<double>& sums, Matrix<double>& inner) {
  for (Index n = 0; n < inner.cols(); ++n) {
    inner.col(n) = 0.5 * sums.col(n + 1);
    if (n > 0) inner.col(n) -= 0.5 * sums.col(n - 1);
  }
}

/// ∫ √2cos = √2sin/ω, ∫ √2sin = −√2cos/ω; the constant's own antiderivative s comes in `line`.
void finish_fourier(const Matrix<double>& sums, const Vector<double>& line, Matrix<double>& inner) {
  inner.col(0) = line;
  for (Index n = 1; n < inner.cols(); ++n) {
    const double omega = 2.0 * pi * static_cast<double>((n + 1) / 2);
    const bool cosine = n % 2 == 1;
    inner.col(n) = sums.col(cosine ? n + 1 : n - 1) * ((cosine ? 1.0 : -1.0) / omega);
  }
}

/// A⁻¹ applied to −(sums over jumps): forward substitution.
void finish_cascade(const Cascade& cascade, const Matrix<double>& sums, Matrix<double>& inner) {
  for (Index row = 0; row < sums.rows(); ++row) {
    double below = 0.0;
    for (Index n = 0; n < inner.cols(); ++n) {
      inner(row, n) = (sums(row, n) - cascade.coupling[n] * below) / cascade.diagonal[n];
      below += inner(row, n);
    }
  }
}

double clamped_position(const System& system, double time, double now) {
  const double oldest = system.clock() == Clock::window ? now - system.config().window : -HUGE_VAL;
  return position(system, std::clamp(time, oldest, now), now);
}

Matrix<double> optimal_at(const System& system, ConstRows<double> u, std::span<const double> edges,
                          double now, Checkpoint& checkpoint) {
  const Index order = system.order();
  const auto last = std::ranges::lower_bound(edges, now) - edges.begin();
  const Index cells = std::min<Index>(last, u.cols());
  std::vector<double> positions(static_cast<std::size_t>(cells + 1));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    positions[i] = clamped_position(system, edges[i], now);
  }
  Matrix<double> inner(u.rows(), order);
  const Index block = points_per_table(system, cells + 1);
  const auto sum = [&](Index functions, auto&& tabulate) {
    return sum_over_jumps(u, cells, positions, functions, block, checkpoint, tabulate);
  };
  if (is_polynomial(system)) {
    finish_legendre(sum(order + 1, tabulate_legendre), inner);
  } else if (system.is_cascade()) {
    finish_cascade(
        system.cascade(),
        sum(order, [&](std::span<const double> lags,
                       Matrix<double>& table) { tabulate_impulse(system, lags, table); }),
        inner);
  } else {
    const Matrix<double> line = sum(1, [](std::span<const double> s, Matrix<double>& table) {
      table.row(0) = ConstVectorView<double>(s.data(), table.cols()).transpose();
    });
    // One function more than the order: the sine of a last lone cosine.
    finish_fourier(sum(order + 1, tabulate_fourier), line.col(0), inner);
  }
  return inner;
}

}  // namespace

double position(const System& system, double time, double now) {
  require(std::isfinite(time) && time <= now, "times must not lie after now = ", now, ", got ",
          time);
  const double window = system.config().window;
  const double lag = (now - time) / window;
  switch (system.clock()) {
    case Clock::scaled:
      require(time >= 0.0 && now > 0.0, "times must lie in [0, ", now, "], got ", time);
      return time / now;
    case Clock::window: {
      const double slack = 8.0 * kEps * std::max(1.0, std::abs(now) / window);
      require(lag <= 1.0 + slack, "times must lie in the window [", now - window, ", ", now,
              "], got ", time);
      return std::max(0.0, 1.0 - lag);
    }
    default:
      return system.config().frozen ? std::exp(-lag) : lag;
  }
}

void basis(const System& system, std::span<const double> positions, Matrix<double>& table) {
  require_functions(system);
  table.resize(system.order(), static_cast<Index>(positions.size()));
  if (is_polynomial(system)) {
    tabulate_legendre(positions, table);
  } else if (system.is_cascade()) {
    tabulate_fading_basis(system, positions, table);
  } else {
    tabulate_fourier(positions, table);
  }
  table.array().colwise() /= system.scale().array();
}

void reconstruct(const System& system, ConstRows<double> coefficients,
                 std::span<const double> positions, Rows<double> out) {
  const auto points = static_cast<Index>(positions.size());
  const Index block = points_per_table(system, points);
  const Index blocks = (points + block - 1) / block;
  const double work = 4.0 * static_cast<double>(points) * static_cast<double>(system.order()) *
                      static_cast<double>(coefficients.rows() + 1);
  parallel_for(blocks, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    const Index start = i * block;
    const Index count = std::min(block, points - start);
    Matrix<double> table;
    basis(system,
          positions.subspan(static_cast<std::size_t>(start), static_cast<std::size_t>(count)),
          table);
    out.middleCols(start, count).noalias() = coefficients * table;
  });
}

void optimal(const System& system, ConstRows<double> u, std::span<const double> edges,
             std::span<const double> at, Rows<double> out) {
  require_functions(system);
  require<ShapeMismatch>(static_cast<Index>(edges.size()) == u.cols() + 1,
                         "edges must hold one instant more than the ", u.cols(), " samples, got ",
                         edges.size());
  const auto instants = static_cast<Index>(at.size());
  const Vector<double> scale = system.scale();
  const double work = 4.0 * static_cast<double>(u.cols()) * static_cast<double>(system.order()) *
                      static_cast<double>(instants);
  parallel_for(instants, work, [&](Index i, Checkpoint& checkpoint) {
    const Matrix<double> inner =
        optimal_at(system, u, edges, at[static_cast<std::size_t>(i)], checkpoint);
    for (Index channel = 0; channel < u.rows(); ++channel) {
      out.row(channel * instants + i) = inner.row(channel).cwiseProduct(scale.transpose());
    }
  });
}

}  // namespace resolvent::hippo
