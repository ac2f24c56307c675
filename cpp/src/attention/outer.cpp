#include "resolvent/attention/outer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "resolvent/core/threads.hpp"
#include "tile.hpp"

namespace resolvent::attention {
namespace {

constexpr Index kTile = 64;   // steps of a tile
constexpr Index kStep = 12;   // rows of a tile that are made and used at once
constexpr Index kTasks = 64;  // chunks that are worked on side by side

constexpr Index pieces(Index size, Index piece) { return (size + piece - 1) / piece; }

template <class T>
constexpr Index lanes_of(Index columns) {
  return padded<T>(columns) / kLanes<T>;
}

/// The decays of one head.
template <class T>
struct Decays {
  const T* data;
  Index stride;  // 0: the same at all steps

  T operator()(Index t) const { return data[t * stride]; }
};

/// The arguments of one head.
template <class T>
struct Head {
  const T* q;
  const T* k;
  const T* v;
  Decays<T> a;
  Index n, d;

  Head(const OuterInputs<T>& in, Index head)
      : q(in.q.at(head)),
        k(in.k.at(head)),
        v(in.v.at(head)),
        a{in.decay.at(head), in.decay.sequences.length == 1 ? 0 : 1},
        n(in.keys()),
        d(in.values()) {}

  Block<const T> queries(Index t) const { return {q + t * n, n}; }
  Block<const T> keys(Index t) const { return {k + t * n, n}; }
  Block<const T> values(Index t) const { return {v + t * d, d}; }
};

/// Zeros, rows padded to whole lanes.
template <class T>
class Scratch {
 public:
  Scratch(Index rows, Index columns) : numbers_(Matrix<T>::Zero(rows, padded<T>(columns))) {}

  void clear() { numbers_.setZero(); }
  Index width() const { return numbers_.cols(); }
  T* row(Index i) { return numbers_.data() + i * width(); }
  Block<T> block(Index i = 0) { return {row(i), width()}; }
  Block<const T> read(Index i = 0) const { return {numbers_.data() + i * width(), width()}; }

 private:
  Matrix<T> numbers_;
};

template <class T>
Block<const T> read_only(Block<T> block) {
  return {block.data, block.stride};
}

template <class T>
void copy(Block<const T> from, Index rows, Index columns, Block<T> to) {
  for (Index i = 0; i < rows; ++i) std::copy_n(from.row(i), columns, to.row(i));
}

/// to = fromᵀ, whose rows are filled up to whole lanes with zeros.
template <class T>
void transpose(Block<const T> from, Index rows, Index columns, Block<T> to) {
  constexpr Index kSide = 8;
  for (Index c = 0; c < columns; c += kSide) {
    const Index end = std::min(c + kSide, columns);
    for (Index i = 0; i < rows; ++i) {
      for (Index l = c; l < end; ++l) to.row(l)[i] = from.row(i)[l];
    }
    for (Index l = c; l < end; ++l) std::fill(to.row(l) + rows, to.row(l) + padded<T>(rows), T(0));
  }
}

template <class T>
T dot(const T* x, const T* y, Index n) {
  Lanes<T> sum = {};
  Index i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    for (Index l = 0; l < kLanes<T>; ++l) sum[l] += x[i + l] * y[i + l];
  }
  for (Index l = 0; i < n; ++i, ++l) sum[l] += x[i] * y[i];
  return sum_of<T>(sum);
}

// ---- products of decays -------------------------------------------------------------------------

/// Products below the smallest normal number are 0: they cost a hundred times as much, and where
/// a > ½ would never get to 0.
template <class T>
T flushed(T product) {
  return product < std::numeric_limits<T>::min() ? T(0) : product;
}

/// to_j = after·Π_{j < l < rows} a_{first+l}; returns after·Π_l a_{first+l}.
template <class T>
T decays_after(Decays<T> a, Index first, Index rows, T after, T* to) {
  for (Index j = rows - 1; j >= 0; --j) {
    to[j] = after;
    after = flushed(after * a(first + j));
  }
  return after;
}

/// to_j = before·Π_{l ≤ j} a_{first+l}.
template <class T>
void decays_up_to(Decays<T> a, Index first, Index rows, T before, T* to) {
  for (Index j = 0; j < rows; ++j) to[j] = before = flushed(before * a(first + j));
}

template <class T>
T product_of(Decays<T> a, Index first, Index rows) {
  T product = 1;
  for (Index j = 0; j < rows; ++j) product = flushed(product * a(first + j));
  return product;
}

/// A number for every step of a tile.
template <class T>
struct PerStep {
  alignas(64) T at[kTile] = {};

