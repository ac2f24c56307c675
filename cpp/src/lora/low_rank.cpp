#include "resolvent/lora/low_rank.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "basis.hpp"
#include "panel.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/threads.hpp"
#include "small_svd.hpp"

namespace resolvent::lora {
namespace {

Index panels_for(Index vectors) { return (vectors + kPanel - 1) / kPanel; }

/// Of the scaled matrix, whose Frobenius norm is near 1: what products in T cannot tell from zero.
template <class T>
constexpr double kNegligible = 16.0 * std::numeric_limits<T>::epsilon();

/// M times a power of two that brings its Frobenius norm into [1, 2), so that no square leaves the
/// range of T. The factor goes into the vectors, not into M.
template <class T>
class Scaled {
 public:
  explicit Scaled(ConstRows<T> M) : M_(M) {
    norm_ = std::sqrt(sum_of_squares(M));
    if (!(norm_ > kSmallest && norm_ < kLargest)) norm_ = norm_beyond_squares();
    // Both 2^exponent and its inverse are a T.
    constexpr int reach = std::numeric_limits<T>::max_exponent - 2;
    if (norm_ > 0.0) exponent_ = std::clamp(std::ilogb(norm_), -reach, reach);
    factor_ = std::ldexp(T(1), -exponent_);
  }

  double norm() const { return norm_; }
  int exponent() const { return exponent_; }
  Index rows() const { return M_.rows(); }
  Index columns() const { return M_.cols(); }
  Vector<T> row(Index i) const { return M_.row(i).transpose() * factor_; }
  /// Vectors that were multiplied so far.
  Index products() const { return products_; }

  Panel<T> times(const Panel<T>& X) {
    Panel<T> out;
    multiply(M_, Panel<T>(X * factor_), out);
    products_ += kPanel;
    return out;
  }

  Panel<T> transposed_times(const Panel<T>& X) {
    Panel<T> out;
    multiply_transposed(M_, Panel<T>(X * factor_), out);
    products_ += kPanel;
    return out;
  }

  /// Mᵀ times a sparse random panel.
  Panel<T> sketch(std::uint64_t seed) const {
    Panel<T> out;
    sketch_rows(M_, seed, factor_, out);
    return out;
  }

 private:
  // Between these a sum of squares in double has all its digits.
  static constexpr double kSmallest = 1e-140, kLargest = 1e150;

  double norm_beyond_squares() const {
    for (Index i = 0; i < M_.size(); ++i) {
      const T x = M_.data()[i];
      require(std::isfinite(x), "M must be finite, got M[", i / M_.cols(), ", ", i % M_.cols(),
              "] = ", x);
    }
    const T largest = M_.cwiseAbs().maxCoeff();
    if (largest == T(0)) return 0.0;
    const int exponent = std::ilogb(largest);
    double sum = 0.0;
    for (Index i = 0; i < M_.size(); ++i) {
      const double x = std::scalbn(static_cast<double>(M_.data()[i]), -exponent);
      sum += x * x;
    }
    return std::scalbn(std::sqrt(sum), exponent);
  }

  ConstRows<T> M_;
  double norm_ = 0.0;
  int exponent_ = 0;
  T factor_ = T(1);
  Index products_ = 0;
};

/// Orthonormal bases U and V, and B with M V = U B.
template <class T>
struct Projection {
  Projection(Index rows, Index columns, std::uint64_t seed)
      : U(rows, seed ^ 0x55), V(columns, seed ^ 0xAA) {}

  Basis<T> U, V;
  Eigen::MatrixXd B;

