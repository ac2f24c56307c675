#pragma once

#include "resolvent/core/types.hpp"
#include "resolvent/hippo/system.hpp"
#include "resolvent/math/spectral.hpp"

/// The spectral structure of HiPPO systems. In orthonormal coordinates A is a normal matrix minus
/// one of low rank (S4, arXiv:2111.00396): a shift plus a skew-symmetric K, minus PPᵀ.
namespace resolvent::spectral {

/// The phase Φ(μ) = Σ_k 2·arctan(μ/p_k) of a triangular system of positive poles p_k, in units of
/// time in which the window is 1. The eigenvalues iμ of K solve Φ(μ) = (N−1−2j)π.
///
/// One evaluation costs O(1) for LegS and for equal poles, O(N) otherwise.
class PhaseFunction {
 public:
  /// Throws `InvalidArgument` for a system that is no cascade.
  explicit PhaseFunction(const hippo::System& system);

  Index order() const { return order_; }

  /// Value, complement Nπ − Φ and slope at any real μ, each to a few eps relative.
  math::Phase<double> operator()(double mu) const;

  /// The root μ_j, descending in j: 0 ≤ j < (N+1)/2, so not negative; the middle one of an odd
  /// order is 0. Newton's method inside a bracket, on the form of the equation that cancels least;
  /// relative error a few eps.
  double root(Index j) const;

 private:
  enum class Kind { legs, equal, general };

  math::Phase<double> positive(double mu) const;
  struct Residual {
    double excess;  ///< Φ(μ) − (N−1−2j)π, in the form that cancels least
    double slope;
  };

  Residual residual(double mu, Index j) const;
  double guess(Index j, double low, double high) const;
  /// Whether the complement of the phase is smaller than the phase at root j.
  bool is_far(Index j) const { return 2 * j + 1 < order_ - 1 - 2 * j; }

  Kind kind_;
  Index order_;
  double pole_ = 0.0;  // equal poles
  Vector<double> poles_;
};

/// A = shift·I + K − ½bbᵀ: the eigenvalues iμ_j of K, descending, and |q_j*B|² for its unit
/// eigenvectors q_j.
struct NormalSpectrum {
  Vector<double> mu;
  Vector<double> weights;
  double shift;
};

/// The normal spectrum of a cascade (legs, lagt, glagt, malmquist), without eigenvectors:
/// weights 4/Φ'(μ_j), for glagt with α ≠ 0 by its eigenvectors. O(N) for legs and for equal poles,
/// O(N²) for other poles. The result does not depend on the number of threads.
NormalSpectrum normal_spectrum(const hippo::System& system);

/// A = V (diag(λ) − PP*) V⁻¹ and B = V·(B in these coordinates), for a real system: one eigenvalue
/// λ_j = shift + iμ_j of each conjugate pair is kept, with μ_j > 0 descending, then the real ones.
///
/// V = S Q with a unitary Q and a diagonal S that is I in the normalisations `probability` and
/// `lebesgue`. Phases: q_j*b > 0 for a cascade's own b and for FouT's b; for LegT q_j*B > 0.
class NormalForm {
 public:
  /// legs, lagt, glagt, malmquist (rank 1, O(N) where `normal_spectrum` is), fout (rank 1, O(N)),
  /// legt (rank 2, one symmetric eigenproblem, O(N³)). Throws `InvalidArgument` for
  /// other measures and for the complex normalisation.
  explicit NormalForm(const hippo::System& system);

  Index order() const { return order_; }
  double shift() const { return shift_; }
  const Vector<double>& mu() const { return mu_; }
  const Matrix<Complex>& P() const { return P_; }
  const Vector<Complex>& B() const { return B_; }
  /// The diagonal of S.
  const Vector<double>& scale() const { return scale_; }

  /// The kept columns of V, N × M. O(N M); relative error of a column about N·eps.
  void vectors(Rows<Complex> out) const;

  /// out = C V for every row of C. O(N M) per row, with no N × M array for cascades.
  void transform(ConstRows<Complex> C, Rows<Complex> out) const;

  /// out = C̃ V⁻¹ with the rows of V⁻¹ that belong to the kept columns: the contribution of these.
  void inverse_transform(ConstRows<Complex> C, Rows<Complex> out) const;

 private:
  void make_cascade(const hippo::System& system);
  void make_window(const hippo::System& system);
  void make_fourier(const hippo::System& system);

  /// Calls body(j, n, block), block = rows n… of columns j… of Q, for all n in order.
  template <class Body>
  void sweep(Index first, Index count, Body&& body) const;

  Index order_;
  double shift_ = 0.0;
  Vector<double> mu_;
  Matrix<Complex> P_;
  Vector<Complex> B_;
  Vector<double> scale_;   // diagonal of S
  Vector<double> poles_;   // cascades: Q is swept from them,
  Vector<double> slopes_;  // with Φ'(μ_j), in units of time in which the window is 1,
  Vector<double> phases_;  // and μ_j in these units
  Matrix<Complex> Q_;      // other measures: the kept columns
};

}  // namespace resolvent::spectral
