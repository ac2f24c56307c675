#pragma once

#include "resolvent/core/types.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::spectral {

/// Eigenvalues by real part descending, then imaginary part descending; unit eigenvectors as
/// columns in that order, the entry of largest modulus real and positive.
struct Eigensystem {
  Vector<Complex> values;
  Matrix<Complex> vectors;
};

/// The eigensystem of a dense matrix, by Eigen's QR algorithm (the real one where A is real, so
/// that conjugate pairs are exactly conjugate). O(N³). Throws `NotConverged`.
Eigensystem eigensystem(ConstRows<Complex> A);

/// Eigenvalues alone, in the same order.
Vector<Complex> eigenvalues(ConstRows<Complex> A);

/// Eigenvectors of a cascade with distinct poles, A lower triangular with A_nn = −d_n: column i
/// belongs to the i-th smallest d. In orthonormal coordinates, for the eigenvalue −d_m,
///   x_m = 1, x_n = b_n b_m/(p_m − p_n) Π_{m<k<n} (p_m + p_k)/(p_m − p_k)   (n > m),
/// and the left eigenvector is the same product over n < k < m. Nothing cancels: every entry has a
/// relative error of about N·eps, whatever its size.
struct TriangularVectors {
  Matrix<double> vectors;          ///< unit columns, first nonzero entry positive
  Matrix<double> log_magnitude;    ///< ln|entry|, −∞ for 0: no underflow
  Matrix<double> sign;             ///< −1, 0, 1
  Vector<double> log10_condition;  ///< of each eigenvalue, ‖x‖‖y‖/|yᵀx|
  double log10_matrix_condition;   ///< of the matrix of unit columns in the 2-norm
};

/// O(N²), and O(N³) for the condition number of the matrix, which is left NaN without
/// `with_condition`. Throws `InvalidArgument` for repeated poles: A is defective then.
TriangularVectors triangular_vectors(const hippo::System& system, bool with_condition);

/// log10 of the condition number of each eigenvalue of a cascade, as in `triangular_vectors`; ∞ for
/// repeated ones. O(N²) time, O(N) memory.
Vector<double> triangular_conditions(const hippo::System& system);

/// How far eigenvalues and eigenvectors of a dense matrix can be trusted.
struct DenseConditioning {
  Vector<Complex> values;
  Vector<double> log10_eigenvalue_condition;
  double log10_matrix_condition;
  double departure;  ///< from normality: Frobenius norm of the strict triangle of the Schur form
};

/// From Eigen's eigenvectors and their inverse, so no more than 1/eps is resolved. O(N³).
DenseConditioning dense_conditioning(ConstRows<Complex> A);

}  // namespace resolvent::spectral
