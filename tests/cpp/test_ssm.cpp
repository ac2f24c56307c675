#include <Eigen/LU>

#include <cmath>
#include <complex>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/fft.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/ssm.hpp"
#include "resolvent/ssm/response.hpp"
#include "resolvent/ssm/sums.hpp"
#include "resolvent/ssm/time.hpp"

using namespace resolvent;

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

/// Rounding errors of a sum of moderately many terms, relative to the largest result.
constexpr double kSum = 64.0;

std::mt19937 generator(7);

double uniform(double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(generator);
}

Matrix<Complex> random_matrix(Index rows, Index columns) {
  Matrix<Complex> m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = {uniform(-1, 1), uniform(-1, 1)};
  return m;
}

Matrix<double> random_real(Index rows, Index columns) {
  return random_matrix(rows, columns).real();
}

template <class T>
ConstRows<T> view(const Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}

/// A matrix as what the library reads, or writes.
template <class T>
struct View {
  Matrix<T>& m;
  operator ConstRows<T>() const { return {m.data(), m.rows(), m.cols()}; }
  operator Rows<T>() const { return {m.data(), m.rows(), m.cols()}; }
};

template <class T>
View<T> view(Matrix<T>& m) {
  return {m};
}

template <class M>
double largest(const M& m) {
  return m.size() > 0 ? m.cwiseAbs().maxCoeff() : 0.0;
}

struct ThreadGuard {
  explicit ThreadGuard(int count) : before(get_threads()) { set_threads(count); }
  ~ThreadGuard() { set_threads(before); }
  int before;
};

}  // namespace

TEST_CASE("roots of unity are those of long double arithmetic") {
  for (const Index n : {1, 2, 3, 7, 8, 12, 97, 1024, 16384}) {
    for (Index k = 0; k < n; k += (n > 100 ? 13 : 1)) {
      const auto z = math::root_of_unity<double>(k, n);
      const long double angle = -2.0L * 3.14159265358979323846264338327950288L *
                                static_cast<long double>(k) / static_cast<long double>(n);
      CHECK(std::abs(z.re - static_cast<double>(std::cos(angle))) <= 2 * kEps);
      CHECK(std::abs(z.im - static_cast<double>(std::sin(angle))) <= 2 * kEps);
    }
  }
}

TEST_CASE("transforms of any length are sums, and inverse to each other") {
  for (const Index n : {1, 2, 3, 16, 45, 97}) {
    const RealFft<double> fft(n);
    Vector<double> x = random_real(n, 1);
    Vector<Complex> spectrum(fft.bins());
    fft.forward(x.data(), spectrum.data());
    for (Index k = 0; k < fft.bins(); ++k) {
      Complex sum = 0.0;
      for (Index j = 0; j < n; ++j)
        sum += x[j] * std::polar(1.0, -2.0 * M_PI * double(j * k % n) / double(n));
      CHECK(std::abs(sum - spectrum[k]) <= kSum * kEps * double(n));
    }
    Vector<double> back(n);
    fft.backward(spectrum.data(), back.data());
    CHECK(largest(back / double(n) - x) <= kSum * kEps);
  }
  CHECK(fast_length(13, false) == 14);
  CHECK(fast_length(32767, true) == 32768);
  CHECK(fast_length(1, true) == 2);
  CHECK_THROWS_AS(RealFft<double>(0), InvalidArgument);
}

TEST_CASE("Cauchy sums equal the sums, whatever is shared between rows") {
  for (const auto terms : {ssm::Terms::single, ssm::Terms::conjugate}) {
    for (const Index shared : {0, 1}) {
      const Index rows = 3;
      const Index poles = 70;    // more than a tile
      const Index points = 300;  // more than two
      const Matrix<Complex> v = random_matrix(rows, poles);
      const Matrix<Complex> lambda = random_matrix(shared ? 1 : rows, poles);
      Matrix<Complex> z = random_matrix(shared ? 1 : rows, points);
      z.array() += 3.0;
      Matrix<Complex> out(rows, points);
      ssm::cauchy<double>(view(v), view(z), view(lambda), terms, view(out));
      Matrix<Complex> expected = Matrix<Complex>::Zero(rows, points);
      for (Index h = 0; h < rows; ++h) {
        for (Index k = 0; k < points; ++k) {
          for (Index n = 0; n < poles; ++n) {
            const Complex at = z(shared ? 0 : h, k);
            const Complex pole = lambda(shared ? 0 : h, n);
            expected(h, k) += v(h, n) / (at - pole);
            if (terms == ssm::Terms::conjugate) {
              expected(h, k) += std::conj(v(h, n)) / (at - std::conj(pole));
            }
          }
        }
      }
      CHECK(largest(out - expected) <= kSum * kEps * double(poles));
    }
  }
}

