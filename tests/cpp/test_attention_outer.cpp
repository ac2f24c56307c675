#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "catch.hpp"
#include "resolvent/attention/outer.hpp"
#include "resolvent/core/threads.hpp"

using namespace resolvent;
using namespace resolvent::attention;

namespace {

std::mt19937 generator(5);

/// Roundings of a term of a sum: the products of decays, those with q, k and v, and the additions.
constexpr double kTerm = 4.0;

constexpr Index kStepByStep = 0;  // in the place of a chunk

template <class T>
std::vector<T> normal(Index count) {
  std::normal_distribution<double> distribution;
  std::vector<T> numbers(static_cast<std::size_t>(count));
  for (T& x : numbers) x = static_cast<T>(distribution(generator));
  return numbers;
}

/// Decays between 0 and 1, both ends among them.
template <class T>
std::vector<T> decays(Index count) {
  std::uniform_real_distribution<double> distribution(-0.2, 1.2);
  std::vector<T> numbers(static_cast<std::size_t>(count));
  for (T& x : numbers) x = static_cast<T>(std::clamp(distribution(generator), 0.0, 1.0));
  return numbers;
}

/// Heads with sequences of their own.
template <class T>
struct Problem {
  Index heads, length, n, d;
  std::vector<T> q, k, v, a, start;
  std::vector<std::int64_t> own;

  Problem(Index H, Index L, Index N, Index D)
      : heads(H),
        length(L),
        n(N),
        d(D),
        q(normal<T>(H * L * N)),
        k(normal<T>(H * L * N)),
        v(normal<T>(H * L * D)),
        a(decays<T>(H * L)),
        start(normal<T>(H * N * D)),
        own(static_cast<std::size_t>(H)) {
    std::iota(own.begin(), own.end(), 0);
  }

