#include "resolvent/discretize/dense.hpp"

#include <Eigen/LU>
#include <cmath>
#include <utility>

#include "resolvent/core/error.hpp"
#include "resolvent/core/matrix_functions.hpp"
#include "resolvent/hippo/propagator.hpp"

namespace resolvent::discretize {
namespace {

void check_step(double step) {
  require(std::isfinite(step) && step > 0.0, "step must be positive and finite, got ", step);
}

template <class T>
Discretization<T> explicit_rule(const Matrix<T>& A, const Matrix<T>& B, double step) {
  Discretization<T> result{step * A, step * B, {}};
  result.A.diagonal().array() += T(1);
  return result;
}

/// (I − αεA)⁻¹ by substitution where A is triangular, so that the result is too; else by LU.
template <class T>
class Resolvent {
 public:
  Resolvent(const Matrix<T>& A, double weight)
      : pencil_(Matrix<T>::Identity(A.rows(), A.rows()) - T(weight) * A),
        lower_(pencil_.isLowerTriangular(0.0)),
        upper_(pencil_.isUpperTriangular(0.0)) {
    if (!lower_ && !upper_) {
      lu_.compute(pencil_);
      pencil_ = lu_.matrixLU();
    }
  }

  bool is_singular() const { return !(pencil_.diagonal().cwiseAbs().minCoeff() > 0.0); }

  Matrix<T> solve(const Matrix<T>& m) const {
    if (lower_) return pencil_.template triangularView<Eigen::Lower>().solve(m);
    if (upper_) return pencil_.template triangularView<Eigen::Upper>().solve(m);
    return lu_.solve(m);
  }

 private:
  Matrix<T> pencil_;
  bool lower_;
  bool upper_;
  Eigen::PartialPivLU<Matrix<T>> lu_;
};

template <class T>
Discretization<T> implicit_rule(const Matrix<T>& A, const Matrix<T>& B, double step, double alpha) {
  const Resolvent<T> resolvent(A, alpha * step);
  require(!resolvent.is_singular(), "step = ", step, " makes I - alpha step A singular");
  Discretization<T> result{step * resolvent.solve(A), step * resolvent.solve(B), {}};
  result.A.diagonal().array() += T(1);
  return result;
}

template <class T>
Discretization<T> exponential_rule(const Matrix<T>& A, const Matrix<T>& B, double step, Rule rule) {
  const Index order = rule == Rule::zoh ? 1 : (rule == Rule::foh ? 2 : 0);
  PhiAction<T> action = phi_action<T>(step * A, step * B, order);
  Discretization<T> result{std::move(action.exponential), {}, {}};
  if (rule == Rule::mamba) {
    result.B = step * B;
  } else if (rule == Rule::zoh) {
    result.B = std::move(action.images[0]);
  } else {
    result.B = action.images[0] - action.images[1];
    result.B_next = std::move(action.images[1]);
  }
  return result;
}

/// Rows of (I − λA)⁻¹ applied to A's columns: Ā − I and B̄, transposed.
Discretization<double> structured_rule(const hippo::System& system, double step, double alpha) {
  const Matrix<double> columns = step * system.A().transpose();
  const Matrix<double> input = step * system.B().transpose();
  Matrix<double> A(columns.rows(), columns.cols());
  Matrix<double> B(1, input.cols());
  const auto solve = [&](const Matrix<double>& in, Matrix<double>& out) {
    system.solve<double>(alpha * step, {in.data(), in.rows(), in.cols()},
                         {out.data(), out.rows(), out.cols()});
  };
  solve(columns, A);
  solve(input, B);
  Discretization<double> result{A.transpose(), B.transpose(), {}};
  result.A.diagonal().array() += 1.0;
  return result;
}

}  // namespace

template <class T>
Discretization<T> discretize(const Matrix<T>& A, const Matrix<T>& B, double step, Rule rule,
                             double alpha) {
  check_step(step);
  require<ShapeMismatch>(A.rows() == A.cols(), "A must be square, got shape (", A.rows(), ", ",
                         A.cols(), ")");
  require<ShapeMismatch>(B.rows() == A.rows(), "B must have A's ", A.rows(), " rows, got ",
                         B.rows());
  const double weight = weight_of(rule, alpha);
  if (!is_rational(rule)) return exponential_rule(A, B, step, rule);
  return weight == 0.0 ? explicit_rule(A, B, step) : implicit_rule(A, B, step, weight);
}

Discretization<double> discretize(const hippo::System& system, double step, Rule rule,
                                  double alpha) {
  check_step(step);
  const double weight = weight_of(rule, alpha);
  if (is_rational(rule)) {
    if (weight == 0.0) return explicit_rule<double>(system.A(), system.B(), step);
    if (system.is_dense()) return implicit_rule<double>(system.A(), system.B(), step, weight);
    return structured_rule(system, step, weight);
  }
  if (rule == Rule::zoh) {
    hippo::Propagator p = hippo::propagator(system, step);
    return {std::move(p.phi), p.gamma, {}};
  }
  if (rule == Rule::mamba) return {hippo::exponential(system, step), step * system.B(), {}};
  const auto [exponential, images] = hippo::hold_action(system, step, 2);
  return {exponential, step * (images[0] - images[1]), step * images[1]};
}

template Discretization<double> discretize(const Matrix<double>&, const Matrix<double>&, double,
                                           Rule, double);
template Discretization<Complex> discretize(const Matrix<Complex>&, const Matrix<Complex>&, double,
                                            Rule, double);

}  // namespace resolvent::discretize
