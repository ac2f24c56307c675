#include "resolvent/attention/stack.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "resolvent/core/interrupt.hpp"
#include "resolvent/math/attention.hpp"

namespace resolvent::attention {
namespace {

/// Numbers that are entered in a ledger while they are held.
template <class T>
class Buffer {
 public:
  Buffer(Ledger& ledger, Index size) : ledger_(&ledger) { grow(size); }
  ~Buffer() { ledger_->held -= bytes(size()); }
  Buffer(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept
      : ledger_(other.ledger_), numbers_(std::exchange(other.numbers_, {})) {}
  Buffer& operator=(Buffer&&) = delete;

  void grow(Index by) {
    numbers_.resize(numbers_.size() + static_cast<std::size_t>(by));
    ledger_->held += bytes(by);
    ledger_->peak = std::max(ledger_->peak, ledger_->held);
  }

  T* data() { return numbers_.data(); }
  Index size() const { return static_cast<Index>(numbers_.size()); }

 private:
  static Index bytes(Index count) { return count * static_cast<Index>(sizeof(T)); }

  Ledger* ledger_;
  std::vector<T> numbers_;
};

/// n = x/√(mean x² + kEpsilon).
template <class T>
void normalize(const T* x, Index width, T* n) {
  using std::sqrt;
  T squares = 0;
  for (Index c = 0; c < width; ++c) squares += x[c] * x[c];
  const T inverse = T(1) / sqrt(squares / T(static_cast<double>(width)) + T(kEpsilon));
  for (Index c = 0; c < width; ++c) n[c] = inverse * x[c];
}

/// y = x W.
template <class T>
void project(const T* x, const T* W, Index width, T* y) {
  std::fill_n(y, width, T(0));
  for (Index i = 0; i < width; ++i) {
    const T factor = x[i];
    const T* row = W + i * width;
#pragma omp simd
    for (Index c = 0; c < width; ++c) y[c] += factor * row[c];
  }
}

template <class T>
T dot(const T* a, const T* b, Index size) {
  T sum = 0;
  for (Index c = 0; c < size; ++c) sum += a[c] * b[c];
  return sum;
}

/// Logits into weights that sum to 1.
template <class T>
void softmax(T* logits, Index count) {
  using math::exp_nonpositive;
  T largest = logits[0];
  for (Index i = 1; i < count; ++i) largest = largest < logits[i] ? logits[i] : largest;
  T sum = 0;
  for (Index i = 0; i < count; ++i) {
    logits[i] = exp_nonpositive(logits[i] - largest);
    sum += logits[i];
  }
  const T inverse = T(1) / sum;
  for (Index i = 0; i < count; ++i) logits[i] *= inverse;
}

// ---- the parts of a layer
// ------------------------------------------------------------------------

/// The state of the recurrence over keys, for all heads of a query.
template <class T>
struct KeyState {
  T *largest, *denominator, *numerator;
};

template <class T>
class Layers {
 public:
  explicit Layers(const StackWeights<T>& weights)
      : w_(weights), d_(weights.width), head_(weights.width / weights.heads) {}

  Index width() const { return d_; }
  Index heads() const { return w_.heads; }
  Index depth() const { return w_.layers; }

  void embed(std::int64_t token, T* x) const { std::copy_n(w_.embedding + token * d_, d_, x); }

  void make_query(const T* n, Index l, T* q) const {
    project(n, matrix(w_.query, l), d_, q);
    const T scale = T(1.0 / std::sqrt(static_cast<double>(head_)));
    for (Index c = 0; c < d_; ++c) q[c] *= scale;
  }

  void make_key_and_value(const T* n, Index l, T* k, T* v) const {
    project(n, matrix(w_.key, l), d_, k);
    project(n, matrix(w_.value, l), d_, v);
  }

  /// x += o W_o.
  void add_output(const T* o, Index l, T* scratch, T* x) const {
    project(o, matrix(w_.output, l), d_, scratch);
    for (Index c = 0; c < d_; ++c) x[c] += scratch[c];
  }

  /// logits_i = q·k_i for one head, and o = Σ_i weights_i v_i; rows are d apart.
  void compare(const T* q, const T* k, Index h, Index count, T* logits) const {
    const Index at = h * head_;
    for (Index i = 0; i < count; ++i) logits[i] = dot(q + at, k + i * d_ + at, head_);
  }

  void combine(const T* weights, const T* v, Index h, Index count, T* o) const {
    const Index at = h * head_;
    std::fill_n(o + at, head_, T(0));
    for (Index i = 0; i < count; ++i) {
      for (Index c = at; c < at + head_; ++c) o[c] += weights[i] * v[i * d_ + c];
    }
  }

  void begin(const KeyState<T>& state) const {
    std::fill_n(state.largest, w_.heads, T(-std::numeric_limits<T>::infinity()));
    std::fill_n(state.denominator, w_.heads, T(0));
    std::fill_n(state.numerator, d_, T(0));
  }

