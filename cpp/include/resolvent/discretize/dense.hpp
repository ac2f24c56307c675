#pragma once

#include "resolvent/core/types.hpp"
#include "resolvent/discretize/rules.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::discretize {

/// x⁺ = A x + B u_k + B_next u_{k+1}; B_next is empty but for foh.
template <class T>
struct Discretization {
  Matrix<T> A;
  Matrix<T> B;
  Matrix<T> B_next;
};

/// A (N, N), B (N, M); A may be singular.
///
/// gbt: Ā = I + εZA, B̄ = εZB with Z = (I − αεA)⁻¹ (no 1/α, which α → 0 would not survive): one LU
/// factorisation, O(N³). zoh: e^{εA}, εφ_1(εA)B. foh: e^{εA}, ε(φ_1 − φ_2)(εA)B, εφ_2(εA)B.
/// Throws `InvalidArgument` where I − αεA is singular.
template <class T>
Discretization<T> discretize(const Matrix<T>& A, const Matrix<T>& B, double step, Rule rule,
                             double alpha);

/// The same for a system in a real normalisation, by its structure: the rational rules in O(N²)
/// (dense systems: O(N³)), the others as hippo/propagator.hpp says. Scaled clock: x' = A x + B u.
Discretization<double> discretize(const hippo::System& system, double step, Rule rule,
                                  double alpha);

extern template Discretization<double> discretize(const Matrix<double>&, const Matrix<double>&,
                                                  double, Rule, double);
extern template Discretization<Complex> discretize(const Matrix<Complex>&, const Matrix<Complex>&,
                                                   double, Rule, double);

}  // namespace resolvent::discretize