  Lanes<T>* lanes() { return lanes_at(static_cast<T*>(at)); }
};

// ---- states -------------------------------------------------------------------------------------

/// States (n × d), rows padded to whole lanes.
template <class T>
class States {
 public:
  States(Index count, Index n, Index d) : n_(n), numbers_(count * n, d) {}

  Block<T> operator[](Index i) { return numbers_.block(i * n_); }
  Index size() const { return n_ * numbers_.width(); }

 private:
  Index n_;
  Scratch<T> numbers_;
};

/// state ← factor·state + sum, and sum ← the state before.
template <class T>
void pass(T factor, Index size, T* sum, T* state) {
#pragma omp simd
  for (Index i = 0; i < size; ++i) {
    const T before = state[i];
    state[i] = factor * before + sum[i];
    sum[i] = before;
  }
}

/// sum = Σ_t (decays from t to the end) k_t v_tᵀ over a chunk; returns the chunk's whole decay.
template <class T>
T sum_of_chunk(const Head<T>& head, Index first, Index end, Block<T> sum) {
  Scratch<T> keys(head.n, kTile), values(kTile, head.d);
  PerStep<T> decay;
  T after = 1;
  for (Index tile = first + (end - first - 1) / kTile * kTile; tile >= first; tile -= kTile) {
    const Index rows = std::min(kTile, end - tile);
    after = decays_after(head.a, tile, rows, after, decay.at);
    transpose(head.keys(tile), rows, head.n, keys.block());
    for (Index c = 0; c < head.n; ++c) {
      for (Index l = 0; l < lanes_of<T>(rows); ++l) lanes_at(keys.row(c))[l] *= decay.lanes()[l];
    }
    copy(head.values(tile), rows, head.d, values.block());
    multiply<true, T>(keys.read(), values.read(), head.n, rows, values.width(), sum);
  }
  return after;
}

/// sum = Σ_t (decays from the start to t) q_t g_tᵀ over a chunk.
template <class T>
void adjoint_sum_of_chunk(const Head<T>& head, const T* g, Index first, Index end, Block<T> sum) {
  Scratch<T> queries(head.n, kTile), upstream(kTile, head.d);
  PerStep<T> decay;
  T before = 1;
  for (Index tile = first; tile < end && before > T(0); tile += kTile) {
    const Index rows = std::min(kTile, end - tile);
    decays_up_to(head.a, tile, rows, before, decay.at);
    before = decay.at[rows - 1];
    transpose(head.queries(tile), rows, head.n, queries.block());
    for (Index c = 0; c < head.n; ++c) {
      for (Index l = 0; l < lanes_of<T>(rows); ++l) lanes_at(queries.row(c))[l] *= decay.lanes()[l];
    }
    copy({g + tile * head.d, head.d}, rows, head.d, upstream.block());
    multiply<true, T>(queries.read(), upstream.read(), head.n, rows, upstream.width(), sum);
  }
}

// ---- outputs of a chunk -------------------------------------------------------------------------

/// The outputs of one tile of a chunk, from the state before the chunk and the tiles up to this
/// one.
template <class T>
class OutputTile {
 public:
  OutputTile(const Head<T>& head, Index first, Index end)
      : head_(head),
        first_(first),
        rows_(std::min(kTile, end - first)),
        keys_(head.n, kTile),
        values_(kTile, head.d),
        weight_(kStep, kTile),
        out_(kTile, head.d) {}

  void run(Index chunk, Block<const T> state, Checkpoint& checkpoint) {
    visit(first_, rows_);
    T between = 1;  // the decays of the tiles between
    for (Index tile = first_ - kTile; tile >= chunk && between > T(0); tile -= kTile) {
      checkpoint();
      between = decays_after(head_.a, tile, kTile, between, decay_.at);
      visit(tile, kTile);
    }
    if (between > T(0)) visit_state(between, state);
  }

  void store(T* out) const {
    for (Index i = 0; i < rows_; ++i) {
      std::copy_n(out_.read().row(i), head_.d, out + (first_ + i) * head_.d);
    }
  }

 private:
  /// Adds (Q Kᵀ ∘ decays) V for the keys of a tile; `decay_` is that from each of them to the end
  /// of the tile before this one, or 0 for this tile itself.
  void visit(Index tile, Index keys) {
    const bool own = tile == first_;
    transpose(head_.keys(tile), keys, head_.n, keys_.block());
    copy(head_.values(tile), keys, head_.d, values_.block());
    for (Index row = 0; row < rows_; row += kStep) {
      const Index rows = std::min(kStep, rows_ - row);
      const Index seen = own ? row + rows : keys;
      multiply<false, T>(head_.queries(first_ + row), keys_.read(), rows, head_.n, padded<T>(seen),
                         weight_.block());
      for (Index r = 0; r < rows; ++r) weigh(row + r, own, seen, weight_.row(r));
      multiply<true, T>(weight_.read(), values_.read(), rows, seen, values_.width(),
                        out_.block(row));
    }
  }

