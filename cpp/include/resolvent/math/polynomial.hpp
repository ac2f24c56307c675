#pragma once

#include <cstddef>

#include "resolvent/math/config.hpp"

namespace resolvent::math {

/// P_{n+1}(x) from P_n and P_{n−1}: (n+1) P_{n+1} = (2n+1) x P_n − n P_{n−1}. n ≥ 1.
template <class T>
RESOLVENT_HD inline T legendre_next(std::ptrdiff_t n, T x, T current, T previous) {
  const T m = static_cast<T>(n);
  return ((T(2) * m + T(1)) * x * current - m * previous) / (m + T(1));
}

/// P_{n+1} − P_n at 1 − y from P_n and P_n − P_{n−1}: (n+1)(P_{n+1} − P_n) = n(P_n − P_{n−1}) −
/// (2n+1) y P_n. Keeps the relative accuracy of the differences as y → 0.
template <class T>
RESOLVENT_HD inline T legendre_difference(T n, T y, T value, T difference) {
  return (n * difference - (T(2) * n + T(1)) * y * value) / (n + T(1));
}

/// L_{n+1}^{(α)}(x): (n+1) L_{n+1} = (2n+1+α−x) L_n − (n+α) L_{n−1}. n ≥ 0, with L_{−1} = 0.
template <class T>
RESOLVENT_HD inline T laguerre_next(std::ptrdiff_t n, T alpha, T x, T current, T previous) {
  const T m = static_cast<T>(n);
  return ((T(2) * m + T(1) + alpha - x) * current - (m + alpha) * previous) / (m + T(1));
}

}  // namespace resolvent::math
