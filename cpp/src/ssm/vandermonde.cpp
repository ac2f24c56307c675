#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "pair.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/ssm.hpp"
#include "resolvent/ssm/sums.hpp"

namespace resolvent::ssm {
namespace {

constexpr Index kPoles = 128;      // at a time: bounds the tables
constexpr Index kSegment = 65536;  // samples of one task
constexpr Index kLargestBlock = 256;
/// Below this powers are taken as 0: subnormal numbers may be slow and hold few digits.
constexpr double kVanished = std::numeric_limits<double>::min();

/// λ^k by squarings, from the most significant bit of k.
Pair power(Pair lambda, Index exponent) {
  Pair result{1.0, 0.0};
  for (int bit = 62; bit >= 0; --bit) {
    result = result * result;
    if ((exponent >> bit) & 1) result = result * lambda;
  }
  return result;
}

/// table[j] = λ^j for j < count, by products of powers of half the exponent.
void powers(Pair lambda, Index count, Pair* table) {
  if (count > 0) table[0] = {1.0, 0.0};
  if (count > 1) table[1] = lambda;
  for (Index j = 2; j < count; ++j) table[j] = table[j / 2] * table[j - j / 2];
}

double flushed(double x) { return std::abs(x) < kVanished ? 0.0 : x; }

/// Samples are arranged as `rows` blocks of `size`: sample i·size + j is entry (i, j).
struct Blocks {
  Index rows;
  Index size;
};

Blocks blocks_of(Index samples) {
  const auto root = static_cast<Index>(std::sqrt(static_cast<double>(samples)));
  const Index size = std::clamp<Index>((root + 15) / 16 * 16, 16, kLargestBlock);
  return {(samples + size - 1) / size, size};
}

/// One task: the powers that samples first … first + rows·size − 1 of one row need, for the poles
/// n … n + poles − 1. `leading` (2·rows or rows, 2·poles) is made of w_n λ_n^{first + i·size},
/// `trailing` (2·poles, size) of λ_n^j.
struct Powers {
  Matrix<double> trailing_re, trailing_im;  // (poles, size)
  Matrix<double> leading_re, leading_im;    // (rows, poles)

  Powers(const Complex* lambda, Index poles, Index first, Blocks blocks)
      : trailing_re(poles, blocks.size),
        trailing_im(poles, blocks.size),
        leading_re(blocks.rows, poles),
        leading_im(blocks.rows, poles) {
    std::vector<Pair> table(static_cast<std::size_t>(std::max(blocks.rows, blocks.size)));
    for (Index n = 0; n < poles; ++n) {
      const Pair base = pair_of(lambda[n]);
      powers(base, blocks.size, table.data());
      for (Index j = 0; j < blocks.size; ++j) {
        trailing_re(n, j) = flushed(table[j].re);
        trailing_im(n, j) = flushed(table[j].im);
      }
      const Pair start = power(base, first);
      powers(power(base, blocks.size), blocks.rows, table.data());
      for (Index i = 0; i < blocks.rows; ++i) {
        const Pair w = start * table[i];
        leading_re(i, n) = w.re;
        leading_im(i, n) = w.im;
      }
    }
  }
};

/// Calls body(row, first, count) for every row and every segment of its samples.
template <class Body>
void for_segments(Index rows, Index poles, Index samples, Body&& body) {
  const Index segments = (samples + kSegment - 1) / kSegment;
  const double work =
      4.0 * static_cast<double>(rows) * static_cast<double>(poles) * static_cast<double>(samples);
  parallel_for(rows * segments, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    const Index first = (i % segments) * kSegment;
    body(i / segments, first, std::min(kSegment, samples - first));
  });
}

/// The part of one row's samples as a matrix of blocks: real parts, and imaginary ones below them
/// unless only the real parts are wanted.
template <class T>
Matrix<T> segment(const std::complex<T>* v, const Complex* lambda, Index poles, Index first,
                  Blocks blocks, bool real_only) {
  const Index parts = real_only ? 1 : 2;
  Matrix<T> sum = Matrix<T>::Zero(parts * blocks.rows, blocks.size);
  for (Index n = 0; n < poles; n += kPoles) {
    const Index some = std::min(kPoles, poles - n);
    const Powers p(lambda + n, some, first, blocks);
    Matrix<T> trailing(2 * some, blocks.size);
    trailing << p.trailing_re.cast<T>(), p.trailing_im.cast<T>();
    Matrix<T> leading(parts * blocks.rows, 2 * some);
    for (Index i = 0; i < blocks.rows; ++i) {
      for (Index m = 0; m < some; ++m) {
        const Pair w = pair_of(Complex(v[n + m])) * Pair{p.leading_re(i, m), p.leading_im(i, m)};
        leading(i, m) = static_cast<T>(flushed(w.re));
        leading(i, some + m) = static_cast<T>(-flushed(w.im));
        if (real_only) continue;
        leading(blocks.rows + i, m) = static_cast<T>(flushed(w.im));
        leading(blocks.rows + i, some + m) = static_cast<T>(flushed(w.re));
      }
    }
    sum.noalias() += leading * trailing;
  }
  return sum;
}

}  // namespace

