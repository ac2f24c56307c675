#pragma once

#include <cmath>

#include "resolvent/math/config.hpp"

/// The scalar formulas of the HiPPO systems. Every loop over them, on whatever device, calls these.
namespace resolvent::math {

/// One section of the triangular systems (LegS, LagT, GLagT, Malmquist) under any rule
///   x⁺ = (I − νA)⁻¹((I + κA) x + μ B u),
/// in the coordinates where A_nn = −d_n, A_nk = −e_n (k < n), B_n = e_n. With the running quantity
///   D_n = μu − κ Σ_{k<n} x_k − ν Σ_{k<n} x⁺_k
/// a step is one pass over n:  x⁺_n = pass·x_n + feed·D_n,  D_{n+1} = keep·D_n − leak·x_n:
/// the lattice form of a cascade of all-pass sections.
template <class T>
struct Section {
  T pass;
  T feed;
  T keep;
  T leak;
};

/// Section for the diagonal entry d, the coupling e and the weights κ (explicit) and ν (implicit).
template <class T>
RESOLVENT_HD inline Section<T> section(T d, T e, T kappa, T nu) {
  const T g = T(1) / (T(1) + nu * d);
  const T pass = (T(1) - kappa * d) * g;
  return {pass, e * g, (T(1) + nu * (d - e)) * g, kappa + nu * pass};
}

/// One frequency of the Fourier systems, A = Ω − c·bbᵀ, under the same family of rules: the
/// rotation of (cos, sin) by (I − νΩ)⁻¹(I + κΩ) and the response (I − νΩ)⁻¹b to the feedback.
template <class T>
struct Rotation {
  T even;          ///< diagonal of the rotation
  T odd;           ///< its entry from sin to cos; minus that from cos to sin
  T cos_response;  ///< b's image in the cosine
  T sin_response;  ///< and in the sine
};

/// Rotation for the angular frequency ω, the entry b of the cosine, and the weights κ and ν.
template <class T>
RESOLVENT_HD inline Rotation<T> rotation(T omega, T b, T kappa, T nu) {
  const T g = T(1) / (T(1) + nu * omega * (nu * omega));
  return {(T(1) - kappa * omega * (nu * omega)) * g, (kappa + nu) * omega * g, b * g,
          -b * (nu * omega) * g};
}

/// Reciprocal of the next pivot of (Tri + τ·diag(2n+1)), where Tri has −1 below, +1 above the
/// diagonal: piv_n = τ(2n+1) + corner + 1/piv_{n−1}. Only positive terms, so every pivot is
/// accurate to a few ulp (LegT's inverse is this tridiagonal matrix, see hippo/system.hpp).
template <class T>
RESOLVENT_HD inline T window_pivot_inverse(T tau, T two_n_plus_1, T corner, T previous_inverse) {
  return T(1) / (tau * two_n_plus_1 + corner + previous_inverse);
}

/// α_n of s g_n = α_{n−1} g_{n−1} + ½ g_n + α_n g_{n+1} for the orthonormal polynomials
/// g_n = √(2n+1) P_n(2s−1) on [0, 1].
template <class T>
RESOLVENT_HD inline T legendre_shift(T n) {
  using std::sqrt;
  return T(0.5) * (n + T(1)) / sqrt((T(2) * n + T(1)) * (T(2) * n + T(3)));
}

/// α_n times entry k ≤ n of row n+1 of F = e^{tA} − I of LegS, from rows n (`row` points at its
/// entry k; its neighbours are read) and n−1. Row n of e^{tA} holds the coefficients of ρ·g_n(ρs),
/// ρ = e^{−t}, so that the recurrence of g_n at ρs is one of rows, s acting on coefficients as the
/// Jacobi matrix J. With δ = 1 − ρ and F for e^{tA} nothing is left that cancels as δ → 0:
///   α_n F_{n+1,k} = α_{k−1}F_{n,k−1} + α_k F_{n,k+1} − α_{n−1}F_{n−1,k}
///                   − δ(α_{k−1}F_{n,k−1} + ½F_{nk} + α_k F_{n,k+1} + J_{nk}),
/// all but the last term, which only k = n and k = n−1 have. For the rows of e^{tA} itself there is
/// no such term.
template <class T>
RESOLVENT_HD inline T dilation_step(T delta, T left, T right, T below, const T* row, T previous) {
  const T neighbours = left * row[-1] + right * row[1];
  return neighbours - below * previous - delta * (neighbours + T(0.5) * row[0]);
}

}  // namespace resolvent::math
