#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "catch.hpp"
#include "resolvent/attention/causal.hpp"
#include "resolvent/attention/stack.hpp"
#include "resolvent/core/threads.hpp"

using namespace resolvent;
using namespace resolvent::attention;

namespace {

std::mt19937 generator(11);

template <class T>
std::vector<T> random_numbers(Index count, double scale = 1.0) {
  std::normal_distribution<double> normal(0.0, scale);
  std::vector<T> numbers(static_cast<std::size_t>(count));
  for (T& x : numbers) x = static_cast<T>(normal(generator));
  return numbers;
}

/// Queries, keys and values of a few sequences, each result made of the sequence of its number.
template <class T>
struct Problem {
  Index count, length, depth, width;
  std::vector<T> q, k, v;
  std::vector<std::int64_t> own;

  Problem(Index c, Index L, Index d, Index e, double scale)
      : count(c),
        length(L),
        depth(d),
        width(e),
        q(random_numbers<T>(c * L * d, scale)),
        k(random_numbers<T>(c * L * d)),
        v(random_numbers<T>(c * L * e)),
        own(static_cast<std::size_t>(c)) {
    std::iota(own.begin(), own.end(), 0);
  }

  Sequences<T> queries() const { return {q.data(), count, length, depth}; }
  Sequences<T> keys() const { return {k.data(), count, length, depth}; }
  Sequences<T> values() const { return {v.data(), count, length, width}; }
  Indices indices() const { return {own, own, own, own}; }

  std::vector<T> run(bool tiled, const CausalOptions& options = {}) const {
    std::vector<T> out(v.size());
    const auto attend = tiled ? streaming<T> : recompute<T>;
    attend(queries(), keys(), values(), indices(), options, out.data());
    return out;
  }

  /// The definition, in long double: largest logit first, then the sums.
  double error(const std::vector<T>& out, const bool* mask = nullptr) const {
    double worst = 0.0;
    for (Index s = 0; s < count; ++s) {
      for (Index t = 0; t < length; ++t) {
        const auto p = weights(s, t, mask);
        for (Index c = 0; c < width; ++c) {
          long double sum = 0;
          for (Index i = 0; i <= t; ++i) sum += p[std::size_t(i)] * at(v, s, i, c, width);
          const double found = out[std::size_t((s * length + t) * width + c)];
          worst = std::max(worst, std::abs(found - double(sum)));
        }
      }
    }
    return worst;
  }

 private:
  long double at(const std::vector<T>& a, Index s, Index i, Index c, Index columns) const {
    return static_cast<long double>(a[std::size_t((s * length + i) * columns + c)]);
  }

  std::vector<long double> weights(Index s, Index t, const bool* mask) const {
    std::vector<long double> p(std::size_t(t + 1));
    long double top = -std::numeric_limits<long double>::infinity(), sum = 0;
    for (Index i = 0; i <= t; ++i) {
      long double logit = 0;
      for (Index c = 0; c < depth; ++c) logit += at(q, s, t, c, depth) * at(k, s, i, c, depth);
      p[std::size_t(i)] = mask != nullptr && !mask[s * length + i] ? -INFINITY : logit;
      top = std::max(top, p[std::size_t(i)]);
    }
    for (auto& x : p) sum += (x = std::exp(x - top));
    for (auto& x : p) x /= sum;
    return p;
  }
};

/// Logits of standard deviation scale·√d have as many roundings of error; max|v| is about 4.
template <class T>
double tolerance(Index depth, double scale) {
  const auto d = static_cast<double>(depth);
  return 64.0 * std::numeric_limits<T>::epsilon() * (1.0 + scale * std::sqrt(d) * 4.0);
}

template <class T>
void compare_with_definition() {
  for (const Index length : {1, 2, 63, 64, 65, 95, 96, 97, 200}) {
    for (const auto& [depth, width] : {std::pair<Index, Index>{1, 1}, {5, 17}, {64, 16}}) {
      const Problem<T> problem(2, length, depth, width, 0.7);
      CHECK(problem.error(problem.run(true)) < tolerance<T>(depth, 0.7));
      CHECK(problem.error(problem.run(false)) < tolerance<T>(depth, 0.7));
    }
  }
}

std::vector<std::int64_t> some_tokens(Index count, Index vocabulary) {
  std::uniform_int_distribution<std::int64_t> any(0, vocabulary - 1);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count));
  for (auto& token : tokens) token = any(generator);
  return tokens;
}

}  // namespace

TEST_CASE("attention by recurrences is what its definition says", "[attention]") {
  compare_with_definition<double>();
  compare_with_definition<float>();
}

