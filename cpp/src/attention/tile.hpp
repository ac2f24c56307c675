#pragma once

#include <algorithm>

#include "resolvent/core/types.hpp"

namespace resolvent::attention {

/// Numbers that are worked on side by side: 64 bytes on every instruction set, in as many registers
/// as they need, so that sums over lanes have the same order everywhere.
template <class T>
inline constexpr Index kLanes = 64 / sizeof(T);

template <class T>
using Lanes [[gnu::vector_size(64), gnu::may_alias]] = T;

template <class T>
constexpr Index padded(Index columns) {
  return (columns + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <class T>
Lanes<T>* lanes_at(T* numbers) {
  return reinterpret_cast<Lanes<T>*>(numbers);
}

template <class T>
const Lanes<T>* lanes_at(const T* numbers) {
  return reinterpret_cast<const Lanes<T>*>(numbers);
}

/// A matrix in a tile: rows `stride` apart, 64-byte aligned where it is read or written by lanes.
template <class T>
struct Block {
  T* data;
  Index stride;

  T* row(Index i) const { return data + i * stride; }
};

namespace detail {

#if defined(__AVX512F__)
inline constexpr int kRows = 6, kColumns = 4;  // 24 sums in 32 registers of 64 bytes
#elif defined(__AVX__)
inline constexpr int kRows = 4, kColumns = 1;  // 8 sums in 16 registers of 32 bytes
#else
inline constexpr int kRows = 2, kColumns = 1;  // 8 sums in 16 registers of 16 bytes
#endif

/// `Rows` × `Columns`·kLanes entries of A B, each summed from k = 0 on.
template <int Rows, int Columns, bool Add, class T>
[[gnu::always_inline]] inline void product(Block<const T> A, Block<const T> B, Index depth,
                                           Block<T> C) {
  Lanes<T> sum[Rows][Columns] = {};
  for (Index k = 0; k < depth; ++k) {
    const Lanes<T>* b = lanes_at(B.row(k));
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const T a = A.row(r)[k];
#pragma GCC unroll 8
      for (int c = 0; c < Columns; ++c) sum[r][c] += a * b[c];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    Lanes<T>* to = lanes_at(C.row(r));
    for (int c = 0; c < Columns; ++c) to[c] = Add ? to[c] + sum[r][c] : sum[r][c];
  }
}

template <int Columns, bool Add, class T>
void rows_of_product(Block<const T> A, Block<const T> B, Index rows, Index depth, Block<T> C) {
  Index i = 0;
  for (; i + kRows <= rows; i += kRows) {
    product<kRows, Columns, Add, T>({A.row(i), A.stride}, B, depth, {C.row(i), C.stride});
  }
  for (; i < rows; ++i) {
    product<1, Columns, Add, T>({A.row(i), A.stride}, B, depth, {C.row(i), C.stride});
  }
}

}  // namespace detail

/// C = A B, or C += A B: A rows × depth, B depth × columns, columns a multiple of kLanes. Every
/// entry is a sum in the order of `depth`, whatever the registers; with Add it is summed first and
/// then added. 2·rows·depth·columns operations.
template <bool Add, class T>
void multiply(Block<const T> A, Block<const T> B, Index rows, Index depth, Index columns,
              Block<T> C) {
  constexpr Index wide = detail::kColumns * kLanes<T>;
  Index j = 0;
  for (; j + wide <= columns; j += wide) {
    detail::rows_of_product<detail::kColumns, Add, T>(A, {B.data + j, B.stride}, rows, depth,
                                                      {C.data + j, C.stride});
  }
  for (; j < columns; j += kLanes<T>) {
    detail::rows_of_product<1, Add, T>(A, {B.data + j, B.stride}, rows, depth,
                                       {C.data + j, C.stride});
  }
}

/// The sum of all lanes, in a fixed order.
template <class T>
T sum_of(const Lanes<T>& lanes) {
  T total = 0;
  for (Index l = 0; l < kLanes<T>; ++l) total += lanes[l];
  return total;
}

}  // namespace resolvent::attention
