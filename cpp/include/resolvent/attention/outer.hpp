#pragma once

#include <cstdint>
#include <span>

#include "resolvent/attention/causal.hpp"
#include "resolvent/core/types.hpp"

/// Recurrences whose state is a matrix that outer products are added to:
///
///   S_t = a_t S_{t−1} + k_t v_tᵀ,   o_t = S_tᵀ q_t,   0 ≤ a_t ≤ 1,
///
/// with S (N × D), q, k (N), v, o (D): linear attention (Katharopoulos et al. 2020, arXiv
/// 2006.16236), retention (Sun et al. 2023, arXiv 2307.08621) and the scalar state-space duality
/// (Dao, Gu 2024, arXiv 2405.21060). The same as o_t = Σ_{i ≤ t} (Π_{i < l ≤ t} a_l)(q_t·k_i) v_i.
///
/// Products of decays are formed as products, so that nothing is divided by a decay and a_t = 0 is
/// a value as any other. The same bits for any number of threads and any instruction set.
namespace resolvent::attention {

/// The sequences of one argument, and which of them each head uses.
template <class T>
struct Heads {
  Sequences<T> sequences;
  std::span<const std::int64_t> place;

  const T* at(Index head) const {
    return sequences.at(static_cast<Index>(place[static_cast<std::size_t>(head)]));
  }
  Index count() const { return static_cast<Index>(place.size()); }
};

/// q, k (L × N), v (L × D), decay (L × 1, or 1 × 1 for all steps).
template <class T>
struct OuterInputs {
  Heads<T> q, k, v, decay;

  Index heads() const { return q.count(); }
  Index length() const { return q.sequences.length; }
  Index keys() const { return q.sequences.width; }
  Index values() const { return v.sequences.width; }
};

/// Gradients of Σ g∘o, one for every head: q, k (H × L × N), v (H × L × D), decay (H × L) and that
/// by the state before the first step, start (H × N × D).
template <class T>
struct OuterGradient {
  T* q;
  T* k;
  T* v;
  T* decay;
  T* start;
};

/// Step by step. `state` (H × N × D) is the state before and after, out H × L × D. 5 N D operations
/// a step; columns of the state are spread over threads, and N × D numbers a head are kept. Error
/// of an entry about eps (N + Σ_i Π a) times the same with absolute values.
template <class T>
void outer_recurrent(const OuterInputs<T>& in, T* state, T* out);

/// The same in chunks of `chunk` steps, parallel inside (masked products (Q Kᵀ ∘ decays) V),
/// recurrent between: 4 N D + chunk (N + D) operations a step. One chunk of all steps is the
/// parallel form, quadratic in L. Products of decays below the smallest normal number are 0. At
/// most 192 states are kept besides tiles of some 100 KB a thread.
template <class T>
void outer_chunked(const OuterInputs<T>& in, Index chunk, T* state, T* out);

/// Gradients, step by step backwards. `start` and g as in the forward form. States are kept every
/// √L steps, and those of one stretch between: 2√L N D numbers a thread; 17 N D operations a step.
template <class T>
void outer_recurrent_adjoint(const OuterInputs<T>& in, const T* start, const T* g,
                             const OuterGradient<T>& gradient);

/// Gradients in chunks: 10 N D + chunk (3 N + 2 D) operations a step. Two states are kept for every
/// chunk of a head, for as many heads as make 64 chunks, and by a thread keys and gradients of its
/// chunk.
template <class T>
void outer_chunked_adjoint(const OuterInputs<T>& in, Index chunk, const T* start, const T* g,
                           const OuterGradient<T>& gradient);

#define RESOLVENT_DECLARE(T)                                                                      \
  extern template void outer_recurrent<T>(const OuterInputs<T>&, T*, T*);                         \
  extern template void outer_chunked<T>(const OuterInputs<T>&, Index, T*, T*);                    \
  extern template void outer_recurrent_adjoint<T>(const OuterInputs<T>&, const T*, const T*,      \
                                                  const OuterGradient<T>&);                       \
  extern template void outer_chunked_adjoint<T>(const OuterInputs<T>&, Index, const T*, const T*, \
                                                const OuterGradient<T>&)
RESOLVENT_DECLARE(float);
RESOLVENT_DECLARE(double);
#undef RESOLVENT_DECLARE

}  // namespace resolvent::attention
