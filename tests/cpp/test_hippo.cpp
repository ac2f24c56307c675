// The core against dense linear algebra and closed forms. The wider comparison, with 50-digit
// arithmetic and brute-force quadrature, is in tests/python.

#include <Eigen/LU>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/hippo/memory.hpp"
#include "resolvent/hippo/projection.hpp"
#include "resolvent/hippo/propagator.hpp"
#include "resolvent/hippo/system.hpp"

namespace hp = resolvent::hippo;
using hp::Measure;
using hp::Normalization;
using hp::Rule;
using resolvent::Complex;
using resolvent::Index;
using resolvent::Matrix;
using resolvent::Vector;

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

hp::System make(Measure measure, Index order, double window = 1.0) {
  hp::Config config;
  config.measure = measure;
  config.order = order;
  config.window = window;
  if (measure == Measure::malmquist) {
    config.poles = Vector<double>::LinSpaced(order, 0.3, 2.0);
  }
  return hp::System(config);
}

const std::vector<Measure> kAll{Measure::legs, Measure::legt, Measure::lagt,     Measure::glagt,
                                Measure::fout, Measure::fous, Measure::malmquist};
const std::vector<Index> kOrders{1, 2, 3, 5, 8, 33};

template <class T>
Matrix<T> random_rows(Index rows, Index columns, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal;
  Matrix<T> m(rows, columns);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = static_cast<T>(normal(engine));
  return m;
}

template <class T>
resolvent::ConstRows<T> view(const Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}

template <class T>
resolvent::Rows<T> view(Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}

template <class T>
Matrix<T> final_state(hp::Memory<T>& memory, const Matrix<T>& u) {
  memory.update(view(u));
  Matrix<T> out(memory.channels(), memory.order());
  memory.coefficients(view(out));
  return out;
}

/// One dense step, written from the definitions of the rules.
Vector<double> dense_step(const hp::System& s, Rule rule, double k, double step,
                          const Vector<double>& x, double u) {
  const Index N = s.order();
  const Matrix<double> A = s.A(), I = Matrix<double>::Identity(N, N);
  const Vector<double> B = s.B();
  const bool scaled = s.clock() == hp::Clock::scaled;
  if (scaled && k == 0.0) return s.steady() * u;
  const double p = scaled ? 1.0 / k : step;
  const double q = scaled ? 1.0 / (k + 1.0) : step;
  const auto implicit = [&](double nu, const Vector<double>& rhs) -> Vector<double> {
    return (I - nu * A).partialPivLu().solve(rhs);
  };
  switch (rule) {
    case Rule::forward:
      return x + p * (A * x + B * u);
    case Rule::backward:
      return implicit(q, x + q * B * u);
    case Rule::bilinear:
      return implicit(0.5 * q, x + 0.5 * p * (A * x) + p * B * u);
    case Rule::bilinear_split:
      return implicit(0.5 * q, x + 0.5 * p * (A * x) + 0.5 * (p + q) * B * u);
    case Rule::gbt:  // weight 0.7
      return implicit(0.7 * q, x + 0.3 * p * (A * x) + (0.3 * p + 0.7 * q) * B * u);
    default: {
      const double t = rule == Rule::zoh ? q : (scaled ? std::log1p(p) : step);
      const auto e = hp::propagator(A, B, t);
      return e.phi * x + e.gamma * u;
    }
  }
}

/// A hundred times rounding per step and coefficient, relative to the largest coefficient.
double bound(const Matrix<double>& x, Index steps) {
  return 100.0 * kEps * double(steps) * double(x.cols()) * std::max(1.0, x.cwiseAbs().maxCoeff());
}

}  // namespace

