#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "resolvent/attention/counted.hpp"
#include "resolvent/core/types.hpp"

namespace resolvent::attention {

/// How a stack of attention layers is run over a sequence.
enum class Route {
  full,       // layer by layer, with L × L weights
  cached,     // token by token, keys and values of every layer kept
  streaming,  // layer by layer, the recurrence over keys for every query
  recompute   // token by token, nothing kept: keys and values are made again from the tokens
};

/// Causal attention with residuals, D layers of width d:
///
///   x_i^0 = E[token_i],  n = x/√(mean x² + kEpsilon),
///   x_t^l = x_t^{l−1} + concat_h softmax-attention(n W_q, n W_k, n W_v) W_o,  scale 1/√(d/heads).
///
/// Weight matrices act on rows from the right and lie one after the other, layer by layer.
template <class T>
struct StackWeights {
  Index layers, heads, width;
  const T* embedding;                     // vocabulary × width
  const T *query, *key, *value, *output;  // layers × width × width
};

inline constexpr double kEpsilon = 1e-6;

/// Bytes in use, and the most of them so far.
struct Ledger {
  Index held = 0;
  Index peak = 0;
};

/// out (tokens × width): the last layer at every position. With T = Counted the run counts its own
/// arithmetic. Returns the storage that it took beside tokens, weights and out.
///
/// Costs, to leading order and without the projections: full 4L²dD operations, cached and streaming
/// 2L²dD, the latter with as many rescalings; recompute L^{D+1}/(D+1)! steps of the recurrence.
/// Storage: full L² + 4Ld numbers, streaming 4Ld, cached 2LdD, recompute 6dD, whatever L is.
template <class T>
Ledger forward(const StackWeights<T>& weights, std::span<const std::int64_t> tokens, Route route,
               T* out);

/// The last layer at the last position alone, by recomputation.
template <class T>
void last(const StackWeights<T>& weights, std::span<const std::int64_t> tokens, T* out);

/// Keys and values of all tokens so far, in every layer.
template <class T>
class Cache {
 public:
  explicit Cache(const StackWeights<T>& weights);
  ~Cache();
  Cache(Cache&&) noexcept;

  /// out: the last layer for the next token.
  void step(std::int64_t token, T* out);

  Index length() const;
  const Ledger& ledger() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace resolvent::attention
