#include "resolvent/hippo/propagator.hpp"

#include <unsupported/Eigen/MatrixFunctions>

namespace resolvent::hippo {

Propagator propagator(const Matrix<double>& A, const Vector<double>& B, double t) {
  const Index order = A.rows();
  Eigen::MatrixXd augmented = Eigen::MatrixXd::Zero(order + 1, order + 1);
  augmented.topLeftCorner(order, order) = t * A;
  augmented.topRightCorner(order, 1) = t * B;
  const Eigen::MatrixXd exponential = augmented.exp();
  return {exponential.topLeftCorner(order, order), exponential.topRightCorner(order, 1)};
}

System balanced(const System& system) {
  if (system.measure() == Measure::glagt) return system.with(Normalization::laguerre);
  return system.with(normalizations_of(system.measure()).front());
}

}  // namespace resolvent::hippo
