#pragma once

#include "resolvent/probmap/maps.hpp"

/// Thresholds in extended precision, by a route of their own: no lanes, no split numbers, the
/// library functions of the compiler's `long double` (64 bits on x86, 113 or 53 elsewhere).
namespace resolvent::probmap {

/// λ of every row, what its equation leaves before λ is rounded, and how many entries are
/// positive where nothing underflows.
struct Certificate {
  Vector<double> value;
  Vector<double> residual;
  Vector<Index> support;
};

/// λ = log Σ e^{x/τ}; residual Σ e^{x/τ − λ} − 1.
Certificate softmax_certificate(ConstRows<double> x, Parameter temperature);

/// Σ ((α−1)x/τ − λ)_+^{1/(α−1)} = 1; at α = 1 that of softmax. `InvalidArgument` for α = ∞.
Certificate entmax_certificate(ConstRows<double> x, Parameter alpha, Parameter temperature);

/// ‖(x/τ − λ)_+‖_q = 1, q = α/(α−1).
Certificate normmax_certificate(ConstRows<double> x, Parameter alpha, Parameter temperature);

/// Σ clip(x/τ − λ, 0, 1) = total. Where a range of λ does it, its lower end.
Certificate budget_certificate(ConstRows<double> x, Parameter total, Parameter temperature);

}  // namespace resolvent::probmap
