#pragma once

#include "resolvent/core/types.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::hippo {

/// x ↦ Φ x + Γ u, the exact effect of c' = A c + B u over a time in which u is constant.
struct Propagator {
  Matrix<double> phi;    ///< e^{tA}
  Vector<double> gamma;  ///< ∫₀ᵗ e^{sA} ds B
};

/// By the exponential of the augmented matrix [[A, B], [0, 0]] t, which needs no inverse of A:
/// scaling and squaring with Padé approximants (Higham 2005). O(N³).
Propagator propagator(const Matrix<double>& A, const Vector<double>& B, double t);

/// The system in the normalisation in which its exponential is best balanced: orthonormal
/// functions where it has them.
System balanced(const System& system);

}  // namespace resolvent::hippo
