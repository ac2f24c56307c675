#pragma once

#include <algorithm>

#include "lanes.hpp"

/// The few entries of a row that matter.
namespace resolvent::probmap {

/// Whether any of kLanes entries passes.
template <class T, class Test>
bool any_of_lanes(const T* x, Test test) {
  int found = 0;
#pragma omp simd reduction(| : found)
  for (Index l = 0; l < kLanes<T>; ++l) found |= test(x[l]) ? 1 : 0;
  return found != 0;
}

/// Stores value(x) of every entry that passes, in order; returns how many. `kept` has room for n.
template <class T, class Test, class Value>
Index keep(const T* x, Index n, Test test, Value value, T* kept) {
  Index count = 0;
  for (Index i = 0; i < n; i += kLanes<T>) {
    const Index end = std::min(n, i + kLanes<T>);
    if (end - i == kLanes<T> && !any_of_lanes(x + i, test)) continue;
    for (Index j = i; j < end; ++j) {
      kept[count] = value(x[j]);
      count += test(x[j]) ? 1 : 0;
    }
  }
  return count;
}

/// Whether any of kLanes entries has a distance c(max − x) below the limit.
template <class T>
bool any_near(const T* x, T max, T c, T limit) {
  return any_of_lanes(x, [=](T entry) { return (max - entry) * c < limit; });
}

/// Keeps −distance of the entries with a distance below the limit.
template <class T>
Index gather(const T* x, Index n, T max, T c, T limit, T* kept) {
  const auto near = [=](T entry) { return (max - entry) * c < limit; };
  return keep(x, n, near, [=](T entry) { return -((max - entry) * c); }, kept);
}

/// Keeps the entries from `bound` on.
template <class T>
Index collect(const T* x, Index n, T bound, T* kept) {
  const auto from_bound = [=](T entry) { return entry >= bound; };
  return keep(x, n, from_bound, [](T entry) { return entry; }, kept);
}

}  // namespace resolvent::probmap
