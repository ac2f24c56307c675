#pragma once

#include <functional>
#include <vector>

#include "resolvent/core/types.hpp"

namespace resolvent {

/// e^A of a square matrix, real or complex.
///
/// Scaling and squaring with a Taylor polynomial. Degree and scaling follow from the norms of |A|ᵏ
/// (k matrix–vector products), which for triangular and other non-normal matrices are far below
/// ‖A‖ᵏ. Cost: up to 5 + s products of N × N matrices, s the number of squarings; a product costs
/// 2N³ operations, N³ where A is symmetric up to signs (σ_nσ_k A_nk = A_kn, as LegT and FouT are),
/// about 2N³/3 where A is triangular, and the result then keeps that form exactly, with e^{A_nn} on
/// a triangle's diagonal. Products are spread over threads; results do not depend on their number.
///
/// Error: some N·eps·‖e^A‖ times the condition number of the exponential at A, which is at least
/// ‖A‖, and ‖A‖ for normal matrices. Entries beyond the range of double are infinite or NaN.
template <class T>
Matrix<T> exponential(const Matrix<T>& A);

/// φ_0(A) … φ_order(A): φ_0 = exp, φ_{k+1}(z) = (φ_k(z) − 1/k!)/z, entire functions, so that A may
/// be singular. Taylor polynomial of φ_order at A/2ˢ, the others by φ_k(z) = zφ_{k+1}(z) + 1/k!,
/// then s times φ_k(2z) = 2⁻ᵏ[φ_0(z)φ_k(z) + Σ_{j=1}^k φ_j(z)/(k−j)!]: order + 1 products each.
template <class T>
std::vector<Matrix<T>> phi_functions(const Matrix<T>& A, Index order);

/// e^A, and φ_1(A)B … φ_order(A)B without the matrices φ_k(A).
template <class T>
struct PhiAction {
  Matrix<T> exponential;
  std::vector<Matrix<T>> images;  ///< images[k−1] = φ_k(A)B, of B's shape
};

/// Cost: that of e^A and O(N²) per column of B. B does not influence the scaling.
template <class T>
PhiAction<T> phi_action(const Matrix<T>& A, const Matrix<T>& B, Index order);

/// A matrix that is known by its products and its exponentials only.
template <class T>
struct LinearOperator {
  double norm;                                         ///< an upper bound of ‖A‖
  std::function<void(Matrix<T>&)> apply;               ///< block ← A block
  std::function<Matrix<T>(double scale)> exponential;  ///< e^{scale·A}
};

/// The same for a structured A: log₂‖A‖ exponentials instead of as many squarings.
template <class T>
std::vector<Matrix<T>> phi_images(const LinearOperator<T>& A, const Matrix<T>& B, Index order);

extern template Matrix<double> exponential(const Matrix<double>&);
extern template Matrix<Complex> exponential(const Matrix<Complex>&);
extern template std::vector<Matrix<double>> phi_functions(const Matrix<double>&, Index);
extern template std::vector<Matrix<Complex>> phi_functions(const Matrix<Complex>&, Index);
extern template PhiAction<double> phi_action(const Matrix<double>&, const Matrix<double>&, Index);
extern template PhiAction<Complex> phi_action(const Matrix<Complex>&, const Matrix<Complex>&,
                                              Index);
extern template std::vector<Matrix<double>> phi_images(const LinearOperator<double>&,
                                                       const Matrix<double>&, Index);

}  // namespace resolvent