  /// Adds M times the next panel of V to U, and its coefficients to B.
  void extend(Scaled<T>& M, const Panel<T>& v) {
    const Matrix<double> C = U.append(M.times(v), kNegligible<T>);
    Eigen::MatrixXd grown = Eigen::MatrixXd::Zero(U.vectors(), B.cols() + kPanel);
    grown.topLeftCorner(B.rows(), B.cols()) = B;
    grown.rightCols(kPanel) = C;
    B = std::move(grown);
  }
};

template <class T>
SmallSvd triplets_of(const Eigen::MatrixXd& B, Checkpoint& checkpoint) {
  constexpr double eps = std::numeric_limits<T>::epsilon();
  return small_svd(B, 8.0 * eps, eps, checkpoint);
}

/// Fixes the sign: the entry of largest magnitude of each column of U is positive.
template <class T>
void fix_signs(Matrix<T>& U, Matrix<T>& V) {
  for (Index i = 0; i < U.cols(); ++i) {
    Index at = 0;
    U.col(i).cwiseAbs().maxCoeff(&at);
    if (U(at, i) < T(0)) {
      U.col(i) = -U.col(i);
      V.col(i) = -V.col(i);
    }
  }
}

/// U and V of the leading triplets; completed where M is of smaller rank.
template <class T>
LowRank<T> lifted(Scaled<T>& M, Projection<T>& space, const SmallSvd& inner, Index rank) {
  LowRank<T> out;
  out.norm = M.norm();
  out.sigma = inner.sigma.head(rank);
  out.U = combine(space.U.panels(), Matrix<double>(inner.left.leftCols(rank)));
  out.V = combine(space.V.panels(), Matrix<double>(inner.right.leftCols(rank)));
  Index sound = 0;
  while (sound < rank && inner.sigma[sound] > kNegligible<T>) ++sound;
  space.U.complete(out.U, sound);
  space.V.complete(out.V, sound);
  fix_signs(out.U, out.V);
  return out;
}

/// ‖Mᵀu − σv‖ of every triplet, of the scaled matrix.
template <class T>
Vector<double> measured_errors(Scaled<T>& M, const LowRank<T>& found) {
  const Index rank = found.sigma.size();
  Vector<double> errors(rank);
  for (Index first = 0; first < rank; first += kPanel) {
    const Index count = std::min(kPanel, rank - first);
    Panel<T> u = Panel<T>::Zero(M.rows(), kPanel);
    u.leftCols(count) = found.U.middleCols(first, count);
    const Panel<T> image = M.transposed_times(u);
    for (Index k = 0; k < count; ++k) {
      const auto difference =
          image.col(k).template cast<double>() -
          found.sigma[first + k] * found.V.col(first + k).template cast<double>();
      errors[first + k] = difference.norm();
    }
  }
  return errors;
}

/// ‖M − U diag(sigma) Vᵀ‖_F of the scaled matrix, from the difference itself. Cost 2·n·m·rank.
template <class T>
double direct_residual(const Scaled<T>& M, const LowRank<T>& found) {
  const Index rank = found.sigma.size(), m = M.columns();
  const Matrix<T> right = found.V.transpose();
  std::vector<double> squares(static_cast<std::size_t>(M.rows()));
  const double work = 2.0 * static_cast<double>(M.rows()) * static_cast<double>(m * rank);
  parallel_for(M.rows(), work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    Vector<T> rest = M.row(i);
    for (Index k = 0; k < rank; ++k) {
      const T factor = static_cast<T>(found.sigma[k]) * found.U(i, k);
      const T* from = right.data() + k * m;
#pragma omp simd
      for (Index j = 0; j < m; ++j) rest[j] -= factor * from[j];
    }
    squares[static_cast<std::size_t>(i)] = rest.template cast<double>().squaredNorm();
  });
  double sum = 0.0;
  for (const double square : squares) sum += square;
  return std::sqrt(sum);
}

/// What is left of M, and all back to M's own scale.
template <class T>
LowRank<T> finished(LowRank<T> out, const Scaled<T>& M, Index iterations) {
  const double norm = std::scalbn(out.norm, -M.exponent());
  const double rest = norm * norm - out.sigma.squaredNorm();
  // σ² has errors of a few eps·σ²; a difference of that size has no digits.
  const bool cancels = rest <= 64.0 * std::numeric_limits<T>::epsilon() * norm * norm;
  out.residual = std::scalbn(cancels ? direct_residual(M, out) : std::sqrt(rest), M.exponent());
  for (auto* values : {&out.sigma, &out.errors}) {
    for (double& value : *values) value = std::scalbn(value, M.exponent());
  }
  out.products = M.products();
  out.iterations = iterations;
  return out;
}

template <class T>
void check(const ConstRows<T>& M, Index rank, const LowRankOptions& options) {
  const Index most = std::min(M.rows(), M.cols());
  require(rank >= 1 && rank <= most, "rank must be between 1 and min(n, m) = ", most, ", got ",
          rank);
  require(options.oversample >= 0, "oversample must not be negative, got ", options.oversample);
  if (options.iterations) {
    require(*options.iterations >= 1, "iterations must be at least 1, got ", *options.iterations);
  }
  if (options.tolerance) {
    require(*options.tolerance > 0.0, "tolerance must be positive, got ", *options.tolerance);
  }
}

/// rank + oversample, of which more than the smaller side is of no use.
template <class T>
Index widened(const ConstRows<T>& M, Index rank, const LowRankOptions& options) {
  return rank + std::min(options.oversample, std::min(M.rows(), M.cols()));
}

/// The largest error as a share of what it is measured by; ≤ tolerance if all are good enough.
template <class T>
double worst_share(const Vector<double>& errors, const Vector<double>& sigma, bool each) {
  double worst = 0.0;
  for (Index i = 0; i < errors.size(); ++i) {
    // Of the scaled matrix: beneath kNegligible there is rounding only.
    if (each && errors[i] <= kNegligible<T>) continue;
    worst = std::max(worst, errors[i] / std::max(each ? sigma[i] : sigma[0], 1e-300));
  }
  return worst;
}

[[noreturn]] void refuse(double share, double tolerance, Index count, const char* what) {
  std::ostringstream text;
  text.precision(3);
  text << "singular triplets have errors up to " << share << " of the largest singular value after "
       << count << ' ' << what << "; asked for: tolerance = " << tolerance;
  throw NotConverged(text.str());
}

}  // namespace