  /// Scores of a row with `seen` keys into weights.
  void weigh(Index row, bool own, Index seen, T* score) {
    const T a = head_.a(first_ + row);
    if (own) std::fill(score + row + 1, score + padded<T>(seen), T(0));
    for (Index l = 0; l < lanes_of<T>(seen); ++l) decay_.lanes()[l] *= a;
    if (own) decay_.at[row] = 1;
    for (Index l = 0; l < lanes_of<T>(seen); ++l) lanes_at(score)[l] *= decay_.lanes()[l];
  }

  void visit_state(T before, Block<const T> state) {
    Scratch<T> queries(rows_, head_.n);
    for (Index i = 0; i < rows_; ++i) {
      before = flushed(before * head_.a(first_ + i));
      const T* q = head_.queries(first_ + i).data;
      for (Index c = 0; c < head_.n; ++c) queries.row(i)[c] = before * q[c];
    }
    multiply<true, T>(queries.read(), state, rows_, head_.n, out_.width(), out_.block());
  }

  const Head<T>& head_;
  Index first_, rows_;
  Scratch<T> keys_, values_, weight_, out_;
  PerStep<T> decay_;
};

// ---- gradients of a chunk -----------------------------------------------------------------------

/// The gradients of one chunk, from the state before it and the gradient by the state after it.
///
/// With M_ij = (q_i·k_j)(g_i·v_j) the sum Σ g∘o over a chunk is Σ_{j ≤ i} W_ij M_ij, where
/// W_ij = Π_{j < l ≤ i} a_l. The derivative of W_ij by a_t, j < t ≤ i, is W_it W_{t−1,j}, so that
/// that of the sum is Σ_{i ≥ t} W_it r_i with r_i = Σ_{j < t} W_{t−1,j} M_ij, a recurrence over t
/// for every i. The state before is one more key, the gradient by the state after one more query.
template <class T>
class ChunkAdjoint {
 public:
  ChunkAdjoint(const Head<T>& head, const T* g, const OuterGradient<T>& to, Index first, Index end)
      : head_(head),
        g_(g),
        to_(to),
        first_(first),
        steps_(end - first),
        key_(steps_, head.n),
        by_key_(steps_, head.n),
        by_value_(steps_, head.d),
        query_(kTile, head.n),
        query_t_(head.n, kTile),
        upstream_(kTile, head.d),
        upstream_t_(head.d, kTile),
        by_query_(kTile, head.n),
        by_score_(kTile, kTile),
        by_score_t_(kTile, kTile),
        score_(kTile, kTile),
        product_(kTile, kTile),
        weight_(kTile, kTile),
        by_decay_(static_cast<std::size_t>(steps_), T(0)) {
    copy(head.keys(first), steps_, head.n, key_.block());
  }

  void run(Block<const T> state, Block<const T> after, Checkpoint& checkpoint) {
    Scratch<T> state_t(head_.d, head_.n);
    transpose(state, head_.n, head_.d, state_t.block());
    for (Index tile = 0; tile < steps_; tile += kTile) {
      checkpoint();
      queries(tile, state_t.read());
    }
    past_the_end(state, after);
    copy(by_key_.read(), steps_, head_.n, {to_.k + first_ * head_.n, head_.n});
    copy(by_value_.read(), steps_, head_.d, {to_.v + first_ * head_.d, head_.d});
    std::copy(by_decay_.begin(), by_decay_.end(), to_.decay + first_);
  }

 private:
  /// A tile of queries with all keys up to it.
  void queries(Index tile, Block<const T> state_t) {
    rows_ = std::min(kTile, steps_ - tile);
    const Block<const T> g{g_ + (first_ + tile) * head_.d, head_.d};
    copy(head_.queries(first_ + tile), rows_, head_.n, query_.block());
    transpose(head_.queries(first_ + tile), rows_, head_.n, query_t_.block());
    copy(g, rows_, head_.d, upstream_.block());
    transpose(g, rows_, head_.d, upstream_t_.block());
    multiply<false, T>(g, state_t, rows_, head_.d, by_query_.width(), by_query_.block());

    const std::vector<T> between = decays_to(tile);
    decays_up_to(head_.a, first_ + tile, rows_, T(1), prefix_.at);
    running_ = {};
    for (Index i = 0; i < rows_; ++i) {
      running_.at[i] = dot(query_.row(i), by_query_.row(i), head_.n);
      const T before = prefix_.at[i] * between[0];
      for (Index c = 0; c < head_.n; ++c) by_query_.row(i)[c] *= before;
    }
    for (Index keys = 0; keys < tile; keys += kTile) {
      visit(tile, keys, between[static_cast<std::size_t>(keys / kTile) + 1]);
    }
    visit(tile, tile, T(1));
    copy(by_query_.read(), rows_, head_.n, {to_.q + (first_ + tile) * head_.n, head_.n});
  }

