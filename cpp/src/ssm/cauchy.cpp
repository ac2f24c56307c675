#include <algorithm>

#include "resolvent/core/threads.hpp"
#include "resolvent/math/ssm.hpp"
#include "resolvent/ssm/sums.hpp"

namespace resolvent::ssm {
namespace {

constexpr Index kPoints = 128;  // of a tile: its reciprocals, 2·64·128 numbers, stay in the cache
constexpr Index kPoles = 64;

/// Operations of one term: a division and some twenty others.
constexpr double kWorkPerTerm = 30.0;

/// Row n of `out` receives the reciprocals of pole n at all points: real parts, imaginary parts.
template <class T>
void fill_reciprocals(const Complex* lambda, Index poles, const Complex* z, Index points,
                      Terms terms, Matrix<T>& out) {
  double x[kPoints];
  double y[kPoints];
  for (Index k = 0; k < points; ++k) {
    x[k] = z[k].real();
    y[k] = z[k].imag();
  }
  for (Index n = 0; n < poles; ++n) {
    const double a = lambda[n].real();
    const double mu = lambda[n].imag();
    T* re = out.row(n).data();
    T* im = re + kPoints;
    if (terms == Terms::conjugate) {
#pragma omp simd
      for (Index k = 0; k < points; ++k) {
        const auto r = math::pair_reciprocal(x[k] - a, y[k] - mu, y[k] + mu);
        re[k] = static_cast<T>(r.re);
        im[k] = static_cast<T>(r.im);
      }
    } else {
#pragma omp simd
      for (Index k = 0; k < points; ++k) {
        const auto r = math::reciprocal(x[k] - a, y[k] - mu);
        re[k] = static_cast<T>(r.re);
        im[k] = static_cast<T>(r.im);
      }
    }
  }
}

}  // namespace

template <class T>
CauchySums<T>::CauchySums(ConstRows<std::complex<T>> coefficients,
                          std::span<const Complex> eigenvalues, Terms terms)
    : terms_(terms), sums_(coefficients.rows()) {
  const auto poles = static_cast<Index>(eigenvalues.size());
  eigenvalues_ = ConstVectorView<Complex>(eigenvalues.data(), poles);
  // Rows 2s and 2s + 1. Conjugate terms: −2Re(c λ̄) and 2Re(c), what stands before the pair's
  // reciprocal and before σ times it. Single: the real and the imaginary part of c times (re, im),
  // in two blocks of columns for re and im.
  const bool pairs = terms == Terms::conjugate;
  coefficients_.setZero(2 * sums_, pairs ? poles : 2 * poles);
  for (Index s = 0; s < sums_; ++s) {
    for (Index n = 0; n < poles; ++n) {
      const Complex c(coefficients(s, n));
      const Complex lambda = eigenvalues_[n];
      if (pairs) {
        coefficients_(2 * s, n) =
            static_cast<T>(-2.0 * (c.real() * lambda.real() + c.imag() * lambda.imag()));
        coefficients_(2 * s + 1, n) = static_cast<T>(2.0 * c.real());
      } else {
        coefficients_(2 * s, n) = coefficients_(2 * s + 1, poles + n) = static_cast<T>(c.real());
        coefficients_(2 * s, poles + n) = static_cast<T>(-c.imag());
        coefficients_(2 * s + 1, n) = static_cast<T>(c.imag());
      }
    }
  }
}

template <class T>
void CauchySums<T>::evaluate(std::span<const Complex> z, Rows<std::complex<T>> out) const {
  Matrix<T> reciprocals(std::min(kPoles, eigenvalues_.size()), 2 * kPoints);
  reciprocals.setZero();
  Matrix<T> totals(2 * sums_, 2 * kPoints);
  const auto points = static_cast<Index>(z.size());
  for (Index first = 0; first < points; first += kPoints) {
    tile(z.subspan(first, std::min(kPoints, points - first)), reciprocals, totals, out, first);
  }
}

template <class T>
void CauchySums<T>::tile(std::span<const Complex> z, Matrix<T>& reciprocals, Matrix<T>& totals,
                         Rows<std::complex<T>> out, Index first) const {
  const auto points = static_cast<Index>(z.size());
  const Index poles = eigenvalues_.size();
  const bool pairs = terms_ == Terms::conjugate;
  totals.setZero();
  for (Index n = 0; n < poles; n += kPoles) {
    const Index some = std::min(kPoles, poles - n);
    fill_reciprocals(eigenvalues_.data() + n, some, z.data(), points, terms_, reciprocals);
    const auto block = reciprocals.topRows(some);
    if (pairs) {
      totals.noalias() += coefficients_.middleCols(n, some) * block;
    } else {
      totals.leftCols(kPoints).noalias() +=
          coefficients_.middleCols(n, some) * block.leftCols(kPoints);
      totals.leftCols(kPoints).noalias() +=
          coefficients_.middleCols(poles + n, some) * block.rightCols(kPoints);
    }
  }
  for (Index s = 0; s < sums_; ++s) {
    const T* even = totals.row(2 * s).data();
    const T* odd = totals.row(2 * s + 1).data();
    std::complex<T>* target = &out(s, first);
    for (Index k = 0; k < points; ++k) {
      if (pairs) {
        const auto x = static_cast<T>(z[k].real());
        const auto y = static_cast<T>(z[k].imag());
        const T re = odd[k];
        const T im = odd[kPoints + k];
        target[k] = {even[k] + (x * re - y * im), even[kPoints + k] + (x * im + y * re)};
      } else {
        target[k] = {even[k], odd[k]};
      }
    }
  }
}

template <class T>
void cauchy(ConstRows<std::complex<T>> v, ConstRows<Complex> z, ConstRows<Complex> eigenvalues,
            Terms terms, Rows<std::complex<T>> out) {
  const Index points = z.cols();
  const Index poles = v.cols();
  const Index rows = v.rows();
  // One pass for all rows where they share both poles and points, else one per row.
  const bool shared = eigenvalues.rows() == 1 && z.rows() == 1;
  const Index group = shared ? std::min<Index>(rows, 64) : 1;
  const Index groups = group > 0 ? (rows + group - 1) / group : 0;
  constexpr Index kSpan = 8 * kPoints;
  const Index spans = (points + kSpan - 1) / kSpan;
  const double work = kWorkPerTerm * static_cast<double>(rows) * static_cast<double>(poles) *
                      static_cast<double>(points);
  parallel_for(groups * spans, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    const Index row = (i / spans) * group;
    const Index first = (i % spans) * kSpan;
    const Index count = std::min(kSpan, points - first);
    const Index together = std::min(group, rows - row);
    const Complex* lambda = eigenvalues.row(eigenvalues.rows() == 1 ? 0 : row).data();
    const Complex* at = z.row(z.rows() == 1 ? 0 : row).data();
    const CauchySums<T> sums(ConstRows<std::complex<T>>(v.row(row).data(), together, poles),
                             {lambda, static_cast<std::size_t>(poles)}, terms);
    Matrix<std::complex<T>> part(together, count);
    sums.evaluate({at + first, static_cast<std::size_t>(count)},
                  Rows<std::complex<T>>(part.data(), together, count));
    out.block(row, first, together, count) = part;
  });
}