TEST_CASE("attention keeps its digits where weights underflow", "[attention]") {
  // Logits of some hundreds: all but one or two weights vanish, and e^{logit} would overflow.
  const Problem<double> problem(1, 150, 16, 3, 60.0);
  CHECK(problem.error(problem.run(true)) < tolerance<double>(16, 60.0));
  CHECK(problem.error(problem.run(false)) < tolerance<double>(16, 60.0));
}

TEST_CASE("attention has the same bits for any number of threads", "[attention]") {
  const Problem<float> problem(3, 300, 24, 24, 0.5);
  const int before = get_threads();
  for (const bool tiled : {true, false}) {
    set_threads(1);
    const auto one = problem.run(tiled);
    set_threads(3);
    CHECK(problem.run(tiled) == one);
    set_threads(before);
  }
}

TEST_CASE("masked keys have no weight, and queries without keys are refused or 0", "[attention]") {
  const Problem<double> problem(1, 130, 4, 5, 1.0);
  std::vector<char> letters(130, 1);
  for (const std::size_t i : {0, 1, 2, 70, 71, 129}) letters[i] = 0;
  const auto* mask = reinterpret_cast<const bool*>(letters.data());
  for (const bool tiled : {true, false}) {
    const auto out = problem.run(tiled, {1.0, mask, Empty::zero});
    for (std::size_t j = 0; j < 15; ++j) CHECK(out[j] == 0.0);
    CHECK_THROWS_WITH(problem.run(tiled, {1.0, mask, Empty::error}),
                      "no weight is left for query [0] (empty='zero' gives 0 there)");
    letters[0] = 1;
    CHECK(problem.error(problem.run(tiled, {1.0, mask, Empty::error}), mask) <
          tolerance<double>(4, 1.0));
    letters[0] = 0;
  }
}

TEST_CASE("a logit that overflows is named by its query", "[attention]") {
  Problem<float> problem(2, 5, 2, 1, 1.0);
  problem.q[2 * (5 + 3)] = 1e30f;
  problem.k[2 * (5 + 2)] = 1e30f;
  for (const bool tiled : {true, false}) {
    CHECK_THROWS_WITH(problem.run(tiled, {.batch = {2}}),
                      "scale*q*k overflows at query [1, 3]; "
                      "scale q or k down");
  }
}

TEST_CASE("all routes through a stack give the same", "[attention]") {
  const Index layers = 3, heads = 2, d = 6, vocabulary = 9;
  const auto E = random_numbers<double>(vocabulary * d);
  std::vector<std::vector<double>> W;
  for (int i = 0; i < 4; ++i) W.push_back(random_numbers<double>(layers * d * d, 0.4));
  const StackWeights<double> weights{layers,      heads,       d,           E.data(),
                                     W[0].data(), W[1].data(), W[2].data(), W[3].data()};
  const auto tokens = some_tokens(12, vocabulary);
  const auto run = [&](Route route) {
    std::vector<double> out(tokens.size() * d);
    forward<double>(weights, tokens, route, out.data());
    return out;
  };
  const auto full = run(Route::full);
  const double scale = std::abs(*std::max_element(full.begin(), full.end()));
  const double allowed = 64.0 * layers * d * std::numeric_limits<double>::epsilon() * scale;
  for (const Route route : {Route::cached, Route::streaming, Route::recompute}) {
    const auto other = run(route);
    for (std::size_t j = 0; j < full.size(); ++j) CHECK(std::abs(other[j] - full[j]) < allowed);
  }
  std::vector<double> end(d);
  last<double>(weights, tokens, end.data());
  CHECK(std::equal(end.begin(), end.end(), run(Route::recompute).end() - d));
}

TEST_CASE("a cache keeps what it says, recomputation the same whatever the length", "[attention]") {
  const Index layers = 2, d = 4;
  const std::vector<Counted> E(d, 1.0), W(layers * d * d, 0.0);
  const StackWeights<Counted> weights{layers,   1,        d,        E.data(),
                                      W.data(), W.data(), W.data(), W.data()};
  const auto peak = [&](Route route, std::size_t length) {
    const std::vector<std::int64_t> tokens(length, 0);
    std::vector<Counted> out(length * d);
    return forward<Counted>(weights, tokens, route, out.data()).peak;
  };
  CHECK(peak(Route::recompute, 3) == peak(Route::recompute, 17));
  CHECK(peak(Route::cached, 20) - peak(Route::cached, 10) == 10 * (2 * layers * d + 1) * 8);
  CHECK(peak(Route::full, 20) > 20 * 20 * 8);

  Cache<Counted> cache(weights);
  std::vector<Counted> out(d);
  for (int t = 0; t < 5; ++t) cache.step(0, out.data());
  CHECK(cache.length() == 5);
  CHECK(cache.ledger().held == 5 * 2 * layers * d * 8);
}