TEST_CASE("apply and solve are the dense operations", "[hippo]") {
  for (const Measure measure : kAll) {
    for (const Index N : kOrders) {
      const auto s = make(measure, N, 1.7);
      const Matrix<double> A = s.A();
      const Matrix<double> x = random_rows<double>(3, N, 1);
      Matrix<double> y(3, N);
      s.apply<double>(view(x), view(y));
      const double size = A.cwiseAbs().maxCoeff() * x.cwiseAbs().maxCoeff();
      CHECK((y - x * A.transpose()).cwiseAbs().maxCoeff() <= 16.0 * kEps * double(N) * size);

      for (const double lambda : {0.4, 0.0, -0.043}) {
        const Matrix<double> shifted = Matrix<double>::Identity(N, N) - lambda * A;
        s.solve<double>(lambda, view(x), view(y));
        const double residual = (y * shifted.transpose() - x).cwiseAbs().maxCoeff();
        const double scale = shifted.cwiseAbs().maxCoeff() * y.cwiseAbs().maxCoeff() + 1.0;
        CHECK(residual <= 64.0 * kEps * double(N) * scale);
      }
      const Complex lambda(0.2, 0.9);
      const Matrix<Complex> v = x.cast<Complex>();
      Matrix<Complex> z(3, N);
      s.solve<Complex>(lambda, view(v), view(z));
      const Matrix<Complex> shifted = Matrix<Complex>::Identity(N, N) - lambda * A.cast<Complex>();
      const double residual = (z * shifted.transpose() - v).cwiseAbs().maxCoeff();
      CHECK(residual <=
            64.0 * kEps * double(N) * (shifted.cwiseAbs().maxCoeff() * z.cwiseAbs().maxCoeff()));
    }
  }
}

TEST_CASE("a constant signal is a fixed point", "[hippo]") {
  for (const Measure measure : kAll) {
    const auto s = make(measure, 9);
    const Vector<double> rest = s.A() * s.steady() + s.B();
    CHECK(rest.cwiseAbs().maxCoeff() <= 200.0 * kEps * s.A().cwiseAbs().maxCoeff());
  }
}

TEST_CASE("every rule is the dense recurrence", "[hippo]") {
  const Index steps = 75;
  for (const Measure measure : kAll) {
    for (const Index N : {1, 2, 5, 12}) {
      const auto s = make(measure, N, 20.0);
      for (const Rule rule : {Rule::forward, Rule::backward, Rule::bilinear, Rule::bilinear_split,
                              Rule::gbt, Rule::zoh, Rule::exact}) {
        if (rule == Rule::forward && N > 5) continue;  // amplifies rounding
        for (const Index channels : {1, 2, 17}) {
          const Matrix<double> u = random_rows<double>(channels, steps, 7);
          hp::Memory<double> memory(s, rule, 0.7, 0.5, channels);
          const Matrix<double> x = final_state(memory, u);
          Vector<double> expected = Vector<double>::Zero(N);
          for (Index k = 0; k < steps; ++k) {
            expected = dense_step(s, rule, double(k), 0.5, expected, u(channels - 1, k));
          }
          const double growth = rule == Rule::forward ? 1e4 : 1.0;
          const double error = (x.row(channels - 1).transpose() - expected).cwiseAbs().maxCoeff();
          CHECK(error <= growth * bound(x, steps));
        }
      }
    }
  }
}

TEST_CASE("blocks, neighbours and threads change no bit", "[hippo][threads]") {
  const Index L = 150;
  for (const Measure measure : {Measure::legs, Measure::legt, Measure::glagt, Measure::fout}) {
    const auto s = make(measure, 21, 64.0);
    const Matrix<double> u = random_rows<double>(37, L, 3);
    hp::Memory<double> whole(s, Rule::bilinear, 0.5, 1.0, 37);
    const Matrix<double> expected = final_state(whole, u);

    hp::Memory<double> pieces(s, Rule::bilinear, 0.5, 1.0, 37);
    Index done = 0;
    for (const Index length : {1, 1, 31, 64, 2, 51}) {
      const Matrix<double> block = u.middleCols(done, length);
      pieces.update(view(block));
      done += length;
    }
    Matrix<double> out(37, 21);
    pieces.coefficients(view(out));
    CHECK(std::memcmp(out.data(), expected.data(), sizeof(double) * out.size()) == 0);

    for (const Index channel : {0, 20, 36}) {  // alone: the wavefront instead of the tile
      const Matrix<double> row = u.row(channel);
      hp::Memory<double> alone(s, Rule::bilinear, 0.5, 1.0, 1);
      const Matrix<double> single = final_state(alone, row);
      CHECK((single.row(0).array() == expected.row(channel).array()).all());
    }

    const int before = resolvent::get_threads();
    resolvent::set_threads(3);
    hp::Memory<double> threaded(s, Rule::bilinear, 0.5, 1.0, 37);
    const Matrix<double> again = final_state(threaded, u);
    resolvent::set_threads(before);
    CHECK((again.array() == expected.array()).all());
  }
}

