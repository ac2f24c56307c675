#include "resolvent/spectral/eigen.hpp"

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"

namespace resolvent::spectral {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool is_real(ConstRows<Complex> A) { return (A.imag().array() == 0.0).all(); }

std::vector<Index> descending(const Vector<Complex>& values) {
  std::vector<Index> order(static_cast<std::size_t>(values.size()));
  std::iota(order.begin(), order.end(), Index{0});
  std::ranges::sort(order, [&](Index i, Index j) {
    if (values[i].real() != values[j].real()) return values[i].real() > values[j].real();
    return values[i].imag() > values[j].imag();
  });
  return order;
}

template <class Solver>
void require_success(const Solver& solver, Index order) {
  require<NotConverged>(solver.info() == Eigen::Success,
                        "the QR algorithm did not converge for a matrix of order ", order);
}

struct Raw {
  Vector<Complex> values;
  Eigen::MatrixXcd vectors;
};

Raw raw_eigensystem(ConstRows<Complex> A, bool with_vectors) {
  Raw raw;
  if (is_real(A)) {
    const Eigen::EigenSolver<Eigen::MatrixXd> solver(A.real(), with_vectors);
    require_success(solver, A.rows());
    raw.values = solver.eigenvalues();
    if (with_vectors) raw.vectors = solver.eigenvectors();
  } else {
    const Eigen::ComplexEigenSolver<Eigen::MatrixXcd> solver(A, with_vectors);
    require_success(solver, A.rows());
    raw.values = solver.eigenvalues();
    if (with_vectors) raw.vectors = solver.eigenvectors();
  }
  return raw;
}

/// A number f·2^e with |f| in [½, 1) or 0, so that long products neither over- nor underflow.
struct Scaled {
  double fraction = 0.0;
  long exponent = 0;

  void normalize() {
    int shift = 0;
    fraction = std::frexp(fraction, &shift);
    exponent += shift;
  }
  void multiply(double factor) {
    fraction *= factor;
    normalize();
  }
  double times_power(long power) const {
    const long total = std::clamp(exponent + power, -5000L, 5000L);
    return std::ldexp(fraction, static_cast<int>(total));
  }
  double log_magnitude() const {
    if (fraction == 0.0) return -kInfinity;
    return std::log(std::abs(fraction)) + static_cast<double>(exponent) * std::numbers::ln2;
  }
};

Scaled scaled(double value) {
  Scaled s{value, 0};
  s.normalize();
  return s;
}

using Column = std::vector<Scaled>;

/// The 2-norm of a column.
Scaled norm(const Column& column) {
  long largest = std::numeric_limits<long>::min();
  for (const Scaled& x : column) {
    if (x.fraction != 0.0) largest = std::max(largest, x.exponent);
  }
  double sum = 0.0;
  for (const Scaled& x : column) {
    if (x.fraction == 0.0) continue;
    const double entry = x.times_power(-largest);
    sum += entry * entry;
  }
  Scaled result{std::sqrt(sum), largest};
  result.normalize();
  return result;
}

/// The eigenvector for pole m along `step` = 1 (right, n > m) or −1 (left, n < m), in the
/// coordinates with the given scale: entries scale_n x_n/scale_m.
Column product_vector(const Vector<double>& poles, const Vector<double>& scale, Index m,
                      Index step) {
  Column x(static_cast<std::size_t>(poles.size()));
  x[static_cast<std::size_t>(m)] = scaled(1.0);
  Scaled product = scaled(1.0);
  for (Index n = m + step; n >= 0 && n < poles.size(); n += step) {
    const double difference = poles[m] - poles[n];
    Scaled entry = product;
    entry.multiply(2.0 * std::sqrt(poles[n]) * std::sqrt(poles[m]) / difference);
    entry.multiply(scale[n] / scale[m]);
    x[static_cast<std::size_t>(n)] = entry;
    product.multiply((poles[m] + poles[n]) / difference);
  }
  return x;
}

/// The poles of a cascade, and the indices by which they ascend, which is how eigenvalues descend.
struct Ordered {
  explicit Ordered(const hippo::System& system)
      : poles(0.5 * system.cascade().coupling),
        // Orthonormal coordinates are √(2p_n) times the inner ones, those of the system `scale`.
        scale(system.scale().cwiseProduct((2.0 * poles).cwiseSqrt())),
        order(static_cast<std::size_t>(poles.size())) {
    std::iota(order.begin(), order.end(), Index{0});
    std::ranges::stable_sort(order, {}, [this](Index n) { return poles[n]; });
  }

  bool is_repeated(Index i) const {
    const auto pole = [this](Index j) { return poles[order[static_cast<std::size_t>(j)]]; };
    return (i > 0 && pole(i - 1) == pole(i)) || (i + 1 < poles.size() && pole(i + 1) == pole(i));
  }

  Vector<double> poles;
  Vector<double> scale;
  std::vector<Index> order;
};

double log10_of(const Scaled& s) { return s.log_magnitude() / std::numbers::ln10; }

/// From the largest eigenvalue of A*A, which squaring does not harm.
double largest_singular_value(const Eigen::MatrixXcd& A) {
  const Eigen::MatrixXcd square = A.adjoint() * A;
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXcd> solver(square, Eigen::EigenvaluesOnly);
  require_success(solver, A.rows());
  return std::sqrt(solver.eigenvalues().maxCoeff());
}

}  // namespace

