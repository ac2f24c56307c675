#include "panel.hpp"

#include <algorithm>
#include <array>
#include <random>

#include "resolvent/core/threads.hpp"

namespace resolvent::lora {
namespace {

// ---- a row of a panel in vector registers
// --------------------------------------------------------

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kAccumulators = 16;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kAccumulators = 8;
#else
constexpr int kVectorBytes = 16;
constexpr int kAccumulators = 8;
#endif

/// kPanel numbers in as many registers as they need. Elementwise, so the width changes no result.
template <class T>
struct Lanes {
  using Register [[gnu::vector_size(kVectorBytes), gnu::may_alias]] = T;
  static constexpr int count = kPanel * sizeof(T) / kVectorBytes;

  Register at[count];

  [[gnu::always_inline]] static Lanes zero() { return {}; }

  [[gnu::always_inline]] static Lanes load(const T* from) {
    Lanes lanes;
    for (int k = 0; k < count; ++k) lanes.at[k] = reinterpret_cast<const Register*>(from)[k];
    return lanes;
  }

  [[gnu::always_inline]] void store(T* to) const {
    for (int k = 0; k < count; ++k) reinterpret_cast<Register*>(to)[k] = at[k];
  }

  [[gnu::always_inline]] void add(const Lanes& other) {
    for (int k = 0; k < count; ++k) at[k] += other.at[k];
  }

  [[gnu::always_inline]] void add_product(T factor, const Lanes& other) {
    for (int k = 0; k < count; ++k) at[k] += factor * other.at[k];
  }

  [[gnu::always_inline]] void subtract_product(T factor, const Lanes& other) {
    for (int k = 0; k < count; ++k) at[k] -= factor * other.at[k];
  }
};

/// Rows of M that are worked on together: as many as the registers hold sums or factors for.
template <class T>
constexpr int kGroup = std::clamp(kAccumulators / Lanes<T>::count, 1, 8);

constexpr Index kPiece = 256;      // rows of X, or columns of M: 16 or 32 KB of a panel in cache
constexpr Index kRowTile = 64;     // rows of M that one task of a product takes
constexpr Index kSlab = 8192;      // rows of M whose Mᵀ X is summed in one go
constexpr Index kBasisTile = 256;  // rows of panels that one task takes

// ---- M X
// -----------------------------------------------------------------------------------------

/// out(r, :) += Σ_j M(r, j) X(j, :) for `Group` rows and one piece of columns.
template <int Group, class T>
[[gnu::always_inline]] inline void add_rows(const T* M, Index stride, const T* X, Index length,
                                            T* out) {
  std::array<Lanes<T>, Group> sum;
  for (auto& lanes : sum) lanes = Lanes<T>::zero();
  for (Index j = 0; j < length; ++j) {
    const auto x = Lanes<T>::load(X + j * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < Group; ++r) sum[r].add_product(M[r * stride + j], x);
  }
  for (int r = 0; r < Group; ++r) {
    auto total = Lanes<T>::load(out + r * kPanel);
    total.add(sum[r]);
    total.store(out + r * kPanel);
  }
}

template <class T>
void multiply_tile(ConstRows<T> M, const Panel<T>& X, Index first, Index last, Panel<T>& out) {
  constexpr int group = kGroup<T>;
  const Index stride = M.cols();
  out.middleRows(first, last - first).setZero();
  for (Index j = 0; j < M.cols(); j += kPiece) {
    const Index length = std::min(kPiece, M.cols() - j);
    const T* x = X.data() + j * kPanel;
    const auto at = [&](Index i) { return M.data() + i * stride + j; };
    const auto to = [&](Index i) { return out.data() + i * kPanel; };
    Index i = first;
    for (; i + group <= last; i += group) add_rows<group>(at(i), stride, x, length, to(i));
    for (; i < last; ++i) add_rows<1>(at(i), stride, x, length, to(i));
  }
}

// ---- Mᵀ X
// ----------------------------------------------------------------------------------------

/// out(j, :) += Σ_r M(r, j) X(r, :) for `Group` rows and one piece of columns.
template <int Group, class T>
[[gnu::always_inline]] inline void add_columns(const T* M, Index stride, const T* X, Index length,
                                               T* out) {
  std::array<Lanes<T>, Group> x;
  for (int r = 0; r < Group; ++r) x[r] = Lanes<T>::load(X + r * kPanel);
  for (Index j = 0; j < length; ++j) {
    auto sum = Lanes<T>::load(out + j * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < Group; ++r) sum.add_product(M[r * stride + j], x[r]);
    sum.store(out + j * kPanel);
  }
}

/// The rows first … last − 1 of M, the columns from `column` on, into `out` (length × kPanel).
template <class T>
void multiply_transposed_tile(ConstRows<T> M, const Panel<T>& X, Index first, Index last,
                              Index column, Index length, T* out) {
  constexpr int group = kGroup<T>;
  const Index stride = M.cols();
  std::fill(out, out + length * kPanel, T(0));
  const auto at = [&](Index i) { return M.data() + i * stride + column; };
  const auto from = [&](Index i) { return X.data() + i * kPanel; };
  Index i = first;
  for (; i + group <= last; i += group) add_columns<group>(at(i), stride, from(i), length, out);
  for (; i < last; ++i) add_columns<1>(at(i), stride, from(i), length, out);
}

Index pieces(Index size, Index piece) { return (size + piece - 1) / piece; }

/// What a product costs, for `parallel_for`: kPanel multiplications and additions are one operation
/// of the vector units.
double work_of(Index rows, Index columns) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(columns);
}

}  // namespace

