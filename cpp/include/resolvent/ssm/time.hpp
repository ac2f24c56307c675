#pragma once

#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/types.hpp"

/// Models in the time domain: convolutions, linear recurrences, scans.
namespace resolvent::ssm {

enum class ConvolutionMethod { automatic, fft, direct };

/// out (H, L): y_k = Σ_{j ≤ k} K_j u_{k−j} for every row of u (H, L); kernel (H, M), or one row for
/// all. T is float, double or complex of them.
///
/// fft: transforms of length ≥ L + M − 1, in blocks of 4M where M is much shorter than L
/// (overlap-save). O(L log M) per row; error about log2(n)·eps·‖K‖‖u‖, relative to the whole row,
/// not to each entry. direct: O(LM), error M·eps·Σ|K||u| for each entry. automatic: direct where it
/// takes fewer operations.
template <class T>
void convolve(ConstRows<T> u, ConstRows<T> kernel, ConvolutionMethod method, Rows<T> out);

/// x_k = a_k x_{k−1} + b_k along every row, x_{−1} = x0_h; backwards in k if `reverse`, from the
/// value after the last. a has L columns, or one for all k; b, x (H, L).
///
/// Rows long enough are cut into chunks that run side by side: their products of a first, then the
/// values at their starts, then the values. The cut depends on L only, so no bit of the result
/// depends on the number of threads.
template <class T>
void scan(ConstRows<T> a, ConstRows<T> b, const T* x0, bool reverse, Rows<T> x);

/// x⁺ = diag(λ)x − P(Q*x) + B u, y = C x⁺: real parts and imaginary parts of one channel.
struct DiagonalStep {
  Vector<Complex> eigenvalues;  ///< M
  Vector<Complex> B;            ///< M
  Vector<Complex> C;            ///< M
  Matrix<Complex> P;            ///< r × M: one low-rank vector per row
  Matrix<Complex> Q;            ///< r × M, not conjugated
  /// What y and Q*x sum over: Re Σ_j weight_j C_j x_j where `real`, else Σ_j C_j x_j.
  Vector<double> weight;
  bool real;
};

/// Runs one channel over u (L, real or complex); y has L entries, `state` (M) is the state before
/// and after. Null u: no input; null y: only the state is kept. O(M(r + 1)) per sample.
void run_diagonal(const DiagonalStep& step, const Complex* u, Index length, Complex* y,
                  Complex* state, Checkpoint& checkpoint);

/// The same for dense matrices and several channels at once: u (H, L), y (H, L), state (H, N).
template <class T>
void run_dense(ConstRows<T> A, ConstVectorView<T> B, ConstVectorView<T> C, ConstRows<T> u,
               Rows<T> y, Rows<T> state);

/// out = C A^exponent for every row of C, by squarings: O(N³ log exponent).
template <class T>
void power_action(ConstRows<T> C, ConstRows<T> A, Index exponent, Rows<T> out);

/// out (R, L): C A^k B, k < L, for every row of C (R, N), as products of C A^{iB} and A^j B with i
/// and j up to about √L. O(N³ log L) once, O(N²√L + NL) per row.
template <class T>
void power_kernel(ConstRows<T> A, ConstVectorView<T> B, ConstRows<T> C, Rows<T> out,
                  Checkpoint& checkpoint);

}  // namespace resolvent::ssm
