#pragma once

#include "resolvent/probmap/maps.hpp"

/// Products of the maps' Jacobians with vectors, from the value p of the map: rows p, g, out (H,
/// n), none overlapping. All but those of `normalize` are symmetric, so that Jg = Jᵀg. Two or three
/// passes over a row; −∞ entries of x have zero rows and columns. Error of an entry about
/// eps·s_i(|g_i| + Σ_j q_j |g_j|) with s and q as below.
namespace resolvent::probmap {

/// J = (diag(s) − ssᵀ/Σs)/τ with s = p: softmax, margin and sparse softmax.
template <class T>
void softmax_product(ConstRows<T> p, ConstRows<T> g, Parameter temperature, Rows<T> out);

/// The same with s = p^{2−α} where p > 0: 1 for sparsemax. Zero for α = ∞. For α > 2 s grows as
/// p → 0, and g is taken relative to its entry of the largest s, so that nothing cancels there.
template <class T>
void entmax_product(ConstRows<T> p, ConstRows<T> g, Parameter alpha, Parameter temperature,
                    Rows<T> out);

/// The same with s = 1 where 0 < p < 1.
template <class T>
void budget_product(ConstRows<T> p, ConstRows<T> g, Parameter temperature, Rows<T> out);

/// κ[diag(s) − s pᵀ − p sᵀ + (Σs) p pᵀ]/τ with s = p^{2−α} where p > 0 and
/// κ = ‖p‖_α^{α−1}/(α−1). Zero for α = 1 and ∞.
template <class T>
void normmax_product(ConstRows<T> p, ConstRows<T> g, Parameter alpha, Parameter temperature,
                     Rows<T> out);

/// J = (diag(d) − p dᵀ)/τ with d = f'(x/τ)/Σf, or its transpose.
template <class T>
void normalize_product(ConstRows<T> x, ConstRows<T> g, Normalizer f, bool transposed,
                       Parameter temperature, Rows<T> out);

}  // namespace resolvent::probmap