template <class T>
void multiply(ConstRows<T> M, const Panel<T>& X, Panel<T>& out) {
  out.resize(M.rows(), kPanel);
  parallel_for(pieces(M.rows(), kRowTile), work_of(M.rows(), M.cols()),
               [&](Index tile, Checkpoint& checkpoint) {
                 checkpoint();
                 const Index first = tile * kRowTile;
                 multiply_tile(M, X, first, std::min(first + kRowTile, M.rows()), out);
               });
}

template <class T>
void multiply_transposed(ConstRows<T> M, const Panel<T>& X, Panel<T>& out) {
  const Index n = M.rows(), m = M.cols();
  out.resize(m, kPanel);
  const Index slabs = pieces(n, kSlab), tiles = pieces(m, kPiece);
  std::vector<Panel<T>> partial(static_cast<std::size_t>(std::max<Index>(slabs - 1, 0)));
  for (auto& panel : partial) panel.resize(m, kPanel);
  if (slabs == 0) out.setZero();
  parallel_for(slabs * tiles, work_of(n, m), [&](Index task, Checkpoint& checkpoint) {
    checkpoint();
    const Index slab = task / tiles, column = task % tiles * kPiece;
    const Index length = std::min(kPiece, m - column);
    Panel<T>& target = slab == 0 ? out : partial[static_cast<std::size_t>(slab - 1)];
    multiply_transposed_tile(M, X, slab * kSlab, std::min((slab + 1) * kSlab, n), column, length,
                             target.data() + column * kPanel);
  });
  for (const auto& panel : partial) out += panel;
}

// ---- one pass over M
// -----------------------------------------------------------------------------

template <class T>
double sum_of_squares(ConstRows<T> M) {
  std::vector<double> row(static_cast<std::size_t>(M.rows()));
  const Index m = M.cols();
  parallel_for(pieces(M.rows(), kRowTile), 2.0 * static_cast<double>(M.size()),
               [&](Index tile, Checkpoint& checkpoint) {
                 checkpoint();
                 const Index last = std::min((tile + 1) * kRowTile, M.rows());
                 for (Index i = tile * kRowTile; i < last; ++i) {
                   const T* at = M.data() + i * m;
                   std::array<double, 16> sum{};
                   Index j = 0;
                   for (; j + 16 <= m; j += 16) {
#pragma omp simd
                     for (int l = 0; l < 16; ++l) {
                       const auto x = static_cast<double>(at[j + l]);
                       sum[l] += x * x;
                     }
                   }
                   for (int l = 0; j < m; ++j, ++l) {
                     const auto x = static_cast<double>(at[j]);
                     sum[l] += x * x;
                   }
                   double total = 0.0;
                   for (const double part : sum) total += part;
                   row[static_cast<std::size_t>(i)] = total;
                 }
               });
  double total = 0.0;
  for (const double part : row) total += part;
  return total;
}

