#include <algorithm>
#include <cmath>
#include <vector>

#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/ssm/time.hpp"

namespace resolvent::ssm {
namespace {

/// Real and imaginary parts apart, so that loops over the state vectorise.
struct Split {
  Vector<double> re;
  Vector<double> im;

  Split() = default;
  template <class Derived>
  explicit Split(const Eigen::MatrixBase<Derived>& values) : re(values.real()), im(values.imag()) {}
};

/// Σ_j a_j x_j.
Complex dot(const Split& a, const Split& x) {
  const Index size = a.re.size();
  double re = 0.0;
  double im = 0.0;
#pragma omp simd reduction(+ : re, im)
  for (Index j = 0; j < size; ++j) {
    re += a.re[j] * x.re[j] - a.im[j] * x.im[j];
    im += a.re[j] * x.im[j] + a.im[j] * x.re[j];
  }
  return {re, im};
}

/// x += s·a.
void add_multiple(Complex s, const Split& a, Split& x) {
  const double s_re = s.real();
  const double s_im = s.imag();
  const Index size = a.re.size();
#pragma omp simd
  for (Index j = 0; j < size; ++j) {
    x.re[j] += s_re * a.re[j] - s_im * a.im[j];
    x.im[j] += s_re * a.im[j] + s_im * a.re[j];
  }
}

/// x ← λ∘x + u·b.
void step_diagonal(const Split& lambda, const Split& b, Complex u, Split& x) {
  const double u_re = u.real();
  const double u_im = u.imag();
  const Index size = lambda.re.size();
#pragma omp simd
  for (Index j = 0; j < size; ++j) {
    const double re = lambda.re[j] * x.re[j] - lambda.im[j] * x.im[j];
    const double im = lambda.re[j] * x.im[j] + lambda.im[j] * x.re[j];
    x.re[j] = re + (u_re * b.re[j] - u_im * b.im[j]);
    x.im[j] = im + (u_re * b.im[j] + u_im * b.re[j]);
  }
}

constexpr Index kStepsPerPoll = 4096;

}  // namespace

void run_diagonal(const DiagonalStep& step, const Complex* u, Index length, Complex* y,
                  Complex* state, Checkpoint& checkpoint) {
  const Index size = step.eigenvalues.size();
  const Index rank = step.P.rows();
  const auto weighted = [&](auto&& row) {
    return Split(row.transpose().cwiseProduct(step.weight.template cast<Complex>()));
  };
  const Split lambda(step.eigenvalues);
  const Split b(step.B);
  const Split c = weighted(step.C.transpose());
  std::vector<Split> p, q;
  for (Index i = 0; i < rank; ++i) {
    p.emplace_back((-step.P.row(i)).transpose());
    q.push_back(weighted(step.Q.row(i).conjugate()));
  }
  Split x(Eigen::Map<const Vector<Complex>>(state, size));
  std::vector<Complex> feedback(static_cast<std::size_t>(rank));
  for (Index k = 0; k < length; ++k) {
    if (k % kStepsPerPoll == 0) checkpoint();
    for (Index i = 0; i < rank; ++i) {
      const Complex sum = dot(q[i], x);
      feedback[i] = step.real ? Complex(sum.real()) : sum;
    }
    step_diagonal(lambda, b, u == nullptr ? Complex(0.0) : u[k], x);
    for (Index i = 0; i < rank; ++i) add_multiple(feedback[i], p[i], x);
    if (y == nullptr) continue;
    const Complex sum = dot(c, x);
    y[k] = step.real ? Complex(sum.real()) : sum;
  }
  for (Index j = 0; j < size; ++j) state[j] = {x.re[j], x.im[j]};
}

template <class T>
void run_dense(ConstRows<T> A, ConstVectorView<T> B, ConstVectorView<T> C, ConstRows<T> u,
               Rows<T> y, Rows<T> state) {
  // Channels side by side, so that every entry of A is read once for all of them.
  constexpr Index kTogether = 16;
  const Index channels = u.rows();
  const Index order = A.rows();
  const double work = 2.0 * static_cast<double>(channels) * static_cast<double>(u.cols()) *
                      static_cast<double>(order) * static_cast<double>(order);
  parallel_for((channels + kTogether - 1) / kTogether, work, [&](Index i, Checkpoint& checkpoint) {
    const Index first = i * kTogether;
    const Index some = std::min(kTogether, channels - first);
    if (some == 1) {
      Vector<T> x = state.row(first).transpose();
      Vector<T> next(order);
      for (Index k = 0; k < u.cols(); ++k) {
        if (k % 64 == 0) checkpoint();
        next.noalias() = A * x;
        next += u(first, k) * B;
        x.swap(next);
        y(first, k) = C.cwiseProduct(x).sum();
      }
      state.row(first) = x.transpose();
      return;
    }
    Matrix<T> x = state.middleRows(first, some).transpose();
    Matrix<T> next(order, some);
    for (Index k = 0; k < u.cols(); ++k) {
      if (k % 16 == 0) checkpoint();
      next.noalias() = A * x;
      next.noalias() += B * u.col(k).segment(first, some).transpose();
      x.swap(next);
      y.col(k).segment(first, some).noalias() = (C.transpose() * x).transpose();
    }
    state.middleRows(first, some) = x.transpose();
  });
}

template <class T>
void power_action(ConstRows<T> C, ConstRows<T> A, Index exponent, Rows<T> out) {
  Matrix<T> rows = C;
  Matrix<T> square = A;
  Checkpoint checkpoint;
  for (Index rest = exponent; rest > 0; rest >>= 1) {
    checkpoint();
    if (rest & 1) rows = (rows * square).eval();
    if (rest > 1) square = (square * square).eval();
  }
  out = rows;
}

template <class T>
void power_kernel(ConstRows<T> A, ConstVectorView<T> B, ConstRows<T> C, Rows<T> out,
                  Checkpoint& checkpoint) {
  const Index length = out.cols();
  if (length == 0) return;
  const Index order = A.rows();
  // A power of two, so that the power A^size takes squarings only.
  Index size = 1;
  while (size * size < length) size *= 2;
  const Index blocks = (length + size - 1) / size;
  Matrix<T> images(size, order);  // row j: A^j B
  images.row(0) = B.transpose();
  Matrix<T> power = A.transpose();
  for (Index done = 1; done < size; done *= 2) {
    checkpoint();
    images.middleRows(done, done).noalias() = images.topRows(done) * power;
    power = (power * power).eval();
  }
  // Now power is the transpose of A^size, and column r of `rows` becomes C_r A^{i·size}.
  Matrix<T> rows = C.transpose();
  for (Index i = 0; i < blocks; ++i) {
    checkpoint();
    const Index first = i * size;
    const Index count = std::min(size, length - first);
    out.middleCols(first, count).noalias() = (images.topRows(count) * rows).transpose();
    if (i + 1 < blocks) rows = (power * rows).eval();
  }
}

#define RESOLVENT_INSTANTIATE(T)                                                                 \
  template void run_dense<T>(ConstRows<T>, ConstVectorView<T>, ConstVectorView<T>, ConstRows<T>, \
                             Rows<T>, Rows<T>);                                                  \
  template void power_action<T>(ConstRows<T>, ConstRows<T>, Index, Rows<T>);                     \
  template void power_kernel<T>(ConstRows<T>, ConstVectorView<T>, ConstRows<T>, Rows<T>,         \
                                Checkpoint&);
RESOLVENT_INSTANTIATE(double)
RESOLVENT_INSTANTIATE(Complex)
#undef RESOLVENT_INSTANTIATE

}  // namespace resolvent::ssm
