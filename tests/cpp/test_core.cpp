#include <atomic>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/quadrature.hpp"
#include "resolvent/core/threads.hpp"

using resolvent::Index;

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

TEST_CASE("the number of threads is checked", "[core]") {
  CHECK_THROWS_AS(resolvent::set_threads(0), resolvent::InvalidArgument);
}
