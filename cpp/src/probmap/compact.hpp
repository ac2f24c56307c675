#pragma once

#include <algorithm>

#include "lanes.hpp"

/// The few entries of a row that can be positive.
namespace resolvent::probmap {

/// Whether any of kLanes entries has a distance c(max − x) below the limit.
template <class T>
bool any_near(const T* x, T max, T c, T limit) {
  int near = 0;
#pragma omp simd reduction(| : near)
  for (Index l = 0; l < kLanes<T>; ++l) near |= (max - x[l]) * c < limit ? 1 : 0;
  return near != 0;
}

template <class T>
bool any_from(const T* x, T bound) {
  int found = 0;
#pragma omp simd reduction(| : found)
  for (Index l = 0; l < kLanes<T>; ++l) found |= x[l] >= bound ? 1 : 0;
  return found != 0;
}

/// Stores −distance of every entry with a distance below the limit, in order; returns how many.
/// `kept` has room for n.
template <class T>
Index gather(const T* x, Index n, T max, T c, T limit, T* kept) {
  Index count = 0;
  for (Index i = 0; i < n; i += kLanes<T>) {
    const Index end = std::min(n, i + kLanes<T>);
    if (end - i == kLanes<T> && !any_near(x + i, max, c, limit)) continue;
    for (Index j = i; j < end; ++j) {
      const T distance = (max - x[j]) * c;
      kept[count] = -distance;
      count += distance < limit ? 1 : 0;
    }
  }
  return count;
}

/// Stores every entry from `bound` on, in order; returns how many.
template <class T>
Index collect(const T* x, Index n, T bound, T* kept) {
  Index count = 0;
  for (Index i = 0; i < n; i += kLanes<T>) {
    const Index end = std::min(n, i + kLanes<T>);
    if (end - i == kLanes<T> && !any_from(x + i, bound)) continue;
    for (Index j = i; j < end; ++j) {
      kept[count] = x[j];
      count += x[j] >= bound ? 1 : 0;
    }
  }
  return count;
}

}  // namespace resolvent::probmap