  void absorb(const T* q, const T* k, const T* v, const KeyState<T>& state) const {
    for (Index h = 0; h < w_.heads; ++h) {
      const Index at = h * head_;
      const auto step = math::key_step<T>(state.largest[h], dot(q + at, k + at, head_),
                                          std::numeric_limits<T>::lowest());
      state.largest[h] = step.largest;
      state.denominator[h] = step.keep * state.denominator[h] + step.add;
      for (Index c = at; c < at + head_; ++c) {
        state.numerator[c] = step.keep * state.numerator[c] + step.add * v[c];
      }
    }
  }

  void finish(const KeyState<T>& state) const {
    for (Index h = 0; h < w_.heads; ++h) {
      const T inverse = T(1) / state.denominator[h];
      for (Index c = 0; c < head_; ++c) state.numerator[h * head_ + c] *= inverse;
    }
  }

 private:
  const T* matrix(const T* all, Index layer) const { return all + layer * d_ * d_; }

  StackWeights<T> w_;
  Index d_, head_;
};

// ---- layer by layer
// ------------------------------------------------------------------------------

template <class T>
void all_weights(const Layers<T>& layers, const T* q, const T* k, const T* v, Index L,
                 Ledger& ledger, Checkpoint& checkpoint, T* o) {
  const Index d = layers.width();
  Buffer<T> weights(ledger, L * L);
  for (Index h = 0; h < layers.heads(); ++h) {
    for (Index t = 0; t < L; ++t) {
      checkpoint();
      T* row = weights.data() + t * L;
      layers.compare(q + t * d, k, h, L, row);
      softmax(row, t + 1);
      std::fill(row + t + 1, row + L, T(0));
      layers.combine(row, v, h, L, o + t * d);
    }
  }
}

template <class T>
void all_recurrences(const Layers<T>& layers, const T* q, const T* k, const T* v, Index L,
                     Ledger& ledger, Checkpoint& checkpoint, T* o) {
  const Index d = layers.width();
  Buffer<T> largest(ledger, layers.heads()), denominator(ledger, layers.heads());
  for (Index t = 0; t < L; ++t) {
    checkpoint();
    const KeyState<T> state{largest.data(), denominator.data(), o + t * d};
    layers.begin(state);
    for (Index i = 0; i <= t; ++i) layers.absorb(q + t * d, k + i * d, v + i * d, state);
    layers.finish(state);
  }
}

template <class T>
Ledger by_layers(const Layers<T>& layers, std::span<const std::int64_t> tokens, bool full, T* x) {
  const auto L = static_cast<Index>(tokens.size());
  const Index d = layers.width();
  Ledger ledger;
  Checkpoint checkpoint;
  Buffer<T> n(ledger, L * d), q(ledger, L * d), k(ledger, L * d), v(ledger, L * d);
  for (Index i = 0; i < L; ++i) layers.embed(tokens[static_cast<std::size_t>(i)], x + i * d);
  for (Index l = 0; l < layers.depth(); ++l) {
    for (Index at = 0; at < L * d; at += d) {
      checkpoint();
      normalize(x + at, d, n.data() + at);
      layers.make_query(n.data() + at, l, q.data() + at);
      layers.make_key_and_value(n.data() + at, l, k.data() + at, v.data() + at);
    }
    // The normalised rows are done with: their place takes what the heads give.
    const auto attend = full ? all_weights<T> : all_recurrences<T>;
    attend(layers, q.data(), k.data(), v.data(), L, ledger, checkpoint, n.data());
    for (Index at = 0; at < L * d; at += d) {
      checkpoint();
      layers.add_output(n.data() + at, l, q.data(), x + at);
    }
  }
  return ledger;
}

// ---- token by token, nothing kept
// ----------------------------------------------------------------

/// Makes x_t^l by recursion over the layers below: T_l(t) = Σ_{i ≤ t} T_{l−1}(i) + O(t).
template <class T>
class Recursion {
 public:
  Recursion(const Layers<T>& layers, std::span<const std::int64_t> tokens)
      : layers_(layers), tokens_(tokens) {
    for (Index l = 0; l < layers.depth(); ++l) {
      frames_.emplace_back(ledger_, layers.width(), layers.heads());
    }
  }

  void run(Index l, Index t, T* x) {
    if (l == 0) {
      layers_.embed(tokens_[static_cast<std::size_t>(t)], x);
      return;
    }
    checkpoint_();
    run(l - 1, t, x);
    Frame& frame = frames_[static_cast<std::size_t>(l - 1)];
    T* n = frame.n.data();
    normalize(x, layers_.width(), n);
    layers_.make_query(n, l - 1, frame.q.data());
    layers_.begin(frame.state());
    for (Index i = 0; i <= t; ++i) {
      if (i < t) run(l - 1, i, frame.x.data());
      normalize(i < t ? frame.x.data() : x, layers_.width(), n);
      layers_.make_key_and_value(n, l - 1, frame.k.data(), frame.v.data());
      layers_.absorb(frame.q.data(), frame.k.data(), frame.v.data(), frame.state());
    }
    layers_.finish(frame.state());
    layers_.add_output(frame.numerator.data(), l - 1, n, x);
  }

