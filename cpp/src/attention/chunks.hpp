#pragma once

#include <algorithm>

#include "resolvent/attention/diagonal.hpp"
#include "resolvent/core/threads.hpp"
#include "tile.hpp"

/// Recurrences in chunks. A recurrence is a class with
///   T, kBackwards (it runs from the last step to the first),
///   chains(): how many run independently of each other; size(): numbers of the state of one,
///   work(): operations of all chains over all steps, for parallel_for,
///   start(chain, state): the state before the first step; clear(state): the zero state,
///   advance(chain, first, end, state): over the steps first … end − 1,
///   join(chain, first, end, before, after): `after` is where these steps lead from the zero state;
///   makes it where they lead from `before`.
namespace resolvent::attention {

/// `length` steps in pieces of `size`, the last one shorter.
struct Chunks {
  Index length;
  Index size;

  Index count() const { return (length + size - 1) / size; }
  Index first(Index j) const { return j * size; }
  Index end(Index j) const { return std::min(length, (j + 1) * size); }
};

/// As many tasks keep the threads busy: with fewer chains, chunks are worth twice the operations.
inline constexpr Index kEnoughTasks = 4;

inline bool side_by_side(Order order, Index chains) {
  return order == Order::split && chains < kEnoughTasks;
}

/// The states of all chains at all borders between chunks; both ends are borders.
template <class Recurrence>
class Borders {
 public:
  using T = typename Recurrence::T;

  Borders(const Recurrence& recurrence, Chunks chunks, Order order)
      : recurrence_(recurrence),
        chunks_(chunks),
        states_(recurrence.chains() * (chunks.count() + 1), recurrence.size()) {
    if (side_by_side(order, recurrence.chains())) {
      split();
    } else {
      sequential();
    }
  }

  /// The state at step chunks.first(j), between chunk j − 1 and chunk j.
  T* at(Index chain, Index j) { return states_.row(chain * (chunks_.count() + 1) + j).data(); }
  const T* at(Index chain, Index j) const {
    return states_.row(chain * (chunks_.count() + 1) + j).data();
  }

 private:
  static constexpr bool kBackwards = Recurrence::kBackwards;

  Index chunk(Index i) const { return kBackwards ? chunks_.count() - 1 - i : i; }
  T* before(Index chain, Index j) { return at(chain, kBackwards ? j + 1 : j); }
  T* after(Index chain, Index j) { return at(chain, kBackwards ? j : j + 1); }
  void start(Index chain) { recurrence_.start(chain, at(chain, kBackwards ? chunks_.count() : 0)); }

  void sequential() {
    parallel_for(recurrence_.chains(), recurrence_.work(),
                 [&](Index chain, Checkpoint& checkpoint) {
                   start(chain);
                   for (Index i = 0; i < chunks_.count(); ++i) {
                     checkpoint();
                     const Index j = chunk(i);
                     std::copy_n(before(chain, j), recurrence_.size(), after(chain, j));
                     recurrence_.advance(chain, chunks_.first(j), chunks_.end(j), after(chain, j));
                   }
                 });
  }

  void split() {
    const Index count = chunks_.count(), chains = recurrence_.chains();
    parallel_for(chains * count, recurrence_.work(), [&](Index task, Checkpoint& checkpoint) {
      checkpoint();
      const Index chain = task / count, j = task % count;
      recurrence_.clear(after(chain, j));
      recurrence_.advance(chain, chunks_.first(j), chunks_.end(j), after(chain, j));
    });
    parallel_for(chains, recurrence_.work() / static_cast<double>(chunks_.size),
                 [&](Index chain, Checkpoint& checkpoint) {
                   start(chain);
                   for (Index i = 0; i < count; ++i) {
                     checkpoint();
                     const Index j = chunk(i);
                     recurrence_.join(chain, chunks_.first(j), chunks_.end(j), before(chain, j),
                                      after(chain, j));
                   }
                 });
  }