TEST_CASE("exact LegS is the L2 projection, whichever algorithm takes the step", "[hippo]") {
  // Order 3 steps by quadrature throughout, order 120 by Taylor sub-steps once k is large.
  for (const Index N : {1, 3, 120}) {
    const Index L = 9000;
    const auto s = make(Measure::legs, N);
    const Matrix<double> u = random_rows<double>(1, L, 11);
    hp::Memory<double> memory(s, Rule::exact, 0.5, 1.0, 1);
    const Matrix<double> x = final_state(memory, u);
    std::vector<double> edges(L + 1);
    for (Index k = 0; k <= L; ++k) edges[std::size_t(k)] = double(k);
    const std::vector<double> at{double(L)};
    Matrix<double> expected(1, N);
    hp::optimal(s, view(u), edges, at, view(expected));
    CHECK((x - expected).cwiseAbs().maxCoeff() <= 8.0 * kEps * double(L));
  }
}

TEST_CASE("impulse responses have their closed forms", "[hippo]") {
  const Index N = 12;
  const double t = 0.8;
  const auto legs = make(Measure::legs, N);
  const Vector<double> e = hp::propagator(legs.A(), legs.B(), t).phi * legs.B();
  const double z = 2.0 * std::exp(-t) - 1.0;  // e^{tA}B = r_n e^{−t} P_n(2e^{−t} − 1)
  for (Index n = 0; n < N; ++n) {
    const double expected =
        std::sqrt(2.0 * double(n) + 1.0) * std::exp(-t) * std::legendre(unsigned(n), z);
    CHECK(std::abs(e[n] - expected) <= 1000.0 * kEps * double(N));
  }
  const auto lagt = make(Measure::lagt, N);
  const Vector<double> l = hp::propagator(lagt.A(), lagt.B(), t).phi * lagt.B();
  for (Index n = 0; n < N; ++n) {
    const double expected = std::laguerre(unsigned(n), t) * std::exp(-0.5 * t);
    CHECK(std::abs(l[n] - expected) <= 1000.0 * kEps);
  }
}

TEST_CASE("a trajectory passes through the states of shorter signals", "[hippo]") {
  const auto s = make(Measure::legt, 6, 30.0);
  const Matrix<float> u = random_rows<float>(5, 47, 2);
  hp::Memory<float> memory(s, Rule::bilinear, 0.5, 1.0, 5);
  Matrix<float> path(5 * 4, 6);
  memory.update(view(u), {}, 10, view(path));
  for (Index i = 0; i < 4; ++i) {
    hp::Memory<float> shorter(s, Rule::bilinear, 0.5, 1.0, 5);
    const Matrix<float> head = u.leftCols(10 * (i + 1));
    const Matrix<float> x = final_state(shorter, head);
    for (Index c = 0; c < 5; ++c) CHECK((x.row(c).array() == path.row(4 * c + i).array()).all());
  }
}

TEST_CASE("what cannot be is refused, and changes nothing", "[hippo]") {
  CHECK_THROWS_AS(make(Measure::legs, 0), resolvent::InvalidArgument);
  CHECK_THROWS_AS(make(Measure::legt, 3, -1.0), resolvent::InvalidArgument);
  CHECK_THROWS_AS(make(Measure::legs, 3).with(Normalization::lmu), resolvent::InvalidArgument);
  hp::Memory<double> memory(make(Measure::legs, 3), Rule::bilinear, 0.5, 1.0, 2);
  const Matrix<double> u = random_rows<double>(2, 4, 5);
  memory.update(view(u));
  const auto before = memory.state();
  const std::vector<double> backwards{5.0, 4.5, 6.0, 7.0};
  CHECK_THROWS_AS(memory.update(view(u), backwards), resolvent::InvalidArgument);
  const Matrix<double> wrong = random_rows<double>(3, 4, 5);
  CHECK_THROWS_AS(memory.update(view(wrong)), resolvent::ShapeMismatch);
  CHECK(memory.state() == before);
  CHECK(memory.time() == 4.0);
}