template <class T>
void sketch_rows(ConstRows<T> M, std::uint64_t seed, T factor, Panel<T>& out) {
  const Index n = M.rows(), m = M.cols();
  // Every column of Ω gets its share of the rows, chosen at random, each with a random sign.
  std::mt19937_64 random(seed);
  std::vector<Index> bucket(static_cast<std::size_t>(n));
  std::vector<T> sign(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < bucket.size(); ++i) {
    bucket[i] = static_cast<Index>(i) % kPanel;
    std::swap(bucket[i], bucket[random() % (i + 1)]);
    sign[i] = (random() >> 63) == 0 ? factor : -factor;
  }

  out.resize(m, kPanel);
  parallel_for(pieces(m, kPiece), 2.0 * static_cast<double>(M.size()),
               [&](Index tile, Checkpoint& checkpoint) {
                 checkpoint();
                 const Index column = tile * kPiece, length = std::min(kPiece, m - column);
                 Eigen::Array<T, kPanel, kPiece, Eigen::RowMajor> sum;
                 sum.setZero();
                 for (Index i = 0; i < n; ++i) {
                   const T s = sign[static_cast<std::size_t>(i)];
                   const T* at = M.data() + i * m + column;
                   T* to = sum.data() + bucket[static_cast<std::size_t>(i)] * kPiece;
#pragma omp simd
                   for (Index j = 0; j < length; ++j) to[j] += s * at[j];
                 }
                 out.middleRows(column, length) = sum.leftCols(length).matrix().transpose();
               });
}

// ---- panels among themselves
// ---------------------------------------------------------------------

namespace {

/// Tiles of a few microseconds each are worth a second thread where M's products have one anyway.
constexpr double kTileWork = 4.0;

/// Calls body(tile, first row, last row) for the rows of a panel.
template <class Body>
void over_tiles(Index rows, std::size_t panels, const Body& body) {
  const double work = kTileWork * work_of(rows, static_cast<Index>(panels + 2) * kPanel);
  parallel_for(pieces(rows, kBasisTile), work, [&](Index tile, Checkpoint& checkpoint) {
    checkpoint();
    const Index first = tile * kBasisTile;
    body(static_cast<std::size_t>(tile), first, std::min(first + kBasisTile, rows));
  });
}

/// The rows of Y times F.
template <class T>
void apply_tile(const Panel<T>& F, Index first, Index last, Panel<T>& Y) {
  for (Index i = first; i < last; ++i) {
    T* row = Y.data() + i * kPanel;
    auto sum = Lanes<T>::zero();
    for (Index c = 0; c < kPanel; ++c)
      sum.add_product(row[c], Lanes<T>::load(F.data() + c * kPanel));
    sum.store(row);
  }
}

template <class T>
void subtract_tile(const std::vector<Panel<T>>& basis, const std::vector<Panel<T>>& coefficients,
                   Index first, Index last, Panel<T>& Y) {
  for (Index i = first; i < last; ++i) {
    auto y = Lanes<T>::load(Y.data() + i * kPanel);
    for (std::size_t k = 0; k < basis.size(); ++k) {
      const T* row = basis[k].data() + i * kPanel;
      const T* from = coefficients[k].data();
      for (Index c = 0; c < kPanel; ++c) {
        y.subtract_product(row[c], Lanes<T>::load(from + c * kPanel));
      }
    }
    y.store(Y.data() + i * kPanel);
  }
}

/// Rows `Half`·8 … `Half`·8 + 7 of YᵀY over the rows of a tile.
template <int Half, class T>
void square_half(const Panel<T>& Y, Index first, Index last, Square& out) {
  constexpr int count = kPanel / 2;
  std::array<Lanes<double>, count> sum;
  for (auto& lanes : sum) lanes = Lanes<double>::zero();
  alignas(64) std::array<double, kPanel> wide;
  for (Index i = first; i < last; ++i) {
    const T* row = Y.data() + i * kPanel;
    for (Index l = 0; l < kPanel; ++l) wide[l] = static_cast<double>(row[l]);
    const auto y = Lanes<double>::load(wide.data());
#pragma GCC unroll 8
    for (int c = 0; c < count; ++c) sum[c].add_product(wide[Half * count + c], y);
  }
  for (int c = 0; c < count; ++c) sum[c].store(out.data() + (Half * count + c) * kPanel);
}

}  // namespace

