#include <algorithm>

#include "pair.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/ssm.hpp"
#include "resolvent/ssm/sums.hpp"

namespace resolvent::ssm {
namespace {

constexpr Index kLanes = 8;     // points side by side
constexpr Index kTogether = 4;  // sums that share a pass over the poles, in registers

/// Operations of one term: a division and some twenty others.
constexpr double kWorkPerTerm = 30.0;

/// Points side by side, the last one repeated where there are fewer.
struct Points {
  Points(const Complex* z, Index count) {
    for (Index l = 0; l < kLanes; ++l) {
      re[l] = z[std::min(l, count - 1)].real();
      im[l] = z[std::min(l, count - 1)].imag();
    }
  }

  double re[kLanes];
  double im[kLanes];
};

/// The first `count` of kLanes numbers.
template <class T>
void interleave(const double* re, const double* im, Index count, std::complex<T>* out) {
  std::complex<T> all[kLanes];
  for (Index l = 0; l < kLanes; ++l) all[l] = {static_cast<T>(re[l]), static_cast<T>(im[l])};
  std::copy_n(all, count, out);
}

/// `count` sums at kLanes points. A term has two coefficients per sum: −2Im(c)μ and 2Re(c) for
/// conjugate terms, Re(c) and Im(c) for single ones.
template <int count, Terms terms>
void sum_terms(const Vector<Complex>& eigenvalues, const double* coefficients, const Points& z,
               double (*re)[kLanes], double (*im)[kLanes]) {
  double sum_re[count][kLanes] = {};
  double sum_im[count][kLanes] = {};
  for (Index n = 0; n < eigenvalues.size(); ++n) {
    const double a = eigenvalues[n].real();
    const double mu = eigenvalues[n].imag();
    const double* c = coefficients + 2 * count * n;
#pragma omp simd
    for (Index l = 0; l < kLanes; ++l) {
      const double from = z.re[l] - a;
      if constexpr (terms == Terms::conjugate) {
        const auto r = math::pair_reciprocal(from, z.im[l] - mu, z.im[l] + mu);
        const double shifted_re = from * r.re - z.im[l] * r.im;
        const double shifted_im = from * r.im + z.im[l] * r.re;
        for (int s = 0; s < count; ++s) {
          sum_re[s][l] += c[2 * s] * r.re + c[2 * s + 1] * shifted_re;
          sum_im[s][l] += c[2 * s] * r.im + c[2 * s + 1] * shifted_im;
        }
      } else {
        const auto r = math::reciprocal(from, z.im[l] - mu);
        for (int s = 0; s < count; ++s) {
          sum_re[s][l] += c[2 * s] * r.re - c[2 * s + 1] * r.im;
          sum_im[s][l] += c[2 * s] * r.im + c[2 * s + 1] * r.re;
        }
      }
    }
  }
  for (int s = 0; s < count; ++s) {
    std::copy_n(sum_re[s], kLanes, re[s]);
    std::copy_n(sum_im[s], kLanes, im[s]);
  }
}

template <Terms terms>
void sum_terms(Index count, const Vector<Complex>& eigenvalues, const double* coefficients,
               const Points& z, double (*re)[kLanes], double (*im)[kLanes]) {
  switch (count) {
    case 1:
      return sum_terms<1, terms>(eigenvalues, coefficients, z, re, im);
    case 2:
      return sum_terms<2, terms>(eigenvalues, coefficients, z, re, im);
    case 3:
      return sum_terms<3, terms>(eigenvalues, coefficients, z, re, im);
    default:
      return sum_terms<4, terms>(eigenvalues, coefficients, z, re, im);
  }
}

}  // namespace

template <class T>
CauchySums<T>::CauchySums(ConstRows<std::complex<T>> coefficients,
                          std::span<const Complex> eigenvalues, Terms terms)
    : terms_(terms), sums_(coefficients.rows()) {
  const auto poles = static_cast<Index>(eigenvalues.size());
  eigenvalues_ = ConstVectorView<Complex>(eigenvalues.data(), poles);
  // Groups of kTogether sums one after the other; within one, the sums' pairs of every pole.
  coefficients_.resize(2 * sums_ * poles);
  double* target = coefficients_.data();
  for (Index first = 0; first < sums_; first += kTogether) {
    for (Index n = 0; n < poles; ++n) {
      for (Index s = first; s < std::min(first + kTogether, sums_); ++s) {
        const Complex c(coefficients(s, n));
        const bool pair = terms == Terms::conjugate;
        *target++ = pair ? -2.0 * c.imag() * eigenvalues_[n].imag() : c.real();
        *target++ = pair ? 2.0 * c.real() : c.imag();
      }
    }
  }
}

template <class T>
void CauchySums<T>::evaluate(std::span<const Complex> z, Rows<std::complex<T>> out) const {
  const auto points = static_cast<Index>(z.size());
  double re[kTogether][kLanes];
  double im[kTogether][kLanes];
  for (Index k = 0; k < points; k += kLanes) {
    const Index some = std::min(kLanes, points - k);
    const Points at(z.data() + k, some);
    for (Index first = 0; first < sums_; first += kTogether) {
      const Index count = std::min(kTogether, sums_ - first);
      const double* coefficients = coefficients_.data() + 2 * first * eigenvalues_.size();
      if (terms_ == Terms::conjugate) {
        sum_terms<Terms::conjugate>(count, eigenvalues_, coefficients, at, re, im);
      } else {
        sum_terms<Terms::single>(count, eigenvalues_, coefficients, at, re, im);
      }
      for (Index s = 0; s < count; ++s) {
        interleave(re[s], im[s], some, &out(first + s, k));
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
  constexpr Index kSpan = 1024;
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
