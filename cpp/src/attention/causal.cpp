#include "resolvent/attention/causal.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>

#include "resolvent/core/threads.hpp"
#include "resolvent/math/attention.hpp"
#include "tile.hpp"

namespace resolvent::attention {
namespace {

constexpr Index kQueries = 96;  // a multiple of the rows that the products take at a time
constexpr Index kKeys = 64;

constexpr Index tiles(Index length, Index tile) { return (length + tile - 1) / tile; }

template <class T>
constexpr T kNothing = -std::numeric_limits<T>::infinity();

/// A logit, or a sum of weights, that is known no more.
template <class T>
constexpr T kLost = std::numeric_limits<T>::quiet_NaN();

/// The first query, in the order of memory, that something is wrong with.
class First {
 public:
  void note(Index place) {
    Index seen = place_.load(std::memory_order_relaxed);
    while (place < seen && !place_.compare_exchange_weak(seen, place)) {
    }
  }

  bool any() const { return place_.load() != kNone; }
  Index place() const { return place_.load(); }

 private:
  static constexpr Index kNone = std::numeric_limits<Index>::max();
  std::atomic<Index> place_{kNone};
};

/// Queries whose sums are no numbers, or nothing.
class Census {
 public:
  Census(Index length, Empty empty) : length_(length), empty_(empty) {}

  /// o = a/z, or 0 for a query that no key is left for; a and o may be the same.
  template <class T>
  void divide(const T* numerator, T denominator, Index width, Index place, T* out) {
    if (denominator == T(0)) {
      if (empty_ == Empty::error) empties_.note(place);
      std::fill_n(out, width, T(0));
      return;
    }
    const T inverse = T(1) / denominator;
    bool finite = true;
    for (Index c = 0; c < width; ++c) {
      out[c] = inverse * numerator[c];
      finite &= std::isfinite(out[c]);
    }
    if (finite) return;
    (denominator > T(0) ? values_ : logits_).note(place);
  }

  void check(const std::vector<Index>& batch) const {
    require(!logits_.any(), "scale*q*k overflows at query [", name(logits_.place(), batch),
            "]; scale q or k down");
    require(!values_.any(), "the sum of v overflows at query [", name(values_.place(), batch),
            "]; scale v down");
    require(!empties_.any(), "no weight is left for query [", name(empties_.place(), batch),
            "] (empty='zero' gives 0 there)");
  }

 private:
  /// "1, 0, 17": the place in the leading axes, and the query.
  std::string name(Index place, const std::vector<Index>& batch) const {
    std::string text = std::to_string(place % length_);
    Index sequence = place / length_;
    for (auto size = batch.rbegin(); size != batch.rend(); ++size) {
      text = std::to_string(sequence % *size) + ", " + text;
      sequence /= *size;
    }
    return text;
  }

  Index length_;
  Empty empty_;
  First logits_, values_, empties_;
};

// ---- tiles --------------------------------------------------------------------------------------

/// All keys, transposed, and all values in tiles of kKeys, padded with zeros to whole lanes.
template <class T>
class Packed {
 public:
  Packed(const Sequences<T>& key, const Sequences<T>& value)
      : depth_(key.width),
        columns_(padded<T>(value.width)),
        tiles_(tiles(key.length, kKeys)),
        keys_(key.count * tiles_, depth_ * kKeys),
        values_(value.count * tiles_, kKeys * columns_) {
    pack(key, keys_, [&](const T* from, Index rows, T* to) {
      for (Index c = 0; c < depth_; ++c) {
        for (Index j = 0; j < kKeys; ++j) to[c * kKeys + j] = j < rows ? from[j * depth_ + c] : 0;
      }
    });
    pack(value, values_, [&](const T* from, Index rows, T* to) {
      std::fill_n(to, kKeys * columns_, T(0));
      for (Index j = 0; j < rows; ++j) {
        std::copy_n(from + j * value.width, value.width, to + j * columns_);
      }
    });
  }

  /// depth × kKeys.
  Block<const T> keys(Index sequence, Index tile) const {
    return {keys_.row(sequence * tiles_ + tile).data(), kKeys};
  }

  /// kKeys × columns.
  Block<const T> values(Index sequence, Index tile) const {
    return {values_.row(sequence * tiles_ + tile).data(), columns_};
  }