template <class T>
std::vector<Square> apply_and_project(const Square& F, const std::vector<Panel<T>>& basis,
                                      Panel<T>& Y) {
  const Panel<T> factor = F.template cast<T>();
  const Index n = Y.rows(), height = static_cast<Index>(basis.size()) * kPanel;
  std::vector<Panel<T>> partial(static_cast<std::size_t>(pieces(n, kBasisTile)));
  over_tiles(n, basis.size(), [&](std::size_t tile, Index first, Index last) {
    apply_tile(factor, first, last, Y);
    auto& sums = partial[tile];
    sums.resize(height, kPanel);
    for (std::size_t k = 0; k < basis.size(); ++k) {
      const ConstRows<T> block(basis[k].data(), n, kPanel);
      multiply_transposed_tile(block, Y, first, last, 0, kPanel,
                               sums.data() + static_cast<Index>(k) * kPanel * kPanel);
    }
  });
  std::vector<Square> total(basis.size(), Square::Zero());
  for (const auto& sums : partial) {
    for (std::size_t k = 0; k < basis.size(); ++k) {
      total[k] += sums.middleRows(static_cast<Index>(k) * kPanel, kPanel).template cast<double>();
    }
  }
  return total;
}

template <class T>
Square subtract_and_square(const std::vector<Panel<T>>& basis,
                           const std::vector<Square>& coefficients, Panel<T>& Y) {
  std::vector<Panel<T>> factor;
  for (const Square& square : coefficients) factor.emplace_back(square.template cast<T>());
  const Index n = Y.rows();
  std::vector<Square> partial(static_cast<std::size_t>(pieces(n, kBasisTile)));
  over_tiles(n, basis.size(), [&](std::size_t tile, Index first, Index last) {
    subtract_tile(basis, factor, first, last, Y);
    square_half<0>(Y, first, last, partial[tile]);
    square_half<1>(Y, first, last, partial[tile]);
  });
  Square total = Square::Zero();
  for (const Square& square : partial) total += square;
  return total;
}

template <class T>
Matrix<T> combine(const std::vector<Panel<T>>& basis, const Matrix<double>& coefficients) {
  const Index n = basis.front().rows(), columns = coefficients.cols();
  const Index width = pieces(columns, kPanel) * kPanel;
  const auto count = static_cast<std::size_t>(coefficients.rows() / kPanel);
  // Columns in panels, so that rows of the result are sums of rows of coefficients.
  Matrix<T> factor = Matrix<T>::Zero(coefficients.rows(), width);
  factor.leftCols(columns) = coefficients.cast<T>();
  Matrix<T> out(n, columns);
  parallel_for(pieces(n, kRowTile), work_of(n * pieces(columns, kPanel), coefficients.rows()),
               [&](Index tile, Checkpoint& checkpoint) {
                 checkpoint();
                 alignas(64) std::array<T, kPanel> sums;
                 const Index last = std::min((tile + 1) * kRowTile, n);
                 for (Index i = tile * kRowTile; i < last; ++i) {
                   for (Index c = 0; c < columns; c += kPanel) {
                     auto sum = Lanes<T>::zero();
                     for (std::size_t k = 0; k < count; ++k) {
                       const T* row = basis[k].data() + i * kPanel;
                       const T* from = factor.data() + static_cast<Index>(k) * kPanel * width + c;
                       for (Index l = 0; l < kPanel; ++l) {
                         sum.add_product(row[l], Lanes<T>::load(from + l * width));
                       }
                     }
                     sum.store(sums.data());
                     const Index length = std::min(kPanel, columns - c);
                     std::copy_n(sums.data(), length, out.data() + i * columns + c);
                   }
                 }
               });
  return out;
}

#define RESOLVENT_INSTANTIATE(T)                                                                \
  template void multiply(ConstRows<T>, const Panel<T>&, Panel<T>&);                             \
  template void multiply_transposed(ConstRows<T>, const Panel<T>&, Panel<T>&);                  \
  template double sum_of_squares(ConstRows<T>);                                                 \
  template void sketch_rows(ConstRows<T>, std::uint64_t, T, Panel<T>&);                         \
  template std::vector<Square> apply_and_project(const Square&, const std::vector<Panel<T>>&,   \
                                                 Panel<T>&);                                    \
  template Square subtract_and_square(const std::vector<Panel<T>>&, const std::vector<Square>&, \
                                      Panel<T>&);                                               \
  template Matrix<T> combine(const std::vector<Panel<T>>&, const Matrix<double>&)

RESOLVENT_INSTANTIATE(float);
RESOLVENT_INSTANTIATE(double);
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::lora
