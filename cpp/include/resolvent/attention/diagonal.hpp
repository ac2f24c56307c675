#pragma once

#include <complex>

#include "resolvent/core/types.hpp"

/// Linear recurrences with a diagonal transition: selective scans (Mamba), wkv (RWKV), and models
/// of many inputs and outputs (LRU, S5). Arrays are in C order, the axes in the order given here;
/// G counts the rows of the batch, L the steps.
///
/// All of them run in chunks of steps. What a chunk does to the state before it is an affine map,
/// so chunks may run side by side: first the maps, then the states at the borders one after the
/// other, then the chunks again with their outputs. The adjoints keep the states at the borders
/// only and recompute those between; nothing is ever divided by a decay. No bit depends on the
/// number of threads or on the instruction set.
namespace resolvent::attention {

/// sequential: one chunk after the other. split: chunks side by side where fewer than four tasks
/// could run otherwise, at twice the operations.
enum class Order { sequential, split };

struct Schedule {
  Index chunk;  ///< steps of a chunk, at least 1
  Order order;
};

/// f in h⁺ = e^{dt A}h + f B u. mamba: f = dt; zoh: f = (e^{dt A} − 1)/A.
enum class InputRule { mamba, zoh };

/// h[c,n] ← e^{dt[c]A[c,n]}h[c,n] + f[c,n]B[n]u[c], y[c] = Σ_n C[n]h[c,n] + D[c]u[c].
///
/// Gu, Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023,
/// arXiv:2312.00752.
template <class T>
struct Selective {
  Index rows, length, channels, states;
  const T* u;   ///< (G, L, c)
  const T* dt;  ///< (G, L, c), ≥ 0
  const T* A;   ///< (c, N), ≤ 0
  const T* B;   ///< (G, L, N)
  const T* C;   ///< (G, L, N)
  const T* D;   ///< (c)
  InputRule rule;
};

/// y (G, L, c); state (G, c, N) before and after. 6 operations and an exponential for each step,
/// channel and state, O(N) memory for each channel. Error of y about t·eps times the sum of the
/// absolute terms.
template <class T>
void selective_scan(const Selective<T>& model, Schedule schedule, T* state, T* y);

/// Where gradients go, in the shapes of what they belong to; initial (G, c, N).
template <class T>
struct SelectiveGradient {
  T *u, *dt, *A, *B, *C, *D, *initial;
};

/// The gradient of Σ g y, g (G, L, c). Three passes; O(G c N L/chunk) memory for the states at the
/// borders, O(chunk N) for each thread.
template <class T>
void selective_scan_adjoint(const Selective<T>& model, Schedule schedule, const T* state,
                            const T* g, const SelectiveGradient<T>& gradient);

/// With weights e^{k_t} that decay by e^{−w} a step, and e^{u + k_t} for the newest:
/// y_t = (Σ_{i<t} e^{−(t−1−i)w + k_i} v_i + e^{u+k_t}v_t)/(the same with v = 1).
///
/// Peng et al., "RWKV: Reinventing RNNs for the Transformer Era", 2023, arXiv:2305.13048.
template <class T>
struct Wkv {
  Index rows, length, channels;
  const T* w;  ///< (c), ≥ 0
  const T* u;  ///< (c)
  const T* k;  ///< (G, L, c)
  const T* v;  ///< (G, L, c)
};

/// y (G, L, c); state (G, 3, c) before and after: numerator and denominator over e^m, and m, the
/// largest log-weight so far. A state whose denominator is 0 is empty, whatever its m. Two
/// exponentials for each step and channel. No overflow for any finite k; error of y about
/// eps·(|k| + |u|) + t·eps, relative to the largest |v|.
template <class T>
void wkv(const Wkv<T>& model, Schedule schedule, T* state, T* y);

template <class T>
struct WkvGradient {
  T *w, *u, *k, *v, *initial;
};

/// The gradient of Σ g y. The adjoint keeps its own largest log-weight, so that no exponential
/// overflows. Nine exponentials; O(G c L/chunk) memory, O(chunk) for each thread.
template <class T>
void wkv_adjoint(const Wkv<T>& model, Schedule schedule, const T* state, const T* g,
                 const WkvGradient<T>& gradient);

/// x ← λ⊙x + B u, y = Re(C x).
///
/// Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023,
/// arXiv:2303.06349. Smith, Warrington, Linderman, "Simplified State Space Layers for Sequence
/// Modeling", 2022, arXiv:2208.04933.
template <class T>
struct Diagonal {
  Index rows, length, inputs, states, outputs;
  const std::complex<T>* eigenvalues;  ///< (N)
  const std::complex<T>* B;            ///< (N, inputs)
  const std::complex<T>* C;            ///< (outputs, N)
  const T* u;                          ///< (G, L, inputs)
};

/// y (G, L, outputs); state (G, N) before and after. 4 N (inputs + outputs + 2) operations a step,
/// the products for a chunk at a time; O(chunk (N + outputs)) memory for each thread.
template <class T>
void diagonal_scan(const Diagonal<T>& model, Schedule schedule, std::complex<T>* state, T* y);

/// Gradients are ∂/∂Re + i ∂/∂Im; initial (G, N).
template <class T>
struct DiagonalGradient {
  T* u;
  std::complex<T>*eigenvalues, *B, *C, *initial;
};

/// The gradient of Σ g y, g (G, L, outputs). O(G N L/chunk) memory for the states at the borders.
template <class T>
void diagonal_scan_adjoint(const Diagonal<T>& model, Schedule schedule,
                           const std::complex<T>* state, const T* g,
                           const DiagonalGradient<T>& gradient);

}  // namespace resolvent::attention