template <class T>
LowRank<T> block_krylov(ConstRows<T> M, Index rank, const LowRankOptions& options) {
  check(M, rank, options);
  Scaled<T> scaled(M);
  // One block more than span the smaller side: the first need not lie in M's row space.
  const Index most = panels_for(std::min(M.rows(), M.cols())) + 1;
  const Index needed = panels_for(rank);
  if (options.iterations) {
    require(*options.iterations >= needed, "iterations must be at least ", needed, " for rank ",
            rank, " (a block has ", kPanel, " vectors), got ", *options.iterations);
  }
  const Index cap = std::min(most, options.iterations.value_or(most));
  const Index usual = std::min(cap, panels_for(2 * widened(M, rank, options)));
  Index target = options.iterations ? cap : usual;
  if (options.tolerance) target = std::min(cap, std::max(needed, usual / 2));

  Projection<T> space(M.rows(), M.cols(), options.seed);
  space.V.append(scaled.sketch(options.seed), kNegligible<T>);
  Checkpoint checkpoint;
  for (Index blocks = 1;; ++blocks) {
    checkpoint();
    space.extend(scaled, space.V.back());
    const bool due = blocks >= target;
    SmallSvd inner;
    if (due) inner = triplets_of<T>(space.B, checkpoint);
    if (due && !options.tolerance) {
      return finished(lifted(scaled, space, inner, rank), scaled, blocks);
    }
    // What the next block adds to V is what Mᵀ U has outside V.
    const Square link =
        space.V.append(scaled.transposed_times(space.U.back()), kNegligible<T>).bottomRows(kPanel);
    if (!due) continue;
    const Eigen::MatrixXd outside = link * inner.left.bottomRows(kPanel).leftCols(rank);
    const Vector<double> errors = outside.colwise().norm();
    const double worst = worst_share<T>(errors, inner.sigma, options.each);
    if (worst <= *options.tolerance) {
      LowRank<T> found = lifted(scaled, space, inner, rank);
      found.errors = errors;
      return finished(std::move(found), scaled, blocks);
    }
    if (blocks == cap) refuse(worst, *options.tolerance, blocks, "blocks");
    target = std::min(cap, blocks + std::max<Index>(1, blocks / 4));
  }
}

template <class T>
LowRank<T> subspace_iteration(ConstRows<T> M, Index rank, const LowRankOptions& options) {
  check(M, rank, options);
  Scaled<T> scaled(M);
  const Index width = panels_for(std::min(widened(M, rank, options), std::min(M.rows(), M.cols())));
  const Index steps = options.iterations.value_or(4);
  Projection<T> space(M.rows(), M.cols(), options.seed);
  for (Index k = 0; k < width; ++k) {
    space.V.append(scaled.sketch(options.seed + static_cast<std::uint64_t>(k)), kNegligible<T>);
  }
  Checkpoint checkpoint;
  for (Index step = 0;; ++step) {
    for (const auto& panel : space.V.panels()) {
      checkpoint();
      space.extend(scaled, panel);
    }
    if (step == steps || options.tolerance) {
      LowRank<T> found = lifted(scaled, space, triplets_of<T>(space.B, checkpoint), rank);
      if (!options.tolerance) return finished(std::move(found), scaled, step);
      found.errors = measured_errors(scaled, found);
      const double worst = worst_share<T>(found.errors, found.sigma, options.each);
      if (worst <= *options.tolerance) return finished(std::move(found), scaled, step);
      if (step == steps) refuse(worst, *options.tolerance, steps, "iterations");
    }
    Projection<T> next(M.rows(), M.cols(), options.seed);
    for (const auto& panel : space.U.panels()) {
      checkpoint();
      next.V.append(scaled.transposed_times(panel), kNegligible<T>);
    }
    space = std::move(next);
  }
}

template LowRank<float> block_krylov(ConstRows<float>, Index, const LowRankOptions&);
template LowRank<double> block_krylov(ConstRows<double>, Index, const LowRankOptions&);
template LowRank<float> subspace_iteration(ConstRows<float>, Index, const LowRankOptions&);
template LowRank<double> subspace_iteration(ConstRows<double>, Index, const LowRankOptions&);

}  // namespace resolvent::lora
