#pragma once

#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/types.hpp"

namespace resolvent::lora {

/// B = left diag(sigma) rightᵀ of a small matrix, sigma descending. Columns of `left` whose
/// singular value is at most `negligible`·‖B‖_F are zero.
struct SmallSvd {
  Eigen::MatrixXd left;
  Vector<double> sigma;
  Eigen::MatrixXd right;
};

/// The eigenvectors of BᵀB, in which B's columns are nearly orthogonal, then one-sided Jacobi
/// rotations (Hestenes 1958) until they are to `tolerance`, relative to their lengths: one or two
/// sweeps, and small singular values keep the digits that BᵀB loses. Cost O(columns³).
SmallSvd small_svd(const Eigen::MatrixXd& B, double tolerance, double negligible,
                   Checkpoint& checkpoint);

}  // namespace resolvent::lora