  const Recurrence& recurrence_;
  Chunks chunks_;
  Matrix<T> states_;
};

/// Runs a forward recurrence that also has run(chain, first, end, state, checkpoint), `advance`
/// with outputs, and finish(chain, state), which takes the state after the last step.
template <class Recurrence>
void run_in_chunks(const Recurrence& recurrence, Chunks chunks, Order order) {
  using T = typename Recurrence::T;
  const Index chains = recurrence.chains(), count = chunks.count(), size = recurrence.size();
  if (!side_by_side(order, chains)) {
    parallel_for(chains, recurrence.work(), [&](Index chain, Checkpoint& checkpoint) {
      Vector<T> state(size);
      recurrence.start(chain, state.data());
      recurrence.run(chain, 0, chunks.length, state.data(), checkpoint);
      recurrence.finish(chain, state.data());
    });
    return;
  }
  const Borders<Recurrence> borders(recurrence, chunks, order);
  parallel_for(chains * count, recurrence.work(), [&](Index task, Checkpoint& checkpoint) {
    const Index chain = task / count, j = task % count;
    Vector<T> state = ConstVectorView<T>(borders.at(chain, j), size);
    recurrence.run(chain, chunks.first(j), chunks.end(j), state.data(), checkpoint);
  });
  for (Index chain = 0; chain < chains; ++chain) recurrence.finish(chain, borders.at(chain, count));
}

/// Chunks in runs of neighbours, one task each: gradients of parameters are summed over a run
/// first, then over the runs.
class Runs {
 public:
  explicit Runs(Chunks chunks) : chunks_(chunks.count()), count_(std::min(kRuns, chunks_)) {}

  Index count() const { return count_; }
  Index first_chunk(Index run) const { return run * chunks_ / count_; }
  Index end_chunk(Index run) const { return (run + 1) * chunks_ / count_; }

 private:
  static constexpr Index kRuns = 16;
  Index chunks_, count_;
};

/// The sum of all rows, from the first on.
template <class T>
Vector<T> sum_of_rows(const Matrix<T>& rows) {
  Vector<T> sum = Vector<T>::Zero(rows.cols());
  for (Index i = 0; i < rows.rows(); ++i) sum += rows.row(i);
  return sum;
}

/// One number for each lane.
template <class T>
struct LaneRow {
  alignas(64) T at[kLanes<T>];

  operator T*() { return at; }
  operator const T*() const { return at; }
};

/// Sequences (G, L, c) with their channels in blocks of kLanes, one a lane; lanes of the last block
/// that have no channel hold 0. A chain is one block of one row.
template <class T>
class ChannelBlocks {
 public:
  /// Steps that are fetched at a time: a block takes one cache line of every step, so that loads
  /// one by one would wait for memory.
  static constexpr Index kTile = 64;
  using Tile = LaneRow<T>[kTile];

  ChannelBlocks(Index rows, Index length, Index channels)
      : rows_(rows), length_(length), channels_(channels) {}

  Index count() const { return (channels_ + kLanes<T> - 1) / kLanes<T>; }
  Index chains() const { return rows_ * count(); }
  Index row(Index chain) const { return chain / count(); }
  Index block(Index chain) const { return chain % count(); }
  Index first(Index block) const { return block * kLanes<T>; }
  Index used(Index block) const { return std::min(kLanes<T>, channels_ - first(block)); }

  /// The lanes of a block from all channels (c), and back.
  void load(const T* channels, Index block, T* lanes) const {
    const T* from = channels + first(block);
    if (used(block) == kLanes<T>) {
      std::copy_n(from, kLanes<T>, lanes);
    } else {
      std::fill(std::copy_n(from, used(block), lanes), lanes + kLanes<T>, T(0));
    }
  }
  void store(const T* lanes, Index block, T* channels) const {
    std::copy_n(lanes, used(block), channels + first(block));
  }

  /// Steps first … end − 1 of a chain, one row of lanes each, and back.
  void load(const T* sequence, Index chain, Index first, Index end, LaneRow<T>* tile) const {
    for (Index t = first; t < end; ++t) load(at(sequence, chain, t), block(chain), tile[t - first]);
  }
  void store(const LaneRow<T>* tile, Index chain, Index first, Index end, T* sequence) const {
    for (Index t = first; t < end; ++t)
      store(tile[t - first], block(chain), at(sequence, chain, t));
  }

 private:
  template <class Pointer>
  Pointer at(Pointer sequence, Index chain, Index t) const {
    return sequence + (row(chain) * length_ + t) * channels_;
  }

  Index rows_, length_, channels_;
};

/// body(first, end) for tiles of at most kTile steps, in either direction.
template <Index kTile, class Body>
void for_tiles(Index first, Index end, const Body& body) {
  for (Index t = first; t < end; t += kTile) body(t, std::min(end, t + kTile));
}

template <Index kTile, class Body>
void for_tiles_backwards(Index first, Index end, const Body& body) {
  for (Index t = end; t > first; t -= kTile) body(std::max(first, t - kTile), t);
}

}  // namespace resolvent::attention
