#pragma once

#include <vector>

#include "resolvent/core/types.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::hippo {

/// x ↦ Φ x + Γ u, the exact effect of c' = A c + B u over a time in which u is constant.
struct Propagator {
  Matrix<double> phi;    ///< e^{tA}
  Vector<double> gamma;  ///< ∫₀ᵗ e^{sA} ds B
};

/// For any A, singular ones too. O(N³).
Propagator propagator(const Matrix<double>& A, const Vector<double>& B, double t);

/// The same for a system, in its normalisation (a real one). legs, lagt and glagt with t ≥ 0: O(N²)
/// by closed forms, with small relative errors of Φ − I and Γ as t → 0 too. Others: the dense
/// exponential in balanced coordinates, with half the work for legt and fout (which are symmetric
/// up to signs) and a third for malmquist (triangular).
Propagator propagator(const System& system, double t);

/// e^{tA} alone.
Matrix<double> exponential(const System& system, double t);

/// e^{tA}, and images[k−1] = φ_k(tA)B for k = 1 … order: what holds of higher order need.
struct HoldAction {
  Matrix<double> exponential;
  std::vector<Vector<double>> images;
};

/// Cost as `propagator`, but O(N² log(t‖A‖)) for legs, lagt and glagt.
HoldAction hold_action(const System& system, double t, Index order);

/// e^{tA} of legs in the normalisation probability, t ≥ 0: with ρ = e^{−t} and g_n the orthonormal
/// polynomials on [0, 1], row n holds the coefficients of ρ·g_n(ρs) in g_0 … g_n. Lower triangle by
/// the polynomials' three-term recurrence, in which s acts on coefficients as a tridiagonal matrix;
/// zeros above. O(N²), error some N·eps; stable since the polynomials are bounded on [0, ρ].
template <class T>
void legs_exponential(double t, Matrix<T>& out);

extern template void legs_exponential<float>(double, Matrix<float>&);
extern template void legs_exponential<double>(double, Matrix<double>&);

/// The system in the normalisation in which its exponential is best balanced: orthonormal
/// functions where it has them.
System balanced(const System& system);

}  // namespace resolvent::hippo