  OuterInputs<T> inputs() const {
    return {{{q.data(), heads, length, n}, own},
            {{k.data(), heads, length, n}, own},
            {{v.data(), heads, length, d}, own},
            {{a.data(), heads, length, 1}, own}};
  }
};

/// Outputs, then the states after.
template <class T>
std::vector<T> run(const OuterInputs<T>& in, Index chunk, const std::vector<T>& start) {
  std::vector<T> state = start;
  std::vector<T> out(static_cast<std::size_t>(in.heads() * in.length() * in.values()));
  if (chunk == kStepByStep) {
    outer_recurrent<T>(in, state.data(), out.data());
  } else {
    outer_chunked<T>(in, chunk, state.data(), out.data());
  }
  out.insert(out.end(), state.begin(), state.end());
  return out;
}

template <class T>
struct Gradients {
  std::vector<T> q, k, v, a, start;
};

template <class T>
Gradients<T> adjoint(const Problem<T>& p, Index chunk, const std::vector<T>& g) {
  Gradients<T> by{p.q, p.k, p.v, p.a, p.start};
  const OuterGradient<T> to{by.q.data(), by.k.data(), by.v.data(), by.a.data(), by.start.data()};
  if (chunk == kStepByStep) {
    outer_recurrent_adjoint<T>(p.inputs(), p.start.data(), g.data(), to);
  } else {
    outer_chunked_adjoint<T>(p.inputs(), chunk, p.start.data(), g.data(), to);
  }
  return by;
}

/// Σ_i Π_{i < l ≤ t} a_l (q_t·k_i) v_i and the part of the state before, as a double loop over
/// pairs of steps; q of the last step may be any row, so that the states after are outputs too.
/// With `absolute`, of the absolute values.
template <class T>
std::vector<long double> pairs(const Problem<T>& p, bool absolute) {
  const auto value = [&](T x) { return static_cast<long double>(absolute ? std::abs(x) : x); };
  std::vector<long double> out, after;
  for (Index h = 0; h < p.heads; ++h) {
    const T *q = p.q.data() + h * p.length * p.n, *k = p.k.data() + h * p.length * p.n;
    const T *v = p.v.data() + h * p.length * p.d, *a = p.a.data() + h * p.length;
    const T* start = p.start.data() + h * p.n * p.d;
    // Σ over the steps up to t of the entry (row, column) of the state, without a recurrence.
    const auto state = [&](Index t, Index row, Index column) {
      long double sum = 0, decay = 1;
      for (Index i = t; i >= 0; --i) {
        sum += decay * value(k[i * p.n + row]) * value(v[i * p.d + column]);
        decay *= static_cast<long double>(a[i]);
      }
      return sum + decay * value(start[row * p.d + column]);
    };
    for (Index t = 0; t < p.length; ++t) {
      for (Index c = 0; c < p.d; ++c) {
        long double sum = 0;
        for (Index r = 0; r < p.n; ++r) sum += value(q[t * p.n + r]) * state(t, r, c);
        out.push_back(sum);
      }
    }
    for (Index r = 0; r < p.n; ++r) {
      for (Index c = 0; c < p.d; ++c) after.push_back(state(p.length - 1, r, c));
    }
  }
  out.insert(out.end(), after.begin(), after.end());
  return out;
}

template <class T>
long double functional(const Problem<T>& p, const std::vector<T>& g) {
  const auto out = pairs(p, false);
  long double sum = 0;
  for (std::size_t i = 0; i < g.size(); ++i) sum += static_cast<long double>(g[i]) * out[i];
  return sum;
}

/// Σ g∘o is affine in every single number that it depends on, so that the gradient is a difference
/// of two values. A sum of this many terms times their largest product bounds the rounding.
template <class T>
void check_gradient(Problem<T> p, std::vector<T> Problem<T>::* member,
                    const std::vector<T>& gradient, const std::vector<T>& g) {
  std::vector<T>& numbers = p.*member;
  REQUIRE(gradient.size() == numbers.size());
  std::vector<long double> expected(numbers.size());
  long double size = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const T kept = numbers[i];
    numbers[i] = T(1);
    const long double one = functional(p, g);
    numbers[i] = T(0);
    expected[i] = one - functional(p, g);
    numbers[i] = kept;
    size = std::max(size, std::abs(expected[i]));
  }
  const auto terms = static_cast<long double>(p.length * (p.n + p.d) + p.n * p.d);
  const auto eps = static_cast<long double>(std::numeric_limits<T>::epsilon());
  const auto bound = static_cast<long double>(kTerm) * terms * eps * (1 + size);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    CHECK(std::abs(static_cast<long double>(gradient[i]) - expected[i]) <= bound);
  }
}

struct ThreadGuard {
  explicit ThreadGuard(int count) : before(get_threads()) { set_threads(count); }
  ~ThreadGuard() { set_threads(before); }
  int before;
};

}  // namespace

TEMPLATE_TEST_CASE("matrix states: every form is the sum over pairs of steps", "", float, double) {
  const double eps = std::numeric_limits<TestType>::epsilon();
  for (const Index length : {1, 2, 11, 12, 13, 63, 64, 65, 131}) {
    const Problem<TestType> p(2, length, 3, length % 2 == 0 ? 2 : 17);
    const auto expected = pairs(p, false), sizes = pairs(p, true);
    for (const Index chunk : {kStepByStep, Index(1), Index(5), Index(64), length}) {
      const auto out = run(p.inputs(), chunk, p.start);
      REQUIRE(out.size() == expected.size());
      const double terms = static_cast<double>(length + p.n);
      for (std::size_t i = 0; i < out.size(); ++i) {
        const auto bound = static_cast<long double>(kTerm * terms * eps) * sizes[i];
        CHECK(std::abs(static_cast<long double>(out[i]) - expected[i]) <= bound);
      }
    }
  }
}

TEST_CASE("matrix states: gradients are differences, decays of 0 and 1 among them") {
  for (const Index length : {1, 7, 14, 66}) {
    const bool is_long = length > 64;  // more than one tile
    const Problem<double> p(is_long ? 1 : 2, length, 2, is_long ? 1 : 3);
    const auto g = normal<double>(p.heads * length * p.d);
    for (const Index chunk : {kStepByStep, Index(5), length}) {
      const auto by = adjoint(p, chunk, g);
      check_gradient(p, &Problem<double>::q, by.q, g);
      check_gradient(p, &Problem<double>::k, by.k, g);
      check_gradient(p, &Problem<double>::v, by.v, g);
      check_gradient(p, &Problem<double>::a, by.a, g);
      check_gradient(p, &Problem<double>::start, by.start, g);
    }
  }
}