TEST_CASE("Vandermonde sums equal powers, across segments and threads") {
  const Index poles = 5;
  const Matrix<Complex> v = random_matrix(2, poles);
  Matrix<Complex> lambda(2, poles);
  for (Index i = 0; i < lambda.size(); ++i) {
    lambda.data()[i] = std::polar(1.0 - uniform(1e-5, 1e-4), uniform(-3, 3));
  }
  for (const Index length : {1, 7, 300, 70000}) {
    Matrix<Complex> out(2, length);
    ssm::vandermonde<double>(view(v), view(lambda), view(out));
    Matrix<double> real(2, length);
    ssm::vandermonde_real<double>(view(v), view(lambda), view(real));
    for (Index h = 0; h < 2; ++h) {
      for (Index k = 0; k < length; k += 1 + length / 50) {
        Complex sum = 0.0;
        for (Index n = 0; n < poles; ++n) sum += v(h, n) * std::pow(lambda(h, n), double(k));
        CHECK(std::abs(sum - out(h, k)) <= 8.0 * kEps * double(poles * (k + 1)));
        CHECK(std::abs(2.0 * sum.real() - real(h, k)) <= 16.0 * kEps * double(poles * (k + 1)));
      }
    }
    ThreadGuard guard(1);
    Matrix<Complex> again(2, length);
    ssm::vandermonde<double>(view(v), view(lambda), view(again));
    CHECK(out == again);
  }
}

TEST_CASE("adjoints of the sums are adjoint") {
  // Re⟨g, J dv⟩ = Re⟨Jᵀg, dv⟩ for the linear argument; the others by differences of 1e-6.
  const Index poles = 6;
  const Index points = 40;
  const Matrix<Complex> v = random_matrix(1, poles);
  const Matrix<Complex> lambda = random_matrix(1, poles);
  Matrix<Complex> z = random_matrix(1, points);
  z.array() += 3.0;
  const Matrix<Complex> g = random_matrix(1, points);
  const Matrix<Complex> dv = random_matrix(1, poles);
  const Matrix<Complex> dl = random_matrix(1, poles);
  const Matrix<Complex> dz = random_matrix(1, points);
  const auto inner = [](const Matrix<Complex>& a, const Matrix<Complex>& b) {
    return a.conjugate().cwiseProduct(b).sum().real();
  };
  for (const auto terms : {ssm::Terms::single, ssm::Terms::conjugate}) {
    const auto value = [&](const Matrix<Complex>& v1, const Matrix<Complex>& z1,
                           const Matrix<Complex>& l1) {
      Matrix<Complex> out(1, points);
      ssm::cauchy<double>(view(v1), view(z1), view(l1), terms, view(out));
      return inner(g, out);
    };
    Matrix<Complex> v_out(1, poles), z_out(1, points), l_out(1, poles);
    ssm::cauchy_adjoint<double>(view(v), view(z), view(lambda), view(g), terms, view(v_out),
                                view(z_out), view(l_out));
    CHECK(inner(v_out, dv) == Approx(value(dv, z, lambda)).epsilon(1e4 * kEps));
    const double h = 1e-6;
    const double by_l = (value(v, z, lambda + h * dl) - value(v, z, lambda - h * dl)) / (2 * h);
    CHECK(inner(l_out, dl) == Approx(by_l).epsilon(1e-7));
    const double by_z = (value(v, z + h * dz, lambda) - value(v, z - h * dz, lambda)) / (2 * h);
    CHECK(inner(z_out, dz) == Approx(by_z).epsilon(1e-7));
  }
}

TEST_CASE("convolution: sums, one transform and blocks of them agree") {
  for (const auto& [samples, taps] :
       std::vector<std::pair<Index, Index>>{{1, 1}, {5, 9}, {64, 64}, {1000, 3}, {30000, 40}}) {
    const Matrix<double> u = random_real(5, samples);
    for (const Index kernels : {1, 5}) {
      const Matrix<double> kernel = random_real(kernels, taps);
      Matrix<double> fast(5, samples), slow(5, samples);
      ssm::convolve<double>(view(u), view(kernel), ssm::ConvolutionMethod::fft, view(fast));
      ssm::convolve<double>(view(u), view(kernel), ssm::ConvolutionMethod::direct, view(slow));
      CHECK(largest(fast - slow) <= kSum * kEps * std::sqrt(double(taps) * double(samples)));
      for (Index k = 0; k < samples; k += 1 + samples / 7) {
        double sum = 0.0;
        for (Index j = 0; j < std::min(taps, k + 1); ++j) {
          sum += kernel(kernels == 1 ? 0 : 4, j) * u(4, k - j);
        }
        CHECK(std::abs(sum - slow(4, k)) <= 2 * kEps * double(taps));
      }
    }
  }
}