  /// The decays between the end of each tile and this one, and first that of all tiles before.
  std::vector<T> decays_to(Index tile) const {
    std::vector<T> between(static_cast<std::size_t>(tile / kTile) + 1, T(1));
    for (auto i = between.size() - 1; i-- > 0;) {
      const Index keys = first_ + static_cast<Index>(i) * kTile;
      between[i] = flushed(between[i + 1] * product_of(head_.a, keys, kTile));
    }
    return between;
  }

  void visit(Index tile, Index keys, T between) {
    const bool own = keys == tile;
    const Index count = own ? rows_ : kTile;
    weigh(keys, count, own, between);
    for (Index j = 0; j < count; j += kStep) {
      const Index some = std::min(kStep, count - j);
      // Queries from here on see these keys.
      const Index from = own ? j / kLanes<T> * kLanes<T> : 0;
      pair(keys, j, some, from, own);
      multiply<true, T>({by_score_t_.row(j) + from, kTile}, query_.read(from), some, rows_ - from,
                        by_key_.width(), by_key_.block(keys + j));
      multiply<true, T>({score_.row(j) + from, kTile}, upstream_.read(from), some, rows_ - from,
                        by_value_.width(), by_value_.block(keys + j));
    }
    transpose(by_score_t_.read(), count, rows_, by_score_.block());
    for (Index i = 0; i < rows_; i += kStep) {
      const Index some = std::min(kStep, rows_ - i);
      multiply<true, T>(by_score_.read(i), key_.read(keys), some, own ? i + some : count,
                        by_query_.width(), by_query_.block(i));
    }
    differentiate_decays(keys, count);
  }

  /// weight_(j, i) = W_ij for the queries i of the tile.
  void weigh(Index keys, Index count, bool own, T between) {
    PerStep<T> decay;
    if (!own) {
      for (Index i = 0; i < rows_; ++i) decay.at[i] = flushed(prefix_.at[i] * between);
    }
    for (Index j = count - 1; j >= 0; --j) {
      if (own) decay.at[j] = 1;
      std::copy_n(decay.at, kTile, weight_.row(j));
      const T a = head_.a(first_ + keys + j);
      for (Index l = 0; l < lanes_of<T>(rows_); ++l) decay.lanes()[l] *= a;
    }
  }

  /// Scores and their gradients for keys j … j + some − 1 and the queries from `from` on.
  void pair(Index keys, Index j, Index some, Index from, bool own) {
    const Index t = first_ + keys + j, width = padded<T>(rows_) - from;
    multiply<false, T>(head_.keys(t), {query_t_.row(0) + from, kTile}, some, head_.n, width,
                       {score_.row(j) + from, kTile});
    multiply<false, T>(head_.values(t), {upstream_t_.row(0) + from, kTile}, some, head_.d, width,
                       {by_score_t_.row(j) + from, kTile});
    for (Index r = j; r < j + some; ++r) {
      if (own) {
        std::fill(score_.row(r), score_.row(r) + r, T(0));
        std::fill(by_score_t_.row(r), by_score_t_.row(r) + r, T(0));
      }
      for (Index l = 0; l < lanes_of<T>(rows_); ++l) {
        Lanes<T>& score = lanes_at(score_.row(r))[l];
        Lanes<T>& by_score = lanes_at(by_score_t_.row(r))[l];
        const Lanes<T> weight = lanes_at(weight_.row(r))[l];
        lanes_at(product_.row(r))[l] = score * by_score;
        score *= weight;
        by_score *= weight;
      }
    }
  }

  void differentiate_decays(Index keys, Index count) {
    for (Index j = 0; j < count; ++j) {
      const T a = head_.a(first_ + keys + j);
      Lanes<T> sum = {};
      for (Index l = 0; l < lanes_of<T>(rows_); ++l) {
        Lanes<T>& r = running_.lanes()[l];
        sum += lanes_at(weight_.row(j))[l] * r;
        r = a * r + lanes_at(product_.row(j))[l];
      }
      by_decay_[static_cast<std::size_t>(keys + j)] += sum_of<T>(sum);
    }
  }

