#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/probmap/maps.hpp"

/// How rows are laid over vector lanes. A long row is cut into blocks of kLanes entries, and its
/// sums are added up over the lanes in the end; of short rows, kLanes are handled side by side, one
/// in each lane. Both are arrays [depth][kLanes], and the same loops run over them.
namespace resolvent::probmap {

/// Lanes side by side: four vectors of 512 bits, so that additions do not wait for each other.
template <class T>
constexpr Index kLanes = 256 / sizeof(T);

/// Rows of up to this many entries are short.
constexpr Index kShort = 32;

/// Blocks whose sums are added in T before they go on in double precision.
constexpr Index kDepth = 64;

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <class T>
constexpr T kEpsilon = std::numeric_limits<T>::epsilon();

/// A parameter that all lanes share, or one for each.
template <class T>
struct Same {
  T value;
  T operator[](Index) const { return value; }
};

template <class T>
struct PerLane {
  const T* values;
  T operator[](Index l) const { return values[l]; }
};

/// Calls f(block, depth) along a long row. Missing entries of the last block are −∞.
template <class T, class F>
void sweep(const T* x, Index n, F&& f) {
  constexpr Index lanes = kLanes<T>;
  const Index full = n / lanes * lanes;
  for (Index i = 0; i < full; i += kDepth * lanes) {
    f(x + i, std::min(kDepth, (full - i) / lanes));
  }
  if (full == n) return;
  T last[lanes];
  std::fill_n(last, lanes, -kInfinity<T>);
  std::copy(x + full, x + n, last);
  f(static_cast<const T*>(last), Index(1));
}

/// Calls f(block, depth, out) along a long row; `out` is where the results of the block go.
template <class T, class F>
void sweep_into(const T* x, Index n, T* out, F&& f) {
  constexpr Index lanes = kLanes<T>;
  const Index full = n / lanes * lanes;
  for (Index i = 0; i < full; i += kDepth * lanes) {
    f(x + i, std::min(kDepth, (full - i) / lanes), out + i);
  }
  if (full == n) return;
  T last[lanes];
  T result[lanes];
  std::fill_n(last, lanes, -kInfinity<T>);
  std::copy(x + full, x + n, last);
  f(static_cast<const T*>(last), Index(1), static_cast<T*>(result));
  std::copy_n(result, n - full, out + full);
}

/// The sum over the lanes, in double precision, by halves.
template <class T>
double fold(const T* values) {
  double sum[kLanes<T>];
  std::copy_n(values, kLanes<T>, sum);
  for (Index width = kLanes<T> / 2; width > 0; width /= 2) {
#pragma omp simd
    for (Index l = 0; l < width; ++l) sum[l] += sum[l + width];
  }
  return sum[0];
}

/// The largest entries of the lanes, and whether there was a NaN.
template <class T>
struct Maxima {
  T value[kLanes<T>];
  T nan[kLanes<T>];

  Maxima() {
    std::fill_n(value, kLanes<T>, -kInfinity<T>);
    std::fill_n(nan, kLanes<T>, T(0));
  }

  void update(const T* x, Index depth) {
    for (Index k = 0; k < depth; ++k, x += kLanes<T>) {
#pragma omp simd
      for (Index l = 0; l < kLanes<T>; ++l) {
        value[l] = x[l] > value[l] ? x[l] : value[l];
        nan[l] = x[l] == x[l] ? nan[l] : x[l];
      }
    }
  }

  T overall() const { return *std::max_element(value, value + kLanes<T>); }
  bool is_clean(Index l) const { return nan[l] == T(0) && value[l] < kInfinity<T>; }
  bool is_clean() const {
    for (Index l = 0; l < kLanes<T>; ++l) {
      if (!is_clean(l)) return false;
    }
    return true;
  }
};

template <class T>
Maxima<T> maxima(const T* x, Index n) {
  Maxima<T> found;
  sweep(x, n, [&](const T* block, Index depth) { found.update(block, depth); });
  return found;
}

/// kLanes short rows, transposed. Where there are fewer, the last one is repeated.
template <class T>
class Group {
 public:
  Group(ConstRows<T> x, Index first) : first_(first), n_(x.cols()) {
    count_ = std::min(kLanes<T>, x.rows() - first);
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T* row = x.row(first + std::min(l, count_ - 1)).data();
      for (Index j = 0; j < n_; ++j) data_[j * kLanes<T> + l] = row[j];
    }
  }