Eigensystem eigensystem(ConstRows<Complex> A) {
  const Raw raw = raw_eigensystem(A, true);
  const std::vector<Index> order = descending(raw.values);
  const Index N = A.rows();
  Eigensystem result{Vector<Complex>(N), Matrix<Complex>(N, N)};
  for (Index j = 0; j < N; ++j) {
    const Index from = order[static_cast<std::size_t>(j)];
    Vector<Complex> v = raw.vectors.col(from);
    Index largest = 0;
    v.cwiseAbs().maxCoeff(&largest);
    v *= std::abs(v[largest]) / v[largest];
    v.normalize();
    result.values[j] = raw.values[from];
    result.vectors.col(j) = v;
  }
  return result;
}

Vector<Complex> eigenvalues(ConstRows<Complex> A) {
  const Raw raw = raw_eigensystem(A, false);
  const std::vector<Index> order = descending(raw.values);
  Vector<Complex> values(A.rows());
  for (Index j = 0; j < A.rows(); ++j) values[j] = raw.values[order[static_cast<std::size_t>(j)]];
  return values;
}

TriangularVectors triangular_vectors(const hippo::System& system, bool with_condition) {
  const Ordered ordered(system);
  const Vector<double>& poles = ordered.poles;
  const Vector<double>& scale = ordered.scale;
  const std::vector<Index>& order = ordered.order;
  const Index N = poles.size();
  for (Index i = 0; i < N; ++i) {
    require(!ordered.is_repeated(i), "this system is defective: the eigenvalue ",
            -system.cascade().diagonal[order[static_cast<std::size_t>(i)]] / system.unit(),
            " is repeated and has one eigenvector only");
  }
  TriangularVectors result{Matrix<double>::Zero(N, N), Matrix<double>::Constant(N, N, -kInfinity),
                           Matrix<double>::Zero(N, N), Vector<double>(N),
                           std::numeric_limits<double>::quiet_NaN()};
  Eigen::MatrixXd inverse = Eigen::MatrixXd::Zero(N, N);  // over 2^shift
  std::vector<Column> left(static_cast<std::size_t>(N));
  std::vector<Scaled> lengths(static_cast<std::size_t>(N));
  const double work = 40.0 * static_cast<double>(N) * static_cast<double>(N);
  parallel_for(N, work, [&](Index j, Checkpoint& checkpoint) {
    checkpoint();
    const auto at = static_cast<std::size_t>(j);
    const Column x = product_vector(poles, scale, order[at], 1);
    left[at] = product_vector(poles, scale.cwiseInverse(), order[at], -1);
    const Scaled length = norm(x);
    lengths[at] = length;
    for (Index n = order[at]; n < N; ++n) {
      const Scaled& entry = x[static_cast<std::size_t>(n)];
      result.vectors(n, j) = entry.times_power(-length.exponent) / length.fraction;
      result.log_magnitude(n, j) = entry.log_magnitude() - length.log_magnitude();
      result.sign(n, j) = entry.fraction > 0.0 ? 1.0 : -1.0;
    }
    result.log10_condition[j] = log10_of(length) + log10_of(norm(left[at]));
  });
  if (!with_condition) return result;
  // The inverse has the left eigenvectors as rows, times the lengths that the columns gave up.
  const double largest = result.log10_condition.maxCoeff();
  const long shift = std::lround(largest / std::log10(2.0));
  for (Index j = 0; j < N; ++j) {
    const auto at = static_cast<std::size_t>(j);
    for (Index n = 0; n <= order[at]; ++n) {
      const Scaled& entry = left[at][static_cast<std::size_t>(n)];
      inverse(j, n) = lengths[at].fraction * entry.times_power(lengths[at].exponent - shift);
    }
  }
  result.log10_matrix_condition =
      std::log10(largest_singular_value(result.vectors.cast<Complex>())) +
      std::log10(largest_singular_value(inverse.cast<Complex>())) +
      static_cast<double>(shift) * std::log10(2.0);
  return result;
}

Vector<double> triangular_conditions(const hippo::System& system) {
  const Ordered ordered(system);
  const Index N = ordered.poles.size();
  Vector<double> conditions = Vector<double>::Constant(N, kInfinity);
  const double work = 40.0 * static_cast<double>(N) * static_cast<double>(N);
  parallel_for(N, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    if (ordered.is_repeated(i)) return;
    const Index m = ordered.order[static_cast<std::size_t>(i)];
    const Column right = product_vector(ordered.poles, ordered.scale, m, 1);
    const Column left = product_vector(ordered.poles, ordered.scale.cwiseInverse(), m, -1);
    conditions[i] = log10_of(norm(right)) + log10_of(norm(left));
  });
  return conditions;
}

DenseConditioning dense_conditioning(ConstRows<Complex> A) {
  const Index N = A.rows();
  const Eigensystem system = eigensystem(A);
  const Eigen::MatrixXcd V = system.vectors;
  const Eigen::MatrixXcd inverse = V.partialPivLu().inverse();
  const double condition = inverse.allFinite()
                               ? largest_singular_value(V) * largest_singular_value(inverse)
                               : kInfinity;  // parallel eigenvectors
  const Eigen::ComplexSchur<Eigen::MatrixXcd> schur(A, false);
  require_success(schur, N);
  const Eigen::MatrixXcd strict =
      schur.matrixT().template triangularView<Eigen::StrictlyUpper>().toDenseMatrix();
  return {system.values, inverse.rowwise().norm().array().log10(), std::log10(condition),
          strict.norm()};
}

}  // namespace resolvent::spectral