TEST_CASE("scans, short and long, forwards and backwards, equal the loop") {
  for (const auto& [rows, samples] :
       std::vector<std::pair<Index, Index>>{{1, 1}, {9, 50}, {2, 200000}}) {
    Matrix<Complex> a = random_matrix(rows, samples) * 0.7;
    const Matrix<Complex> b = random_matrix(rows, samples);
    const Vector<Complex> x0 = random_matrix(rows, 1);
    for (const bool reverse : {false, true}) {
      Matrix<Complex> x(rows, samples);
      ssm::scan<Complex>(view(a), view(b), x0.data(), reverse, view(x));
      double worst = 0.0;
      for (Index h = 0; h < rows; ++h) {
        Complex value = x0[h];
        for (Index i = 0; i < samples; ++i) {
          const Index k = reverse ? samples - 1 - i : i;
          value = a(h, k) * value + b(h, k);
          worst = std::max(worst, std::abs(value - x(h, k)));
        }
      }
      CHECK(worst <= kSum * kEps);
      ThreadGuard guard(1);
      Matrix<Complex> again(rows, samples);
      ssm::scan<Complex>(view(a), view(b), x0.data(), reverse, view(again));
      CHECK(x == again);
    }
  }
}

TEST_CASE("Hyman's method solves, also for what the input does not reach") {
  for (const Index order : {1, 2, 3, 30}) {
    Matrix<Complex> A = random_matrix(order, order);
    if (order == 30) {  // the input does not reach the last ten states
      A.bottomLeftCorner(10, 20).setZero();
    }
    Vector<Complex> B = random_matrix(order, 1);
    if (order == 30) B.tail(10).setZero();
    const Matrix<Complex> C = random_matrix(2, order);
    const Matrix<Complex> zeta = random_matrix(1, 37) * 10.0;
    Matrix<Complex> out(2, 37);
    ssm::frequency_response<Complex>(view(A), {B.data(), order}, view(C), {zeta.data(), 37},
                                     view(out));
    for (Index k = 0; k < 37; ++k) {
      const Matrix<Complex> pencil = zeta(0, k) * Matrix<Complex>::Identity(order, order) - A;
      const Eigen::FullPivLU<Eigen::MatrixXcd> lu{Eigen::MatrixXcd(pencil)};
      const Vector<Complex> expected = C * lu.solve(Eigen::VectorXcd(B));
      const double bound = kSum * kEps * double(order) / lu.rcond();
      CHECK(largest(expected - out.col(k)) <= bound * std::max(1.0, largest(expected)));
    }
  }
}

TEST_CASE("a kernel by powers, by steps and by the circle") {
  const Index order = 6;
  const Index length = 50;
  // A continuous diagonal-plus-low-rank model with conjugate pairs, one of each kept.
  ssm::DplrModel model;
  model.eigenvalues.resize(3);
  model.eigenvalues << Complex(-0.5, 4.0), Complex(-0.6, 1.5), Complex(-0.7, 0.3);
  model.B = random_matrix(3, 1);
  model.C = random_matrix(3, 1);
  model.P = 0.3 * random_matrix(1, 3);
  model.Q = model.P;
  model.weight = Vector<double>::Constant(3, 2.0);
  model.real = true;
  // The same as a dense one.
  const auto both = [](const Vector<Complex>& half) {
    Vector<Complex> full(6);
    full << half, half.conjugate();
    return full;
  };
  const Vector<Complex> p = both(model.P.row(0).transpose());
  const Matrix<Complex> A =
      Matrix<Complex>(both(model.eigenvalues).asDiagonal()) - Matrix<Complex>(p * p.adjoint());
  const double step = 0.1;
  const Matrix<Complex> identity = Matrix<Complex>::Identity(order, order);
  const Eigen::MatrixXcd implicit = (identity - 0.5 * step * A);
  const Matrix<Complex> Abar = implicit.inverse() * Eigen::MatrixXcd(identity + 0.5 * step * A);
  const Vector<Complex> Bbar = implicit.inverse() * Eigen::VectorXcd(step * both(model.B));
  const Matrix<Complex> C = both(model.C).transpose();

  Matrix<Complex> expected(1, length);
  Vector<Complex> x = Bbar;
  for (Index k = 0; k < length; ++k) {
    expected(0, k) = (C * x)(0);
    x = (Abar * x).eval();
  }
  Checkpoint checkpoint;
  Matrix<Complex> powers(1, length);
  ssm::power_kernel<Complex>(view(Abar), {Bbar.data(), order}, view(C), view(powers), checkpoint);
  const double bound = kSum * kEps * double(length) * largest(expected);
  CHECK(largest(powers - expected) <= bound);

  // C(I − A^L) makes the L-periodic kernel the kernel.
  Matrix<Complex> rest(1, order);
  ssm::power_action<Complex>(view(C), view(Abar), length, view(rest));
  ssm::DplrModel truncated = model;
  truncated.C = (C - rest).row(0).head(3).transpose();
  const ssm::DplrResponse response(truncated);
  const ssm::CircleNodes nodes(length, 0.5, true);
  const Complex gain(2.0 * truncated.C.cwiseProduct(truncated.B).sum().real());
  Matrix<double> circle(1, length);
  ssm::circle_kernels<double>(
      nodes, {&step, 1}, {&gain, 1}, 1e6,
      [&](Index, std::span<const Complex> s, std::span<Complex> out) { response.evaluate(s, out); },
      view(circle));
  CHECK(largest(circle.cast<Complex>() - expected) <= bound);
}
