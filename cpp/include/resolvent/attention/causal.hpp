#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "resolvent/core/types.hpp"

/// Causal softmax attention with a state of constant size:
///
///   o_t = Σ_{i ≤ t} e^{s q_t·k_i} v_i / Σ_{i ≤ t} e^{s q_t·k_i}
///
/// is an inner recurrence over i whose state is the largest logit so far, the numerator and the
/// denominator, both relative to it (Milakov, Gimelshein 2018, arXiv 1805.02867; Rabe, Staats 2021,
/// arXiv 2112.05682; Dao et al. 2022, arXiv 2205.14135).
namespace resolvent::attention {

/// Sequences of rows: `count` of them, each `length` × `width`, one after the other.
template <class T>
struct Sequences {
  const T* data;
  Index count;
  Index length;
  Index width;

  const T* at(Index sequence) const { return data + sequence * length * width; }
};

/// Which sequence of the queries, keys, values and masks each result is made of.
struct Indices {
  std::span<const std::int64_t> query, key, value, mask;
};

/// What a query gives that no key is left for.
enum class Empty { error, zero };

struct CausalOptions {
  double scale = 1.0;
  const bool* mask = nullptr;  // keys that may be attended, rows of `length`; null: all
  Empty empty = Empty::error;
  /// Of the results' leading axes, by which errors name a query; empty: there is one axis.
  std::vector<Index> batch = {};
};

/// out (results × length × value.width) by tiles of queries and keys. No array of length² entries:
/// keys and values are copied once, tiles take some 100 KB a thread. length²(d + e) operations and
/// length²/2 exponentials a result. Error of an entry about
/// eps (|s| ‖q‖‖k‖ d + 64 + length/64) max|v|. The same bits for any number of threads and any
/// instruction set.
///
/// Throws `InvalidArgument` where a logit or a sum of values overflows and, with Empty::error,
/// where a mask leaves no key.
template <class T>
void streaming(const Sequences<T>& query, const Sequences<T>& key, const Sequences<T>& value,
               const Indices& indices, const CausalOptions& options, T* out);

/// The same key by key, with value.width + 2 numbers of state: the recurrence itself.
template <class T>
void recompute(const Sequences<T>& query, const Sequences<T>& key, const Sequences<T>& value,
               const Indices& indices, const CausalOptions& options, T* out);

}  // namespace resolvent::attention
