#pragma once

#include <cstdint>
#include <optional>

#include "resolvent/core/types.hpp"

namespace resolvent::lora {

/// The leading singular triplets of a matrix, M ≈ U diag(sigma) Vᵀ.
template <class T>
struct LowRank {
  Matrix<T> U;           ///< n × k, orthonormal columns
  Vector<double> sigma;  ///< k, descending
  Matrix<T> V;           ///< m × k, orthonormal columns
  double norm;           ///< ‖M‖_F
  double residual;  ///< ‖M − U diag(sigma) Vᵀ‖_F = √(‖M‖_F² − Σσ²); where that cancels, measured
  Vector<double> errors;  ///< k, ‖Mᵀu − σv‖ if a tolerance was asked for, else empty
  Index products;         ///< products of M or Mᵀ with one vector that were made
  Index iterations;       ///< blocks of the Krylov basis, or steps of the subspace iteration
};

struct LowRankOptions {
  Index oversample = 16;            ///< vectors beyond the rank
  std::optional<Index> iterations;  ///< none: as many as the basis asks for, see the functions
  std::optional<double> tolerance;  ///< of errors/σ_1
  bool each = false;                ///< of errors/σ of each instead, down to rounding
  std::uint64_t seed = 0;           ///< of the start
};

/// Leading `rank` singular triplets of M by block Golub–Kahan–Lanczos (Golub, Luk and Overton
/// 1981): orthonormal bases of the Krylov spaces of MᵀM and MMᵀ, one block of 16 vectors at a time,
/// each block orthogonalised against all before it (twice), and the singular values of what M is in
/// these bases. The start is Mᵀ applied to a sparse random matrix.
///
/// Without options the basis has 2(rank + oversample) vectors; with `iterations`, that many blocks;
/// with `tolerance`, it grows until the errors are at most tolerance·σ_1 (the next block tells
/// them), `NotConverged` where `iterations` blocks do not do. A basis never exceeds min(n, m),
/// where it is exact.
///
/// Cost: about 4·n·m operations per vector of the basis, and for D vectors 4(n + m)D² to
/// orthogonalise them and O(D³) for their singular values. M is only read, results do not depend on
/// the number of threads. In a block Krylov space errors fall like a Chebyshev polynomial of the
/// number of blocks, against a power in `subspace_iteration` (Musco and Musco 2015,
/// arXiv 1504.05477). Singular values below about eps·‖M‖_F are rounding. `InvalidArgument` for
/// entries that are not finite and for a rank outside 1 … min(n, m).
template <class T>
LowRank<T> block_krylov(ConstRows<T> M, Index rank, const LowRankOptions& options);

/// The same by orthogonal iteration on rank + oversample vectors: `iterations` times (4 without) M
/// and Mᵀ, each followed by an orthonormalisation (Halko, Martinsson and Tropp 2011,
/// arXiv 0909.4061), or fewer where a tolerance is met before.
template <class T>
LowRank<T> subspace_iteration(ConstRows<T> M, Index rank, const LowRankOptions& options);

extern template LowRank<float> block_krylov(ConstRows<float>, Index, const LowRankOptions&);
extern template LowRank<double> block_krylov(ConstRows<double>, Index, const LowRankOptions&);
extern template LowRank<float> subspace_iteration(ConstRows<float>, Index, const LowRankOptions&);
extern template LowRank<double> subspace_iteration(ConstRows<double>, Index, const LowRankOptions&);

}  // namespace resolvent::lora