template <class T>
void vandermonde(ConstRows<std::complex<T>> v, ConstRows<Complex> eigenvalues,
                 Rows<std::complex<T>> out) {
  for_segments(v.rows(), v.cols(), out.cols(), [&](Index h, Index first, Index count) {
    const Blocks blocks = blocks_of(count);
    const Complex* lambda = eigenvalues.row(eigenvalues.rows() == 1 ? 0 : h).data();
    const Matrix<T> sum =
        segment(v.row(h).data(), lambda, v.cols(), first, blocks, /*real_only=*/false);
    const T* re = sum.data();
    const T* im = re + blocks.rows * blocks.size;
    for (Index k = 0; k < count; ++k) out(h, first + k) = {re[k], im[k]};
  });
}

template <class T>
void vandermonde_real(ConstRows<std::complex<T>> v, ConstRows<Complex> eigenvalues, Rows<T> out) {
  for_segments(v.rows(), v.cols(), out.cols(), [&](Index h, Index first, Index count) {
    const Complex* lambda = eigenvalues.row(eigenvalues.rows() == 1 ? 0 : h).data();
    const Matrix<T> sum =
        segment(v.row(h).data(), lambda, v.cols(), first, blocks_of(count), /*real_only=*/true);
    for (Index k = 0; k < count; ++k) out(h, first + k) = T(2) * sum.data()[k];
  });
}

template <class T>
void vandermonde_adjoint(ConstRows<std::complex<T>> v, ConstRows<Complex> eigenvalues,
                         ConstRows<std::complex<T>> g, Rows<std::complex<T>> v_out,
                         Rows<std::complex<T>> eigenvalues_out) {
  const Index poles = v.cols();
  const Index samples = g.cols();
  const double work = 8.0 * static_cast<double>(v.rows()) * static_cast<double>(poles) *
                      static_cast<double>(samples);
  parallel_for(v.rows(), work, [&](Index h, Checkpoint& checkpoint) {
    const Complex* lambda = eigenvalues.row(eigenvalues.rows() == 1 ? 0 : h).data();
    for (Index n = 0; n < poles; ++n) {
      // Horner's rule from the last sample for Σ_k conj(λ)^k g_k and its derivative by conj(λ).
      if (n % 16 == 0) checkpoint();
      const Pair base{lambda[n].real(), -lambda[n].imag()};
      Pair value{0.0, 0.0};
      Pair slope{0.0, 0.0};
      for (Index k = samples - 1; k >= 0; --k) {
        slope = slope * base + value;
        value = value * base + Pair{g(h, k).real(), g(h, k).imag()};
      }
      v_out(h, n) = {static_cast<T>(value.re), static_cast<T>(value.im)};
      const Pair with_weight = Pair{v(h, n).real(), -v(h, n).imag()} * slope;
      eigenvalues_out(h, n) = {static_cast<T>(with_weight.re), static_cast<T>(with_weight.im)};
    }
  });
}

#define RESOLVENT_INSTANTIATE(T)                                                              \
  template void vandermonde<T>(ConstRows<std::complex<T>>, ConstRows<Complex>,                \
                               Rows<std::complex<T>>);                                        \
  template void vandermonde_real<T>(ConstRows<std::complex<T>>, ConstRows<Complex>, Rows<T>); \
  template void vandermonde_adjoint<T>(ConstRows<std::complex<T>>, ConstRows<Complex>,        \
                                       ConstRows<std::complex<T>>, Rows<std::complex<T>>,     \
                                       Rows<std::complex<T>>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::ssm