  Index columns() const { return columns_; }

 private:
  template <class Copy>
  void pack(const Sequences<T>& from, Matrix<T>& to, const Copy& copy) {
    const auto work = static_cast<double>(to.size());
    parallel_for(to.rows(), work, [&](Index task, Checkpoint& checkpoint) {
      checkpoint();
      const Index first = task % tiles_ * kKeys;
      copy(from.at(task / tiles_) + first * from.width, std::min(kKeys, from.length - first),
           to.row(task).data());
    });
  }

  Index depth_, columns_, tiles_;
  Matrix<T> keys_, values_;
};

/// A tile of queries on its way over the keys.
template <class T>
class QueryTile {
 public:
  QueryTile(const T* query, Index rows, Index depth, Index columns, T scale)
      : rows_(rows),
        depth_(depth),
        columns_(columns),
        query_(rows, depth),
        weight_(rows, kKeys),
        numerator_(rows, columns),
        largest_(Vector<T>::Constant(rows, kNothing<T>)),
        denominator_(Vector<T>::Zero(rows)) {
    query_ = scale * ConstRows<T>(query, rows, depth);
    numerator_.setZero();
  }

  /// Goes over a tile of keys. `allowed(r)` of them, the first ones, may be seen by row r; `mask`
  /// says which of kKeys are there at all, null: all.
  template <class Allowed>
  void visit(Block<const T> keys, Block<const T> values, const Allowed& allowed, const bool* mask) {
    const Block<T> weight{weight_.data(), kKeys};
    multiply<false, T>({query_.data(), depth_}, keys, rows_, depth_, kKeys, weight);
    for (Index r = 0; r < rows_; ++r) {
      const Index seen = std::clamp<Index>(allowed(r), 0, kKeys);
      update(r, weight.row(r), hide(weight.row(r), seen, mask));
    }
    multiply<true, T>({weight.data, kKeys}, values, rows_, kKeys, columns_,
                      {numerator_.data(), columns_});
  }

  T denominator(Index r) const { return denominator_(r); }
  const T* numerator(Index r) const { return numerator_.row(r).data(); }

 private:
  /// Takes away what a row may not see. Returns whether one that it sees has overflown to −∞, which
  /// would look as if it had been taken away.
  static bool hide(T* logit, Index seen, const bool* mask) {
    bool lost = false;
    for (Index j = 0; j < seen; ++j) lost |= logit[j] == kNothing<T> && (!mask || mask[j]);
    for (Index j = 0; mask != nullptr && j < seen; ++j) {
      if (!mask[j]) logit[j] = kNothing<T>;
    }
    std::fill(logit + seen, logit + kKeys, kNothing<T>);
    return lost;
  }

  /// Logits of a row into weights relative to the largest one so far.
  void update(Index r, T* weight, bool lost) {
    Lanes<T>* lanes = lanes_at(weight);
    Lanes<T> top = lanes[0];
    for (Index c = 1; c < kKeys / kLanes<T>; ++c) top = top < lanes[c] ? lanes[c] : top;
    T logit = top[0];
    for (Index l = 1; l < kLanes<T>; ++l) logit = std::max(logit, top[l]);
    const auto step = math::key_step(largest_(r), logit, std::numeric_limits<T>::lowest());
    const T centre = std::max(step.largest, std::numeric_limits<T>::lowest());
#pragma omp simd
    for (Index j = 0; j < kKeys; ++j) weight[j] = math::exp_nonpositive(weight[j] - centre);
    Lanes<T> sum = lanes[0];
    for (Index c = 1; c < kKeys / kLanes<T>; ++c) sum += lanes[c];
    largest_(r) = step.largest;
    denominator_(r) = lost ? kLost<T> : step.keep * denominator_(r) + sum_of<T>(sum);
    if (step.keep != T(1)) numerator_.row(r) *= step.keep;
  }