  /// What the gradient by the state after the chunk adds.
  void past_the_end(Block<const T> state, Block<const T> after) {
    Scratch<T> after_t(head_.d, head_.n), by_k(steps_, head_.n), by_v(steps_, head_.d);
    transpose(after, head_.n, head_.d, after_t.block());
    multiply<false, T>(head_.values(first_), after_t.read(), steps_, head_.d, by_k.width(),
                       by_k.block());
    multiply<false, T>(head_.keys(first_), after, steps_, head_.n, by_v.width(), by_v.block());
    std::vector<T> decay(static_cast<std::size_t>(steps_));
    decays_after(head_.a, first_, steps_, T(1), decay.data());
    T running = dot(state.data, after.data, head_.n * state.stride);
    for (Index j = 0; j < steps_; ++j) {
      const T w = decay[static_cast<std::size_t>(j)];
      by_decay_[static_cast<std::size_t>(j)] += w * running;
      running = head_.a(first_ + j) * running + dot(key_.row(j), by_k.row(j), head_.n);
      for (Index c = 0; c < head_.n; ++c) by_key_.row(j)[c] += w * by_k.row(j)[c];
      for (Index c = 0; c < head_.d; ++c) by_value_.row(j)[c] += w * by_v.row(j)[c];
    }
  }

  const Head<T>& head_;
  const T* g_;
  OuterGradient<T> to_;
  Index first_, steps_;
  Index rows_ = 0;  // of the tile of queries at hand
  Scratch<T> key_, by_key_, by_value_;
  Scratch<T> query_, query_t_, upstream_, upstream_t_, by_query_;
  // Keys × queries, but for by_score_.
  Scratch<T> by_score_, by_score_t_, score_, product_, weight_;
  PerStep<T> prefix_, running_;
  std::vector<T> by_decay_;
};

// ---- chunks of many heads -----------------------------------------------------------------------

/// Operations of the vector units, for `parallel_for`.
template <class T>
double work_of(Index steps, Index per_step) {
  return static_cast<double>(steps) * static_cast<double>(per_step) / kLanes<T>;
}

/// Heads `head` … `head + heads − 1` and of each the chunks `begin` … `begin + count − 1`.
struct Wave {
  Index head, heads, begin, count;

  Index size() const { return heads * count; }
};

/// The chunks of all heads, with what lies between them.
template <class T>
class Chunks {
 public:
  Chunks(const OuterInputs<T>& in, Index chunk)
      : in_(in), chunk_(std::clamp<Index>(chunk, 1, std::max<Index>(in.length(), 1))) {}

  Index count() const { return pieces(in_.length(), chunk_); }
  Index begin(Index c) const { return c * chunk_; }
  Index end(Index c) const { return std::min(in_.length(), (c + 1) * chunk_); }

  /// Calls body(head, chunk, place in the wave, checkpoint) for all chunks of a wave; a step costs
  /// `per_step` operations.
  template <class Body>
  void for_each(const Wave& wave, Index per_step, const Body& body) const {
    const double work = work_of<T>(wave.size() * chunk_, per_step);
    parallel_for(wave.size(), work, [&](Index place, Checkpoint& checkpoint) {
      checkpoint();
      body(Head<T>(in_, wave.head + place / wave.count), wave.begin + place % wave.count, place,
           checkpoint);
    });
  }

  /// sums ← the states before the chunks of a wave, `state` ← those after it; returns the decays
  /// of the chunks.
  std::vector<T> forwards(const Wave& wave, States<T>& state, States<T>& sums) const {
    std::vector<T> decays(static_cast<std::size_t>(wave.size()));
    for_each(wave, 2 * state_size(), [&](const Head<T>& head, Index c, Index place, Checkpoint&) {
      std::fill_n(sums[place].data, sums.size(), T(0));
      decays[static_cast<std::size_t>(place)] = sum_of_chunk(head, begin(c), end(c), sums[place]);
    });
    pass_all(wave, decays, state, sums, [](Index i) { return i; });
    return decays;
  }

  /// sums ← the gradients by the states after the chunks, `state` ← those by the states before the
  /// wave.
  void backwards(const Wave& wave, const std::vector<T>& decays, const T* g, States<T>& state,
                 States<T>& sums) const {
    for_each(wave, 2 * state_size(), [&](const Head<T>& head, Index c, Index place, Checkpoint&) {
      std::fill_n(sums[place].data, sums.size(), T(0));
      adjoint_sum_of_chunk(head, g + (wave.head + place / wave.count) * in_.length() * in_.values(),
                           begin(c), end(c), sums[place]);
    });
    pass_all(wave, decays, state, sums, [&](Index i) { return wave.count - 1 - i; });
  }

 private:
  Index state_size() const { return in_.keys() * in_.values(); }

