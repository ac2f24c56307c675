#pragma once

#include <vector>

#include "resolvent/core/types.hpp"

/// Gaussian mixtures p(x) = Σ_j w_j N(x; μ_j, C_j) at many points.
namespace resolvent::distill {

/// y_j(x) = A_j(x − μ_j) + b_j for every component: slopes (K, o·d), A_j row by row; offsets (K,
/// o).
struct AffineMaps {
  ConstRows<double> slopes;
  ConstRows<double> offsets;
};

/// A mixture of K components in d dimensions, made ready for evaluation in T.
///
/// With C_j = R_j R_jᵀ, R_j lower triangular, and z_j = R_j⁻¹(x − μ_j),
///   ℓ_j = log w_j − Σ log(R_j)_ii − (d/2) log 2π − ½‖z_j‖²,  r_j = e^{ℓ_j}/Σ_k e^{ℓ_k},
///   s_j = −R_j⁻ᵀz_j,  log p = log Σ e^{ℓ_j},  ∇log p = Σ r_j s_j,
/// the exponentials relative to the largest so far: nothing underflows however far x is from all
/// means. Where every ‖z_j‖² overflows, the nearest component has all of the weight and log p = −∞.
///
/// x (n, d), finite. Cost n·K(d² + 2d + 30) operations for the score, n·K·d² more for derivatives
/// in d dimensions, which look at every component twice; memory O(d²) beside the outputs. Points
/// are in vector lanes and spread over threads: no result depends on how many.
///
/// Accuracy: an entry of z_j has an error of eps·κ(R_j), ℓ_j one of eps·(|ℓ_j| + d·κ(R_j)²), κ the
/// condition number with the axes scaled to variance 1; r_j has the relative error of the largest
/// ℓ_j involved. The factors R_j are made in double precision.
template <class T>
class Mixture {
 public:
  /// weights (K) positive, means (K, d), covariances (K, d·d). Throws `InvalidArgument` where one
  /// is not positive definite.
  Mixture(ConstVectorView<double> weights, ConstRows<double> means, ConstRows<double> covariances);

  Index dim() const { return dim_; }
  Index components() const { return components_; }

  /// out (n): log p.
  void log_density(ConstRows<T> x, VectorView<T> out) const;

  /// out (n, K): r. density (n): log p.
  void responsibilities(ConstRows<T> x, Rows<T> out, VectorView<T> density) const;

  /// out (n, d): ∇log p.
  void score(ConstRows<T> x, Rows<T> out) const;

  /// out (n, d·d): ∇∇ᵀlog p = Σ r_j((s_j − s)(s_j − s)ᵀ − C_j⁻¹), s = Σ r_j s_j. Symmetric.
  void hessian(ConstRows<T> x, Rows<T> out) const;

  /// out (n, o): Σ r_j y_j.
  void blend(ConstRows<T> x, const AffineMaps& maps, Rows<T> out) const;

  /// out (n, o·d): the derivative of `blend` by x, Σ r_j((y_j − y)(s_j − s)ᵀ + A_j).
  void blend_jacobian(ConstRows<T> x, const AffineMaps& maps, Rows<T> out) const;

  /// What the loops read of component j: μ_j, the rows of R_j⁻¹ up to the diagonal, and how far
  /// ℓ_j(μ_j) is below the largest of these, which is log_scale.
  const T* mean(Index j) const { return means_.row(j).data(); }
  const T* whitening(Index j) const { return whitenings_.row(j).data(); }
  T log_weight(Index j) const { return log_weights_[j]; }
  T log_scale() const { return log_scale_; }

  /// The component with the smallest ‖z_j‖ at a point of which no ‖z_j‖² is finite in T.
  Index nearest(const T* x) const;

 private:
  Index dim_;
  Index components_;
  Matrix<T> means_;
  Matrix<T> whitenings_;  // (K, d(d + 1)/2)
  Vector<T> log_weights_;
  T log_scale_;
};

extern template class Mixture<float>;
extern template class Mixture<double>;

}  // namespace resolvent::distill
