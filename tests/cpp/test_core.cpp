#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/matrix_functions.hpp"
#include "resolvent/core/quadrature.hpp"
#include "resolvent/core/threads.hpp"

using resolvent::Complex;
using resolvent::Index;
using resolvent::Matrix;

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

/// Sets the thread count for one scope.
class Threads {
 public:
  explicit Threads(int count) : before_(resolvent::get_threads()) { resolvent::set_threads(count); }
  ~Threads() { resolvent::set_threads(before_); }

 private:
  int before_;
};

/// Installs an interrupt poll for one scope.
class Poll {
 public:
  explicit Poll(resolvent::InterruptPoll poll) { resolvent::set_interrupt_poll(poll); }
  ~Poll() { resolvent::set_interrupt_poll(nullptr); }
};

constexpr double kMuchWork = 1e12;

}  // namespace

TEST_CASE("Gauss-Legendre rules integrate polynomials exactly", "[core]") {
  for (const Index count : {1, 2, 3, 8, 65, 400}) {
    const auto rule = resolvent::gauss_legendre(count);
    CHECK(std::abs(rule.weights.sum() - 2.0) <= 8.0 * kEps * std::sqrt(double(count)));
    for (Index i = 1; i < count; ++i) CHECK(rule.nodes[i - 1] < rule.nodes[i]);
    for (Index i = 0; i < count; ++i) CHECK(rule.nodes[i] == -rule.nodes[count - 1 - i]);
    // ∫ (1+x)^p dx = 2^{p+1}/(p+1); the relative error of (1+x)^p grows with p.
    for (Index p = 0; p <= std::min<Index>(2 * count - 1, 60); ++p) {
      const double exact = std::ldexp(1.0, int(p) + 1) / double(p + 1);
      const double sum = (rule.weights.array() * (1.0 + rule.nodes.array()).pow(double(p))).sum();
      CHECK(std::abs(sum - exact) <= 8.0 * kEps * double(p + 2) * exact);
    }
  }
}

TEST_CASE("Gauss-Legendre end nodes and weights keep their relative accuracy", "[core]") {
  // 50-digit values for 64 nodes: 1 − x of the last node, its weight.
  const auto rule = resolvent::gauss_legendre(64);
  CHECK(std::abs(rule.weights[63] / 0.0017832807216964329473 - 1.0) <= 64.0 * kEps);
  CHECK(rule.nodes[63] == Approx(0.99930504173577213946).epsilon(2.0 * kEps));
}

TEST_CASE("Gauss-Legendre rules need a node", "[core]") {
  CHECK_THROWS_AS(resolvent::gauss_legendre(0), resolvent::InvalidArgument);
}

TEST_CASE("parallel_for calls every index once, with any number of threads", "[core][threads]") {
  for (const int threads : {1, 2, 7}) {
    const Threads scope(threads);
    std::vector<std::atomic<int>> calls(1000);
    resolvent::parallel_for(1000, kMuchWork, [&](Index i, resolvent::Checkpoint& checkpoint) {
      checkpoint();
      ++calls[std::size_t(i)];
    });
    for (const auto& count : calls) CHECK(count == 1);
  }
}

TEST_CASE("parallel_for throws again what a call threw", "[core][threads]") {
  for (const int threads : {1, 4}) {
    const Threads scope(threads);
    const auto fail = [](Index i, resolvent::Checkpoint& checkpoint) {
      checkpoint();
      if (i == 13) throw resolvent::NotConverged("thirteen");
    };
    CHECK_THROWS_AS(resolvent::parallel_for(100, kMuchWork, fail), resolvent::NotConverged);
  }
}

TEST_CASE("long work stops when the caller asks for it", "[core][threads]") {
  const Poll scope([] { return true; });
  for (const int threads : {1, 4}) {
    const Threads team(threads);
    std::atomic<long> calls{0};
    const auto endless = [&](Index, resolvent::Checkpoint& checkpoint) {
      for (long k = 0; k < 1'000'000'000L; ++k) {
        checkpoint();
        ++calls;
      }
    };
    CHECK_THROWS_AS(resolvent::parallel_for(8, kMuchWork, endless), resolvent::Interrupted);
    CHECK(calls > 0);
  }
}