  template <class Order>
  void pass_all(const Wave& wave, const std::vector<T>& decays, States<T>& state, States<T>& sums,
                const Order& order) const {
    parallel_for(wave.heads, work_of<T>(wave.size(), 4 * state_size()),
                 [&](Index h, Checkpoint& checkpoint) {
                   checkpoint();
                   for (Index i = 0; i < wave.count; ++i) {
                     const Index place = h * wave.count + order(i);
                     pass(decays[static_cast<std::size_t>(place)], sums.size(), sums[place].data,
                          state[h].data);
                   }
                 });
  }

  const OuterInputs<T>& in_;
  Index chunk_;
};

/// States of heads in the caller's array, and back.
template <class T>
void load(const T* from, Index heads, Index n, Index d, States<T>& to) {
  for (Index h = 0; h < heads; ++h) copy<T>({from + h * n * d, d}, n, d, to[h]);
}

template <class T>
void store(States<T>& from, Index heads, Index n, Index d, T* to) {
  for (Index h = 0; h < heads; ++h) copy(read_only(from[h]), n, d, {to + h * n * d, d});
}

/// The outputs of a wave, from the states before its chunks, a task for every tile.
template <class T>
void outputs(const OuterInputs<T>& in, const Chunks<T>& chunks, const Wave& wave, States<T>& before,
             T* out) {
  const Index tiles = pieces(chunks.end(0), kTile), length = in.length();
  const Index per_step = chunks.end(0) * (in.keys() + in.values()) + 2 * in.keys() * in.values();
  const double work = work_of<T>(wave.size() * chunks.end(0), per_step);
  parallel_for(wave.size() * tiles, work, [&](Index task, Checkpoint& checkpoint) {
    checkpoint();
    // The last tiles of a chunk see the most keys: they come first.
    const Index place = task % wave.size(), tile = tiles - 1 - task / wave.size();
    const Index h = wave.head + place / wave.count, c = wave.begin + place % wave.count;
    const Index first = chunks.begin(c) + tile * kTile;
    if (first >= chunks.end(c)) return;
    const Head<T> head(in, h);
    OutputTile<T> outputs(head, first, chunks.end(c));
    outputs.run(chunks.begin(c), read_only(before[place]), checkpoint);
    outputs.store(out + h * length * in.values());
  });
}

// ---- step by step -------------------------------------------------------------------------------

constexpr Index kSteps = 256;  // between looks at the checkpoint

/// Up to Columns·kLanes columns of the state and of the outputs, from `column` on.
template <int Columns, class T>
void recur_columns(const Head<T>& head, Index steps, Index column, T* state, T* out,
                   Checkpoint& checkpoint) {
  constexpr Index kWidth = Columns * kLanes<T>;
  const Index width = std::min(kWidth, head.d - column);
  Scratch<T> own(head.n, kWidth);
  copy<T>({state + column, head.d}, head.n, width, own.block());
  alignas(64) T row[kWidth] = {};
  for (Index t = 0; t < steps; ++t) {
    if (t % kSteps == 0) checkpoint();
    const T a = head.a(t);
    const T *q = head.queries(t).data, *k = head.keys(t).data;
    std::copy_n(head.values(t).data + column, width, row);
    Lanes<T> v[Columns], o[Columns] = {};
    for (int c = 0; c < Columns; ++c) v[c] = lanes_at(row)[c];
    for (Index n = 0; n < head.n; ++n) {
      Lanes<T>* s = lanes_at(own.row(n));
#pragma GCC unroll 4
      for (int c = 0; c < Columns; ++c) {
        s[c] = a * s[c] + k[n] * v[c];
        o[c] += q[n] * s[c];
      }
    }
    for (int c = 0; c < Columns; ++c) lanes_at(row)[c] = o[c];
    std::copy_n(row, width, out + t * head.d + column);
    std::fill(row + width, row + kWidth, T(0));
  }
  copy(own.read(), head.n, width, {state + column, head.d});
}

/// The same with as few lanes as the columns need.
template <int Columns, class T>
void recur(const Head<T>& head, Index steps, Index column, T* state, T* out,
           Checkpoint& checkpoint) {
  if constexpr (Columns > 1) {
    if (lanes_of<T>(head.d - column) < Columns) {
      return recur<Columns - 1>(head, steps, column, state, out, checkpoint);
    }
  }
  recur_columns<Columns>(head, steps, column, state, out, checkpoint);
}

/// to = a from + k vᵀ.
template <class T>
void advance(const Head<T>& head, Index t, const T* v, Block<const T> from, Block<T> to) {
  const T a = head.a(t);
  const T* k = head.keys(t).data;
  for (Index n = 0; n < head.n; ++n) {
    for (Index l = 0; l < lanes_of<T>(head.d); ++l) {
      lanes_at(to.row(n))[l] = a * lanes_at(from.row(n))[l] + k[n] * lanes_at(v)[l];
    }
  }
}

/// The gradients of one head, backwards in time.
template <class T>
class StepAdjoint {
 public:
  StepAdjoint(const Head<T>& head, const T* g, const OuterGradient<T>& to, Index steps)
      : head_(head),
        g_(g),
        to_(to),
        steps_(steps),
        stretch_(std::max<Index>(1, static_cast<Index>(std::sqrt(static_cast<double>(steps))))),
        starts_(std::max<Index>(1, pieces(steps, stretch_)), head.n, head.d),
        states_(stretch_ + 1, head.n, head.d),
        adjoint_(1, head.n, head.d),
        rows_(3, head.d) {}