  Index rows_, depth_, columns_;
  Matrix<T> query_, weight_, numerator_;
  Vector<T> largest_, denominator_;
};

/// Operations of the vector units, for `parallel_for`.
template <class T>
double work_of(Index results, Index length, Index widths) {
  const auto n = static_cast<double>(length);
  return static_cast<double>(results) * n * n * static_cast<double>(widths) / kLanes<T>;
}

}  // namespace

template <class T>
void streaming(const Sequences<T>& query, const Sequences<T>& key, const Sequences<T>& value,
               const Indices& indices, const CausalOptions& options, T* out) {
  const Index length = query.length, results = static_cast<Index>(indices.query.size());
  if (length == 0 || results == 0) return;
  const Packed<T> packed(key, value);
  const Index blocks = tiles(length, kQueries);
  Census census(length, options.empty);
  const auto work = work_of<T>(results, length, query.width + value.width);
  parallel_for(blocks * results, work, [&](Index task, Checkpoint& checkpoint) {
    // The last queries have the most keys: they come first, so that no thread ends with them.
    const Index first = (blocks - 1 - task / results) * kQueries, result = task % results;
    const auto of = [&](std::span<const std::int64_t> index) {
      return static_cast<Index>(index[static_cast<std::size_t>(result)]);
    };
    const Index rows = std::min(kQueries, length - first);
    QueryTile<T> tile(query.at(of(indices.query)) + first * query.width, rows, query.width,
                      packed.columns(), static_cast<T>(options.scale));
    const bool* mask = options.mask == nullptr ? nullptr : options.mask + of(indices.mask) * length;
    std::array<bool, kKeys> kept{};
    for (Index j = 0; j < first + rows; j += kKeys) {
      checkpoint();
      if (mask != nullptr) {
        std::copy_n(mask + j, std::min(kKeys, length - j), kept.begin());
      }
      tile.visit(
          packed.keys(of(indices.key), j / kKeys), packed.values(of(indices.value), j / kKeys),
          [&](Index r) { return first + r + 1 - j; }, mask == nullptr ? mask : kept.data());
    }
    for (Index r = 0; r < rows; ++r) {
      const Index place = result * length + first + r;
      census.divide(tile.numerator(r), tile.denominator(r), value.width, place,
                    out + place * value.width);
    }
  });
  census.check(options.batch);
}

template <class T>
void recompute(const Sequences<T>& query, const Sequences<T>& key, const Sequences<T>& value,
               const Indices& indices, const CausalOptions& options, T* out) {
  const Index length = query.length, results = static_cast<Index>(indices.query.size());
  Census census(length, options.empty);
  const auto scale = static_cast<T>(options.scale);
  const auto work = work_of<T>(results, length, query.width + value.width) * kLanes<T>;
  parallel_for(results * length, work, [&](Index task, Checkpoint& checkpoint) {
    checkpoint();
    const Index t = task % length;
    const auto at = static_cast<std::size_t>(task / length);
    const T* q = query.at(indices.query[at]) + t * query.width;
    const T* k = key.at(indices.key[at]);
    const T* v = value.at(indices.value[at]);
    const bool* mask = options.mask == nullptr ? nullptr : options.mask + indices.mask[at] * length;
    T* numerator = out + task * value.width;
    std::fill_n(numerator, value.width, T(0));
    T largest = kNothing<T>, denominator = 0;
    for (Index i = 0; i <= t; ++i, k += query.width, v += value.width) {
      if (mask != nullptr && !mask[i]) continue;
      T logit = 0;
      for (Index c = 0; c < query.width; ++c) logit += (scale * q[c]) * k[c];
      if (logit == kNothing<T>) logit = kLost<T>;  // overflown, not masked
      const auto step = math::key_step(largest, logit, std::numeric_limits<T>::lowest());
      largest = step.largest;
      denominator = step.keep * denominator + step.add;
      for (Index c = 0; c < value.width; ++c) {
        numerator[c] = step.keep * numerator[c] + step.add * v[c];
      }
    }
    census.divide(numerator, denominator, value.width, task, numerator);
  });
  census.check(options.batch);
}

#define RESOLVENT_INSTANTIATE(T)                                                            \
  template void streaming<T>(const Sequences<T>&, const Sequences<T>&, const Sequences<T>&, \
                             const Indices&, const CausalOptions&, T*);                     \
  template void recompute<T>(const Sequences<T>&, const Sequences<T>&, const Sequences<T>&, \
                             const Indices&, const CausalOptions&, T*);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::attention
