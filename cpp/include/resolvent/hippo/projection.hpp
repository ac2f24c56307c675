#pragma once

#include <span>

#include "resolvent/core/types.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::hippo {

/// Where an instant lies for a memory at time `now`: in [0, 1] from the oldest remembered instant
/// to now (legs, fous: t/now; legt, fout: 1 − (now − t)/window; legs read as invariant:
/// e^{−(now − t)/window}); the lag (now − t)/window ≥ 0 for lagt, glagt, malmquist.
/// Throws `InvalidArgument` for an instant outside what is remembered.
double position(const System& system, double time, double now);

/// table(n, j) = the function that coefficient n multiplies, at positions[j]. O(N) per point;
/// malmquist takes one matrix exponential for each distinct gap between the sorted positions.
void basis(const System& system, std::span<const double> positions, Matrix<double>& table);

/// out(channel, j) = Σ_n coefficients(channel, n) · basis n at positions[j]; O(N) per value, in
/// blocks of positions, so with no table of all of them.
void reconstruct(const System& system, ConstRows<double> coefficients,
                 std::span<const double> positions, Rows<double> out);

/// Exact coefficients of the signal that equals u(·, k) on [edges[k], edges[k+1]) and 0 outside,
/// as seen at the instants `at`: row (channel·at.size() + i). No time stepping: with G_n the
/// antiderivative of the analysing function, c_n = Σ_k u_k (G_n(edge k+1) − G_n(edge k)), summed
/// over the jumps of u. Rounding error about eps · (total variation of u); O(N L) per instant.
/// malmquist steps its functions along the edges: O(N² L) time, O(N L) memory, and an error that
/// grows with L.
/// Samples after `at[i]` do not count. `edges` increases and has one entry more than u columns.
void optimal(const System& system, ConstRows<double> u, std::span<const double> edges,
             std::span<const double> at, Rows<double> out);

}  // namespace resolvent::hippo