  void run(const T* start, Checkpoint& checkpoint) {
    copy<T>({start, head_.d}, head_.n, head_.d, states_[0]);
    const Index stretches = pieces(steps_, stretch_);
    for (Index i = 0; i < stretches; ++i) {
      checkpoint();
      std::copy_n(states_[0].data, states_.size(), starts_[i].data);
      if (i + 1 < stretches) std::copy_n(forwards(i).data, states_.size(), states_[0].data);
    }
    for (Index i = stretches; i-- > 0;) {
      checkpoint();
      std::copy_n(starts_[i].data, states_.size(), states_[0].data);
      forwards(i);
      for (Index t = end(i); t-- > i * stretch_;) step_back(t, t - i * stretch_);
    }
    copy(read_only(adjoint_[0]), head_.n, head_.d, {to_.start, head_.d});
  }

 private:
  Index end(Index i) const { return std::min(steps_, (i + 1) * stretch_); }

  /// Row `i` of three: a value or gradient at step t, padded.
  const T* padded_row(Index i, const T* from) {
    std::copy_n(from, head_.d, rows_.row(i));
    return rows_.row(i);
  }

  /// The states of a stretch from its first one; returns the last.
  Block<T> forwards(Index i) {
    Index at = 0;
    for (Index t = i * stretch_; t < end(i); ++t, ++at) {
      advance(head_, t, padded_row(0, head_.values(t).data), read_only(states_[at]),
              states_[at + 1]);
    }
    return states_[at];
  }

  /// With Λ the gradient by S_t: Λ = q_t g_tᵀ + a_{t+1} Λ_{t+1}, and by q_t S_t g_t, by k_t Λ v_t,
  /// by v_t Λᵀk_t, by a_t ⟨S_{t−1}, Λ⟩.
  void step_back(Index t, Index at) {
    const T a = head_.a(t);
    const T *q = head_.queries(t).data, *k = head_.keys(t).data;
    const Lanes<T>* v = lanes_at(padded_row(0, head_.values(t).data));
    const Lanes<T>* g = lanes_at(padded_row(1, g_ + t * head_.d));
    Lanes<T>* by_v = lanes_at(rows_.row(2));
    const Index lanes = lanes_of<T>(head_.d);
    for (Index l = 0; l < lanes; ++l) by_v[l] = Lanes<T>{};
    Lanes<T> by_a = {};
    for (Index n = 0; n < head_.n; ++n) {
      const Lanes<T>* before = lanes_at(states_[at].row(n));
      const Lanes<T>* state = lanes_at(states_[at + 1].row(n));
      Lanes<T>* adjoint = lanes_at(adjoint_[0].row(n));
      Lanes<T> by_q = {}, by_k = {};
      for (Index l = 0; l < lanes; ++l) {
        const Lanes<T> own = adjoint[l] + q[n] * g[l];
        by_q += state[l] * g[l];
        by_k += own * v[l];
        by_v[l] += k[n] * own;
        by_a += before[l] * own;
        adjoint[l] = a * own;
      }
      to_.q[t * head_.n + n] = sum_of<T>(by_q);
      to_.k[t * head_.n + n] = sum_of<T>(by_k);
    }
    std::copy_n(rows_.row(2), head_.d, to_.v + t * head_.d);
    to_.decay[t] = sum_of<T>(by_a);
  }

  const Head<T>& head_;
  const T* g_;
  OuterGradient<T> to_;
  Index steps_, stretch_;
  States<T> starts_, states_, adjoint_;
  Scratch<T> rows_;
};

/// Where the gradients of one head go.
template <class T>
OuterGradient<T> of_head(const OuterGradient<T>& all, const OuterInputs<T>& in, Index h) {
  const Index length = in.length(), n = in.keys(), d = in.values();
  return {all.q + h * length * n, all.k + h * length * n, all.v + h * length * d,
          all.decay + h * length, all.start + h * n * d};
}

}  // namespace