TEST_CASE("matrix states: heads share sequences, and one decay serves all steps") {
  const Index length = 70, n = 3, d = 2;
  const auto q = normal<double>(length * n), k = normal<double>(2 * length * n);
  const auto v = normal<double>(3 * length * d);
  const std::vector<double> decay{0.5, 1.0};
  const std::vector<std::int64_t> qs{0, 0, 0}, ks{1, 0, 1}, vs{2, 1, 0}, as{0, 1, 1};
  const OuterInputs<double> shared{{{q.data(), 1, length, n}, qs},
                                   {{k.data(), 2, length, n}, ks},
                                   {{v.data(), 3, length, d}, vs},
                                   {{decay.data(), 2, 1, 1}, as}};
  Problem<double> whole(3, length, n, d);
  for (std::size_t h = 0; h < 3; ++h) {
    const auto place = static_cast<Index>(h);
    std::copy_n(q.data(), length * n, whole.q.data() + place * length * n);
    std::copy_n(k.data() + ks[h] * length * n, length * n, whole.k.data() + place * length * n);
    std::copy_n(v.data() + vs[h] * length * d, length * d, whole.v.data() + place * length * d);
    std::fill_n(whole.a.data() + place * length, length, decay[static_cast<std::size_t>(as[h])]);
  }
  for (const Index chunk : {kStepByStep, Index(16), length}) {
    CHECK(run(shared, chunk, whole.start) == run(whole.inputs(), chunk, whole.start));
  }
}

TEST_CASE("matrix states: nothing to do leaves the states as they are") {
  for (const Index chunk : {kStepByStep, Index(4)}) {
    const Problem<double> no_steps(2, 0, 3, 2), no_heads(0, 5, 3, 2), no_keys(1, 5, 0, 2);
    CHECK(run(no_steps.inputs(), chunk, no_steps.start) == no_steps.start);
    CHECK(run(no_heads.inputs(), chunk, no_heads.start).empty());
    CHECK(run(no_keys.inputs(), chunk, no_keys.start) == std::vector<double>(10, 0.0));
    CHECK(adjoint(no_steps, chunk, {}).start == std::vector<double>(12, 0.0));
    CHECK(adjoint(no_heads, chunk, {}).q.empty());
  }
}

TEST_CASE("matrix states: no bit depends on the number of threads") {
  const Problem<float> p(3, 700, 16, 33);
  const auto g = normal<float>(p.heads * p.length * p.d);
  for (const Index chunk : {kStepByStep, Index(50), Index(200), p.length}) {
    std::vector<std::vector<float>> outputs;
    std::vector<Gradients<float>> gradients;
    for (const int threads : {1, 4}) {
      const ThreadGuard guard(threads);
      outputs.push_back(run(p.inputs(), chunk, p.start));
      gradients.push_back(adjoint(p, chunk, g));
    }
    CHECK(outputs[0] == outputs[1]);
    CHECK(gradients[0].q == gradients[1].q);
    CHECK(gradients[0].k == gradients[1].k);
    CHECK(gradients[0].v == gradients[1].v);
    CHECK(gradients[0].a == gradients[1].a);
    CHECK(gradients[0].start == gradients[1].start);
  }
}

TEST_CASE("matrix states: a state that died out long ago does not come back") {
  // Products of 0.6 stay above 0 for ever where the smallest number is rounded to itself.
  const Index length = 6000;
  Problem<double> p(1, length, 1, 1);
  std::fill(p.a.begin(), p.a.end(), 0.6);
  std::fill(p.k.begin() + 1, p.k.end(), 0.0);
  for (const Index chunk : {Index(64), length}) {
    const auto out = run(p.inputs(), chunk, p.start);
    CHECK(out.back() == 0.0);
    CHECK(out[0] != 0.0);
  }
}