namespace {

/// A matrix with entries of both signs, from a fixed congruential sequence.
Matrix<double> scrambled(Index size) {
  Matrix<double> A(size, size);
  unsigned state = 12345;
  for (Index i = 0; i < A.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    A.data()[i] = double(state >> 8) / double(1u << 23) - 1.0;
  }
  return A;
}

}  // namespace

TEST_CASE("exponentials of Jordan blocks have their closed form", "[core]") {
  for (const double lambda : {-30.0, -1.0, 0.0, 2.0}) {
    Matrix<double> A = Matrix<double>::Zero(6, 6);
    A.diagonal().setConstant(lambda);
    A.diagonal(1).setOnes();
    for (const bool transposed : {false, true}) {
      const Matrix<double> E = resolvent::exponential<double>(transposed ? A.transpose() : A);
      double factorial = 1.0;
      for (Index k = 0; k < 6; ++k) {
        factorial *= k > 0 ? double(k) : 1.0;
        const double exact = std::exp(lambda) / factorial;
        for (Index n = 0; n + k < 6; ++n) {
          const double upper = transposed ? E(n + k, n) : E(n, n + k);
          // Every squaring (log2 of the norm) doubles a relative error of a few eps.
          CHECK(std::abs(upper - exact) <=
                8.0 * kEps * (1.0 + std::abs(lambda)) * std::exp(lambda));
          if (k > 0) CHECK((transposed ? E(n, n + k) : E(n + k, n)) == 0.0);
        }
      }
    }
  }
}

TEST_CASE("exponentials of opposite matrices are inverses, in every form", "[core]") {
  const Index N = 70;  // more than one panel of a product
  const Matrix<double> A = scrambled(N);
  const Matrix<double> I = Matrix<double>::Identity(N, N);
  const Matrix<double> forms[] = {0.2 * A, Matrix<double>(A.triangularView<Eigen::Lower>()) * 0.2,
                                  Matrix<double>(A.triangularView<Eigen::Upper>()) * 0.2,
                                  0.1 * (A + A.transpose()), 0.3 * (A - A.transpose())};
  for (const Matrix<double>& form : forms) {
    const Matrix<double> E = resolvent::exponential(form);
    const Matrix<double> inverse = resolvent::exponential<double>(-form);
    const double size = E.norm() * inverse.norm() * (1.0 + form.norm());
    CHECK((E * inverse - I).norm() <= 8.0 * kEps * size);
    const Matrix<Complex> complex = resolvent::exponential<Complex>(form.cast<Complex>());
    CHECK((complex - E.cast<Complex>()).norm() <= 8.0 * kEps * E.norm() * (1.0 + form.norm()));
  }
}

TEST_CASE("phi functions satisfy their recurrence and agree with their action", "[core]") {
  const Index N = 33;
  const Matrix<double> A = 0.8 * scrambled(N) - 2.0 * Matrix<double>::Identity(N, N);
  const Matrix<double> B = scrambled(N).leftCols(3);
  const auto phi = resolvent::phi_functions(A, 3);
  const auto action = resolvent::phi_action(A, B, 3);
  CHECK((action.exponential - resolvent::exponential(A)).norm() == 0.0);
  double inverse = 1.0;
  for (Index k = 0; k < 3; ++k) {
    inverse /= k > 0 ? double(k) : 1.0;
    Matrix<double> left = A * phi[k + 1];
    left.diagonal().array() += inverse;
    const double size = 8.0 * kEps * (1.0 + A.norm()) * (1.0 + phi[0].norm());
    CHECK((left - phi[k]).norm() <= size);
    CHECK((action.images[k] - phi[k + 1] * B).norm() <= size * B.norm());
  }
}

TEST_CASE("matrices without an exponential are refused", "[core]") {
  CHECK_THROWS_AS(resolvent::exponential(Matrix<double>(2, 3)), resolvent::ShapeMismatch);
  Matrix<double> A = Matrix<double>::Zero(2, 2);
  A(0, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(resolvent::exponential(A), resolvent::InvalidArgument);
}

TEST_CASE("exponentials do not depend on the number of threads", "[core][threads]") {
  const Matrix<double> A = scrambled(200);
  const Threads one(1);
  const Matrix<double> alone = resolvent::exponential(A);
  const Threads many(5);
  CHECK(resolvent::exponential(A) == alone);
}

TEST_CASE("the number of threads is checked", "[core]") {
  CHECK_THROWS_AS(resolvent::set_threads(0), resolvent::InvalidArgument);
}
