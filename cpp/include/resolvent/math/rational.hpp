#pragma once

#include <complex>
#include <cstddef>

#include "resolvent/math/config.hpp"

/// Polynomials 1 + a_1 z + … + a_m z^m with the leading 1 left out: a_i is entry i − 1.
namespace resolvent::math {

template <class T>
RESOLVENT_HD inline T conjugate(T x) {
  return x;
}

template <class T>
inline std::complex<T> conjugate(std::complex<T> x) {
  return std::conj(x);
}

/// In place, from degree m − 1 to m: a_i ← a_i + k·ā_{m−i} (i < m), a_m = k. Entries i and m − i
/// are changed together.
template <class T>
RESOLVENT_HD inline void raise_degree(T* a, std::ptrdiff_t m, T k) {
  for (std::ptrdiff_t i = 1, j = m - 1; i <= j; ++i, --j) {
    const T low = a[i - 1];
    const T high = a[j - 1];
    a[i - 1] = low + k * conjugate(high);
    if (i != j) a[j - 1] = high + k * conjugate(low);
  }
  a[m - 1] = k;
}

/// The inverse, from degree m to m − 1, with k = a_m: a_i ← (a_i − k·ā_{m−i})/(1 − |k|²). The
/// denominator is taken as (1 − |k|)(1 + |k|), which keeps its digits near |k| = 1.
template <class T, class R>
RESOLVENT_HD inline void lower_degree(T* a, std::ptrdiff_t m, R size) {
  const T k = a[m - 1];
  const R scale = R(1) / ((R(1) - size) * (R(1) + size));
  for (std::ptrdiff_t i = 1, j = m - 1; i <= j; ++i, --j) {
    const T low = a[i - 1];
    const T high = a[j - 1];
    a[i - 1] = (low - k * conjugate(high)) * scale;
    if (i != j) a[j - 1] = (high - k * conjugate(low)) * scale;
  }
}

}  // namespace resolvent::math