  const Ledger& ledger() const { return ledger_; }

 private:
  /// What one level holds while the levels below it work.
  struct Frame {
    Frame(Ledger& ledger, Index d, Index heads)
        : x(ledger, d),
          n(ledger, d),
          q(ledger, d),
          k(ledger, d),
          v(ledger, d),
          numerator(ledger, d),
          largest(ledger, heads),
          denominator(ledger, heads) {}

    KeyState<T> state() { return {largest.data(), denominator.data(), numerator.data()}; }

    Buffer<T> x, n, q, k, v, numerator, largest, denominator;
  };

  Layers<T> layers_;
  std::span<const std::int64_t> tokens_;
  Ledger ledger_;
  Checkpoint checkpoint_;
  std::vector<Frame> frames_;
};

}  // namespace

// ---- token by token, with a cache
// ----------------------------------------------------------------

template <class T>
class Cache<T>::State {
 public:
  explicit State(const StackWeights<T>& weights) : layers_(weights) {
    for (Index l = 0; l < layers_.depth(); ++l) {
      keys_.emplace_back(ledger_, 0);
      values_.emplace_back(ledger_, 0);
    }
  }

  void step(std::int64_t token, T* x) {
    const Index d = layers_.width(), t = length_++;
    Buffer<T> n(ledger_, d), q(ledger_, d), o(ledger_, d), weights(ledger_, t + 1);
    layers_.embed(token, x);
    for (Index l = 0; l < layers_.depth(); ++l) {
      auto& keys = keys_[static_cast<std::size_t>(l)];
      auto& values = values_[static_cast<std::size_t>(l)];
      keys.grow(d);
      values.grow(d);
      normalize(x, d, n.data());
      layers_.make_query(n.data(), l, q.data());
      layers_.make_key_and_value(n.data(), l, keys.data() + t * d, values.data() + t * d);
      for (Index h = 0; h < layers_.heads(); ++h) {
        layers_.compare(q.data(), keys.data(), h, t + 1, weights.data());
        softmax(weights.data(), t + 1);
        layers_.combine(weights.data(), values.data(), h, t + 1, o.data());
      }
      layers_.add_output(o.data(), l, n.data(), x);
    }
  }

  Index length() const { return length_; }
  const Ledger& ledger() const { return ledger_; }

 private:
  Layers<T> layers_;
  Ledger ledger_;
  Index length_ = 0;
  std::vector<Buffer<T>> keys_, values_;
};

template <class T>
Cache<T>::Cache(const StackWeights<T>& weights) : state_(std::make_unique<State>(weights)) {}

template <class T>
Cache<T>::~Cache() = default;

template <class T>
Cache<T>::Cache(Cache&&) noexcept = default;

template <class T>
void Cache<T>::step(std::int64_t token, T* out) {
  state_->step(token, out);
}

template <class T>
Index Cache<T>::length() const {
  return state_->length();
}

template <class T>
const Ledger& Cache<T>::ledger() const {
  return state_->ledger();
}

// ---- all routes
// ----------------------------------------------------------------------------------

template <class T>
Ledger forward(const StackWeights<T>& weights, std::span<const std::int64_t> tokens, Route route,
               T* out) {
  const auto length = static_cast<Index>(tokens.size());
  if (route == Route::full || route == Route::streaming) {
    return by_layers<T>(Layers<T>(weights), tokens, route == Route::full, out);
  }
  if (route == Route::recompute) {
    Recursion<T> recursion(Layers<T>(weights), tokens);
    for (Index t = 0; t < length; ++t) recursion.run(weights.layers, t, out + t * weights.width);
    return recursion.ledger();
  }
  Cache<T> cache(weights);
  Checkpoint checkpoint;
  for (Index t = 0; t < length; ++t) {
    checkpoint();
    cache.step(tokens[static_cast<std::size_t>(t)], out + t * weights.width);
  }
  return cache.ledger();
}

template <class T>
void last(const StackWeights<T>& weights, std::span<const std::int64_t> tokens, T* out) {
  Recursion<T> recursion(Layers<T>(weights), tokens);
  recursion.run(weights.layers, static_cast<Index>(tokens.size()) - 1, out);
}

#define RESOLVENT_INSTANTIATE(T)                                                                \
  template Ledger forward<T>(const StackWeights<T>&, std::span<const std::int64_t>, Route, T*); \
  template void last<T>(const StackWeights<T>&, std::span<const std::int64_t>, T*);             \
  template class Cache<T>;
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
RESOLVENT_INSTANTIATE(Counted)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::attention