  T* data() { return data_; }
  Index depth() const { return n_; }
  Index count() const { return count_; }
  Index row(Index l) const { return first_ + std::min(l, count_ - 1); }

  void store(Rows<T> out) const {
    for (Index l = 0; l < count_; ++l) {
      T* row = out.row(first_ + l).data();
      for (Index j = 0; j < n_; ++j) row[j] = data_[j * kLanes<T> + l];
    }
  }

 private:
  Index first_;
  Index n_;
  Index count_;
  T data_[kShort * kLanes<T>];
};

/// Collects rows that hold +∞ or NaN while others go on, so that the first of them is named.
template <class T>
class Census {
 public:
  explicit Census(ConstRows<T> x) : x_(x) {}

  void refuse() { refused_.store(true, std::memory_order_relaxed); }

  /// Throws with the first place in the order of memory, if there was any.
  void check() const {
    if (!refused_.load()) return;
    for (Index h = 0; h < x_.rows(); ++h) {
      for (Index j = 0; j < x_.cols(); ++j) {
        require(x_(h, j) < kInfinity<T>, "x must be finite or -inf, got x[", h, ", ", j,
                "] = ", x_(h, j));
      }
    }
  }

 private:
  ConstRows<T> x_;
  std::atomic<bool> refused_{false};
};

/// Fills a row without entries, or throws.
template <class T>
void fill_empty(Rows<T>& p, Index row, Empty empty) {
  require(empty == Empty::uniform, "x has no entry left in row ", row,
          ": all are masked (empty='uniform' gives 1/n there)");
  p.row(row).setConstant(T(1) / static_cast<T>(p.cols()));
}

/// Operations that one entry costs, all passes together: decides when threads pay.
constexpr double kWorkPerEntry = 40.0;

/// Calls body(row) for every row, many to a task.
template <class Body>
void for_rows(Index rows, Index n, Body&& body) {
  constexpr Index kEntriesPerTask = 1 << 15;
  if (rows == 0) return;
  const Index together = std::clamp<Index>(kEntriesPerTask / std::max<Index>(n, 1), 1, rows);
  const Index tasks = (rows + together - 1) / together;
  const double work = kWorkPerEntry * static_cast<double>(rows) * static_cast<double>(n);
  parallel_for(tasks, work, [&](Index task, Checkpoint& checkpoint) {
    checkpoint();
    const Index end = std::min(rows, (task + 1) * together);
    for (Index row = task * together; row < end; ++row) body(row);
  });
}

/// Calls body(first row) for groups of kLanes short rows.
template <class T, class Body>
void for_groups(Index rows, Index n, Body&& body) {
  const Index groups = (rows + kLanes<T> - 1) / kLanes<T>;
  for_rows(groups, n * kLanes<T>, [&](Index group) { body(group * kLanes<T>); });
}

/// Throws unless every τ is positive and finite.
inline void require_temperature(Parameter temperature) {
  for (const double tau : temperature.values()) {
    require(tau > 0.0 && std::isfinite(tau), "temperature must be positive and finite, got ", tau);
  }
}

inline void require_at_least(Parameter parameter, const char* name, double least) {
  for (const double value : parameter.values()) {
    require(value >= least, name, " must be at least ", least, ", got ", value);
  }
}

/// A positive factor in T. Beyond T's range it is the number next to it, so that 0·∞ cannot occur;
/// factors below the normal numbers have fewer digits.
template <class T>
T factor(double value) {
  return static_cast<T>(std::clamp(value, static_cast<double>(std::numeric_limits<T>::denorm_min()),
                                   static_cast<double>(std::numeric_limits<T>::max())));
}

template <class T>
T inverse(double temperature) {
  return factor<T>(1.0 / temperature);
}

/// A sum whose rounding errors are added up too (Neumaier 1974).
class CarefulSum {
 public:
  void add(double x) {
    const double next = sum_ + x;
    error_ += std::abs(sum_) >= std::abs(x) ? (sum_ - next) + x : (x - next) + sum_;
    sum_ = next;
  }
  double value() const { return sum_ + error_; }

 private:
  double sum_ = 0.0;
  double error_ = 0.0;
};

}  // namespace resolvent::probmap
