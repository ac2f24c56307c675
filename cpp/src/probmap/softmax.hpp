#pragma once

#include "lanes.hpp"
#include "resolvent/math/elementary.hpp"

namespace resolvent::probmap {

/// sums[l] += 2^kScale e^{c(x − m)} of every entry, which goes to `out` too.
template <class T, class P>
void exponentials(const T* x, Index depth, P m, P c, T* out, T* sums) {
  for (Index k = 0; k < depth; ++k, x += kLanes<T>, out += kLanes<T>) {
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T e = math::scaled_exp((x[l] - m[l]) * c[l]);
      out[l] = e;
      sums[l] += e;
    }
  }
}

/// Softmax of one row; x and p may be the same.
template <class T>
void softmax_row(const T* x, Index n, T max, T c, T* p) {
  double sum = 0.0;
  sweep_into(x, n, p, [&](const T* block, Index depth, T* out) {
    T sums[kLanes<T>] = {};
    exponentials(block, depth, Same<T>{max}, Same<T>{c}, out, sums);
    sum += fold(sums);
  });
  const T factor = static_cast<T>(1.0 / sum);
#pragma omp simd
  for (Index j = 0; j < n; ++j) p[j] *= factor;
}

}  // namespace resolvent::probmap