template <class T>
void outer_recurrent(const OuterInputs<T>& in, T* state, T* out) {
  constexpr int kColumns = detail::kColumns;
  const Index length = in.length(), n = in.keys(), d = in.values();
  const Index blocks = pieces(d, kColumns * kLanes<T>);
  const double work = work_of<T>(in.heads() * length, 5 * n * d);
  parallel_for(in.heads() * blocks, work, [&](Index task, Checkpoint& checkpoint) {
    const Index h = task / blocks, column = task % blocks * kColumns * kLanes<T>;
    recur<kColumns>(Head<T>(in, h), length, column, state + h * n * d, out + h * length * d,
                    checkpoint);
  });
}

template <class T>
void outer_chunked(const OuterInputs<T>& in, Index chunk, T* state, T* out) {
  const Index n = in.keys(), d = in.values();
  const Chunks<T> chunks(in, chunk);
  const Index together = std::min(in.heads(), kTasks);
  if (together == 0) return;
  const Index ahead = std::min(pieces(kTasks, together), chunks.count());
  States<T> running(together, n, d), before(together * ahead, n, d);
  Checkpoint between_waves;  // which may be too short for a look of their own
  for (Index h = 0; h < in.heads(); h += together) {
    const Index heads = std::min(together, in.heads() - h);
    load(state + h * n * d, heads, n, d, running);
    for (Index c = 0; c < chunks.count(); c += ahead) {
      between_waves();
      const Wave wave{h, heads, c, std::min(ahead, chunks.count() - c)};
      chunks.forwards(wave, running, before);
      outputs(in, chunks, wave, before, out);
    }
    store(running, heads, n, d, state + h * n * d);
  }
}

template <class T>
void outer_recurrent_adjoint(const OuterInputs<T>& in, const T* start, const T* g,
                             const OuterGradient<T>& gradient) {
  const Index length = in.length(), n = in.keys(), d = in.values();
  const double work = work_of<T>(in.heads() * length, 17 * n * d);
  parallel_for(in.heads(), work, [&](Index h, Checkpoint& checkpoint) {
    const Head<T> head(in, h);
    StepAdjoint<T> adjoint(head, g + h * length * d, of_head(gradient, in, h), length);
    adjoint.run(start + h * n * d, checkpoint);
  });
}

template <class T>
void outer_chunked_adjoint(const OuterInputs<T>& in, Index chunk, const T* start, const T* g,
                           const OuterGradient<T>& gradient) {
  const Index length = in.length(), n = in.keys(), d = in.values();
  const Chunks<T> chunks(in, chunk);
  const Index together = std::min(in.heads(), pieces(kTasks, std::max<Index>(chunks.count(), 1)));
  if (together == 0) return;
  States<T> running(together, n, d);
  States<T> before(together * chunks.count(), n, d), after(together * chunks.count(), n, d);
  const Index per_step = 6 * n * d + std::min(chunk, length) * (3 * n + 2 * d);
  Checkpoint between_waves;  // as above
  for (Index h = 0; h < in.heads(); h += together) {
    between_waves();
    const Wave wave{h, std::min(together, in.heads() - h), 0, chunks.count()};
    load(start + h * n * d, wave.heads, n, d, running);
    const std::vector<T> decays = chunks.forwards(wave, running, before);
    for (Index i = 0; i < wave.heads; ++i) std::fill_n(running[i].data, running.size(), T(0));
    chunks.backwards(wave, decays, g, running, after);
    chunks.for_each(
        wave, per_step, [&](const Head<T>& head, Index c, Index place, Checkpoint& checkpoint) {
          const Index own = h + place / wave.count;
          ChunkAdjoint<T> adjoint(head, g + own * length * d, of_head(gradient, in, own),
                                  chunks.begin(c), chunks.end(c));
          adjoint.run(read_only(before[place]), read_only(after[place]), checkpoint);
        });
    store(running, wave.heads, n, d, gradient.start + h * n * d);
  }
}

#define RESOLVENT_INSTANTIATE(T)                                                           \
  template void outer_recurrent<T>(const OuterInputs<T>&, T*, T*);                         \
  template void outer_chunked<T>(const OuterInputs<T>&, Index, T*, T*);                    \
  template void outer_recurrent_adjoint<T>(const OuterInputs<T>&, const T*, const T*,      \
                                           const OuterGradient<T>&);                       \
  template void outer_chunked_adjoint<T>(const OuterInputs<T>&, Index, const T*, const T*, \
                                         const OuterGradient<T>&);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::attention
