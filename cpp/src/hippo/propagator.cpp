#include "resolvent/hippo/propagator.hpp"

#include <cmath>

#include "resolvent/core/error.hpp"
#include "resolvent/core/matrix_functions.hpp"
#include "resolvent/math/hippo.hpp"
#include "resolvent/math/polynomial.hpp"

namespace resolvent::hippo {
namespace {

// ---- legs --------------------------------------------------------------------------------------

/// ∫_ρ^1 g_n = r_n (P_{n−1} − P_{n+1})(z)/(2(2n+1)), z = 2ρ − 1, by differences of neighbours,
/// which keep their relative accuracy as 1 − ρ → 0.
Vector<double> legs_input(Index order, double t) {
  const double delta = -std::expm1(-t);
  Vector<double> gamma(order);
  gamma[0] = delta;
  double value = 1.0;  // P_m
  double difference = 0.0;
  for (Index m = 0; m < order; ++m) {
    const double before = difference;  // P_m − P_{m−1}
    difference = math::legendre_difference(static_cast<double>(m), 2.0 * delta, value, before);
    value += difference;
    if (m > 0) {
      gamma[m] = -0.5 * (difference + before) / std::sqrt(static_cast<double>(2 * m + 1));
    }
  }
  return gamma;
}

// ---- lagt, glagt -------------------------------------------------------------------------------

/// First column of e^{tA} − I for A = −d − z/(1 − z), z the shift: e^{−dt}e^{−tz/(1−z)} − 1, that
/// is e^{−dt}L_n^{(−1)}(t). The polynomials are kept in range by a separate exponent.
Vector<double> toeplitz_exponential(Index order, double d, double t) {
  constexpr double kLarge = 1e100;
  Vector<double> column(order);
  column[0] = std::expm1(-d * t);
  double current = 1.0;
  double previous = 0.0;
  double logarithm = -d * t;
  for (Index n = 0; n + 1 < order; ++n) {
    const double next = math::laguerre_next(n, -1.0, t, current, previous);
    previous = current;
    current = next;
    if (std::abs(current) > kLarge) {
      current /= kLarge;
      previous /= kLarge;
      logarithm += std::log(kLarge);
    }
    column[n + 1] = std::exp(logarithm) * current;
  }
  return column;
}

/// First column of φ_1(tA): the series (e^{tA} − 1)/(tA) with A = −(d + (1 − d)z)/(1 − z).
Vector<double> toeplitz_phi(const Vector<double>& exponential, double d, double t) {
  Vector<double> column(exponential.size());
  double before = 0.0;
  for (Index n = 0; n < column.size(); ++n) {
    const double difference = exponential[n] - before;
    before = exponential[n];
    const double last = n > 0 ? column[n - 1] : 0.0;
    column[n] = (-difference / t - (1.0 - d) * last) / d;
  }
  return column;
}

/// Entry n of the product of the lower triangular Toeplitz matrix with a vector.
Vector<double> toeplitz_product(const Vector<double>& column, const Vector<double>& x) {
  Vector<double> out(x.size());
  for (Index n = 0; n < x.size(); ++n) out[n] = column.head(n + 1).reverse().dot(x.head(n + 1));
  return out;
}

double toeplitz_diagonal(const System& system) { return system.cascade().diagonal[0]; }

/// scale ⊙ (I + Toeplitz(column)) / scale.
Matrix<double> toeplitz_matrix(const System& system, const Vector<double>& column) {
  const Index N = system.order();
  const Vector<double> s = system.scale();
  Matrix<double> phi = Matrix<double>::Zero(N, N);
  for (Index n = 0; n < N; ++n) {
    phi.row(n).head(n + 1) =
        s[n] * column.head(n + 1).reverse().cwiseQuotient(s.head(n + 1)).transpose();
    phi(n, n) = 1.0 + column[0];
  }
  return phi;
}

// ---- any system --------------------------------------------------------------------------------

enum class Route { dilation, toeplitz, dense };

/// The closed forms are stable forward in time only.
Route route_of(const System& system, double t) {
  require(!system.is_complex(), "normalization 'complex' has no real exponential");
  if (t < 0.0) return Route::dense;
  switch (system.measure()) {
    case Measure::legs:
      return Route::dilation;
    case Measure::lagt:
    case Measure::glagt:
      return Route::toeplitz;
    default:
      return Route::dense;
  }
}

/// From balanced coordinates to the system's: x_n scales by factor[n].
Vector<double> rebalance(const System& system) {
  return system.scale().cwiseQuotient(balanced(system).scale());
}

Matrix<double> rescaled(const Vector<double>& factor, Matrix<double> m) {
  for (Index n = 0; n < m.rows(); ++n) {
    m.row(n).array() *= factor[n] / factor.transpose().array();
  }
  return m;
}

/// A in balanced coordinates. legt's is symmetric up to signs, here also in its last bits, which
/// halves the work of the exponential.
Matrix<double> balanced_matrix(const System& inner) {
  Matrix<double> A = inner.A();
  if (inner.measure() != Measure::legt) return A;
  for (Index n = 0; n < A.rows(); ++n) {
    for (Index k = n + 1; k < A.cols(); ++k) A(n, k) = std::copysign(A(k, n), A(n, k));
  }
  return A;
}

Propagator dense_propagator(const System& system, double t) {
  const System inner = balanced(system);
  Propagator p = propagator(balanced_matrix(inner), inner.B(), t);
  const Vector<double> factor = rebalance(system);
  return {rescaled(factor, std::move(p.phi)), p.gamma.cwiseProduct(factor)};
}

/// An upper bound of ‖A‖₂ from row and column sums.
double norm_bound(const Matrix<double>& A) {
  const Matrix<double> magnitude = A.cwiseAbs();
  return std::sqrt(magnitude.rowwise().sum().maxCoeff() * magnitude.colwise().sum().maxCoeff());
}

/// tA by its products and exponentials.
LinearOperator<double> operator_of(const System& system, double t) {
  LinearOperator<double> A;
  A.norm = t * norm_bound(system.A());
  A.exponential = [&system, t](double scale) { return exponential(system, scale * t); };
  A.apply = [&system, t](Matrix<double>& block) {
    const Matrix<double> in = t * block.transpose();
    Matrix<double> out(in.rows(), in.cols());
    system.apply<double>({in.data(), in.rows(), in.cols()}, {out.data(), out.rows(), out.cols()});
    block = out.transpose();
  };
  return A;
}

}  // namespace

template <class T>
void legs_exponential(double t, Matrix<T>& out) {
  const Index N = out.rows();
  const double delta = -std::expm1(-t);                // 1 − ρ
  Vector<double> alpha = Vector<double>::Zero(N + 1);  // alpha[n + 1] is α_n
  for (Index n = 0; n < N; ++n) alpha[n + 1] = math::legendre_shift(static_cast<double>(n));
  // Rows n − 1, n and n + 1 of e^{tA} − I, or of e^{tA} where that is small, with a zero at either
  // end.
  const bool less_identity = delta < 0.5;
  constexpr double kNothing = 1e-280;  // entries fall to denormal numbers, which are slow
  Vector<double> previous = Vector<double>::Zero(N + 2);
  Vector<double> current = Vector<double>::Zero(N + 2);
  Vector<double> next = Vector<double>::Zero(N + 2);
  current[1] = less_identity ? -delta : std::exp(-t);
  out.setZero();
  for (Index n = 0; n < N; ++n) {
    out.row(n).head(n) = current.segment(1, n).transpose().template cast<T>();
    out(n, n) = static_cast<T>(std::exp(-static_cast<double>(n + 1) * t));
    if (n + 1 == N) break;
    const double below = alpha[n];
    const double inverse = 1.0 / alpha[n + 1];
    const double* const row = current.data() + 1;
#pragma omp simd
    for (Index k = 0; k <= n; ++k) {
      const double entry = inverse * math::dilation_step(delta, alpha[k], alpha[k + 1], below,
                                                         row + k, previous[k + 1]);
      next[k + 1] = std::abs(entry) < kNothing ? 0.0 : entry;
    }
    const double exponent = -static_cast<double>(n + 2) * t;
    if (less_identity) {
      next[n + 1] -= inverse * delta * 0.5;
      if (n > 0) next[n] -= inverse * delta * below;
      next[n + 2] = std::expm1(exponent);
    } else {
      next[n + 2] = std::exp(exponent);
    }
    std::swap(previous, current);
    std::swap(current, next);
  }
}

template void legs_exponential<float>(double, Matrix<float>&);
template void legs_exponential<double>(double, Matrix<double>&);

Propagator propagator(const Matrix<double>& A, const Vector<double>& B, double t) {
  PhiAction<double> action = phi_action<double>(t * A, t * B, 1);
  return {std::move(action.exponential), action.images[0]};
}

Matrix<double> exponential(const System& system, double t) {
  const double duration = t / system.unit();
  switch (route_of(system, t)) {
    case Route::dilation: {
      Matrix<double> phi(system.order(), system.order());
      legs_exponential(duration, phi);
      return rescaled(rebalance(system), std::move(phi));
    }
    case Route::toeplitz:
      return toeplitz_matrix(
          system, toeplitz_exponential(system.order(), toeplitz_diagonal(system), duration));
    case Route::dense:
      break;
  }
  return rescaled(rebalance(system),
                  resolvent::exponential<double>(t * balanced_matrix(balanced(system))));
}

Propagator propagator(const System& system, double t) {
  const double duration = t / system.unit();
  const Route route = route_of(system, t);
  if (route == Route::dense || t == 0.0) return dense_propagator(system, t);
  if (route == Route::dilation) {
    return {exponential(system, t),
            legs_input(system.order(), duration).cwiseProduct(rebalance(system))};
  }
  const double d = toeplitz_diagonal(system);
  const Vector<double> column = toeplitz_exponential(system.order(), d, duration);
  const Vector<double> phi = duration * toeplitz_phi(column, d, duration);
  const Vector<double> input = toeplitz_product(phi, system.B().cwiseQuotient(system.scale()));
  return {toeplitz_matrix(system, column), input.cwiseProduct(system.scale()) * system.unit()};
}

HoldAction hold_action(const System& system, double t, Index order) {
  const System inner = balanced(system);
  const Matrix<double> B = inner.B();
  HoldAction result;
  std::vector<Matrix<double>> images;
  const Vector<double> factor = rebalance(system);
  if (route_of(system, t) == Route::dense) {
    PhiAction<double> action = phi_action<double>(t * balanced_matrix(inner), B, order);
    result.exponential = rescaled(factor, std::move(action.exponential));
    images = std::move(action.images);
  } else {
    result.exponential = exponential(system, t);
    images = resolvent::phi_images(operator_of(inner, t), B, order);
  }
  for (const Matrix<double>& image : images) {
    result.images.emplace_back(image.col(0).cwiseProduct(factor));
  }
  return result;
}

System balanced(const System& system) {
  if (system.measure() == Measure::glagt) return system.with(Normalization::laguerre);
  return system.with(normalizations_of(system.measure()).front());
}

}  // namespace resolvent::hippo