template <class T>
void cauchy_adjoint(ConstRows<std::complex<T>> v, ConstRows<Complex> z,
                    ConstRows<Complex> eigenvalues, ConstRows<std::complex<T>> g, Terms terms,
                    Rows<std::complex<T>> v_out, Rows<std::complex<T>> z_out,
                    Rows<std::complex<T>> eigenvalues_out) {
  using Pair = math::ComplexPair<double>;
  const Index points = z.cols();
  const Index poles = v.cols();
  const bool pairs = terms == Terms::conjugate;
  const double work = 2 * kWorkPerTerm * static_cast<double>(v.rows()) *
                      static_cast<double>(poles) * static_cast<double>(points);
  parallel_for(v.rows(), work, [&](Index h, Checkpoint& checkpoint) {
    const Complex* lambda = eigenvalues.row(eigenvalues.rows() == 1 ? 0 : h).data();
    const Complex* at = z.row(z.rows() == 1 ? 0 : h).data();
    Vector<double> slope_re = Vector<double>::Zero(points);  // −dy_k/dz_k
    Vector<double> slope_im = Vector<double>::Zero(points);
    for (Index n = 0; n < poles; ++n) {
      if (n % 64 == 0) checkpoint();
      const Pair c{v(h, n).real(), v(h, n).imag()};
      const double a = lambda[n].real();
      const double mu = lambda[n].imag();
      // Σ_k conj(r)g, Σ_k conj(r²)g, and Σ_k s·conj(g), Σ_k s²·conj(g) of the conjugate terms,
      // r = 1/(z − λ), s = 1/(z − λ̄).
      double first_re = 0, first_im = 0, second_re = 0, second_im = 0;
#pragma omp simd reduction(+ : first_re, first_im, second_re, second_im)
      for (Index k = 0; k < points; ++k) {
        const double x = at[k].real() - a;
        const Pair r = math::reciprocal(x, at[k].imag() - mu);
        const Pair r2 = r * r;
        const double g_re = g(h, k).real();
        const double g_im = g(h, k).imag();
        first_re += r.re * g_re + r.im * g_im;
        first_im += r.re * g_im - r.im * g_re;
        second_re += r2.re * g_re + r2.im * g_im;
        second_im += r2.re * g_im - r2.im * g_re;
        Pair slope = c * r2;
        if (pairs) {
          const Pair s = math::reciprocal(x, at[k].imag() + mu);
          const Pair s2 = s * s;
          first_re += s.re * g_re + s.im * g_im;
          first_im += s.im * g_re - s.re * g_im;
          second_re += s2.re * g_re + s2.im * g_im;
          second_im += s2.im * g_re - s2.re * g_im;
          slope.re += c.re * s2.re + c.im * s2.im;
          slope.im += c.re * s2.im - c.im * s2.re;
        }
        slope_re[k] += slope.re;
        slope_im[k] += slope.im;
      }
      v_out(h, n) = {static_cast<T>(first_re), static_cast<T>(first_im)};
      // conj(v)·(…): dy = v r² dλ, and v̄ s² dλ̄ of the conjugate terms.
      eigenvalues_out(h, n) = {static_cast<T>(c.re * second_re + c.im * second_im),
                               static_cast<T>(c.re * second_im - c.im * second_re)};
    }
    for (Index k = 0; k < points; ++k) {
      const double g_re = g(h, k).real();
      const double g_im = g(h, k).imag();
      z_out(h, k) = {static_cast<T>(-(slope_re[k] * g_re + slope_im[k] * g_im)),
                     static_cast<T>(-(slope_re[k] * g_im - slope_im[k] * g_re))};
    }
  });
}

template class CauchySums<float>;
template class CauchySums<double>;

#define RESOLVENT_INSTANTIATE(T)                                                              \
  template void cauchy<T>(ConstRows<std::complex<T>>, ConstRows<Complex>, ConstRows<Complex>, \
                          Terms, Rows<std::complex<T>>);                                      \
  template void cauchy_adjoint<T>(ConstRows<std::complex<T>>, ConstRows<Complex>,             \
                                  ConstRows<Complex>, ConstRows<std::complex<T>>, Terms,      \
                                  Rows<std::complex<T>>, Rows<std::complex<T>>,               \
                                  Rows<std::complex<T>>);
RESOLVENT_INSTANTIATE(float)
RESOLVENT_INSTANTIATE(double)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::ssm
