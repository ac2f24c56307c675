#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"
#include "resolvent/attention/diagonal.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/decay.hpp"

using namespace resolvent;
using namespace resolvent::attention;

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

/// Rounding errors of sums over some tens of steps and states, relative to the largest result.
constexpr double kSum = 256.0;

/// Central differences of a function of order 1: the best step leaves eps^(2/3), times constants.
const double kStep = std::cbrt(kEps);
constexpr double kDifference = 64.0;

using Numbers = std::vector<double>;

std::mt19937 generator(23);

Numbers random_numbers(Index count, double low = -1.0, double high = 1.0) {
  std::uniform_real_distribution<double> uniform(low, high);
  Numbers numbers(static_cast<std::size_t>(count));
  for (double& x : numbers) x = uniform(generator);
  return numbers;
}

/// A pair of numbers for each complex one.
std::complex<double>* complex_in(Numbers& numbers) {
  return reinterpret_cast<std::complex<double>*>(numbers.data());
}
const std::complex<double>* complex_in(const Numbers& numbers) {
  return reinterpret_cast<const std::complex<double>*>(numbers.data());
}

double distance(const Numbers& a, const Numbers& b) {
  REQUIRE(a.size() == b.size());
  double most = 0.0, scale = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return scale == 0.0 ? most : most / scale;
}

/// What a recurrence takes, by name in a fixed order, and its outputs for g: Σ g y.
struct Case {
  std::vector<Numbers> inputs;
  Numbers g;

  template <class Outputs>
  double loss(const Outputs& outputs) const {
    const Numbers y = outputs(inputs);
    double sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += g[i] * y[i];
    return sum;
  }

  /// The gradients by central differences.
  template <class Outputs>
  std::vector<Numbers> differences(const Outputs& outputs) const {
    std::vector<Numbers> gradients = inputs;
    for (std::size_t a = 0; a < inputs.size(); ++a) {
      for (std::size_t i = 0; i < inputs[a].size(); ++i) {
        Case up = *this, down = *this;
        up.inputs[a][i] += kStep;
        down.inputs[a][i] -= kStep;
        gradients[a][i] = (up.loss(outputs) - down.loss(outputs)) / (2.0 * kStep);
      }
    }
    return gradients;
  }
};

const std::vector<Schedule> kSchedules = {
    {1, Order::sequential}, {7, Order::sequential}, {7, Order::split}, {100, Order::split}};

// ---- the selective scan -------------------------------------------------------------------------

struct SelectiveShape {
  Index rows, length, channels, states;
  InputRule rule;

  /// u, dt, A, B, C, D, initial.
  Case random() const {
    const Index samples = rows * length * channels, shared = rows * length * states;
    return {{random_numbers(samples), random_numbers(samples, 0.1, 1.0),
             random_numbers(channels * states, -2.0, -0.1), random_numbers(shared),
             random_numbers(shared), random_numbers(channels),
             random_numbers(rows * channels * states)},
            random_numbers(samples)};
  }

  Selective<double> model(const std::vector<Numbers>& x) const {
    return {rows,        length,      channels,    states,      x[0].data(), x[1].data(),
            x[2].data(), x[3].data(), x[4].data(), x[5].data(), rule};
  }

  Numbers outputs(const std::vector<Numbers>& x, Schedule schedule) const {
    Numbers y(x[0].size()), state = x[6];
    selective_scan(model(x), schedule, state.data(), y.data());
    return y;
  }

  std::vector<Numbers> gradients(const Case& c, Schedule schedule) const {
    std::vector<Numbers> out = c.inputs;
    selective_scan_adjoint<double>(model(c.inputs), schedule, c.inputs[6].data(), c.g.data(),
                                   {out[0].data(), out[1].data(), out[2].data(), out[3].data(),
                                    out[4].data(), out[5].data(), out[6].data()});
    return out;
  }

  /// The definition.
  Numbers definition(const std::vector<Numbers>& x) const {
    Numbers y(x[0].size()), h = x[6];
    const auto at = [](const Numbers& numbers, Index i) {
      return numbers[static_cast<std::size_t>(i)];
    };
    for (Index r = 0; r < rows * length; ++r) {
      for (Index c = 0; c < channels; ++c) {
        const Index i = r * channels + c;
        double sum = at(x[5], c) * at(x[0], i);
        for (Index n = 0; n < states; ++n) {
          const double A = at(x[2], c * states + n), dt = at(x[1], i);
          const double f = rule == InputRule::mamba ? dt : std::expm1(dt * A) / A;
          double& state = h[static_cast<std::size_t>((r / length * channels + c) * states + n)];
          state = std::exp(dt * A) * state + f * at(x[3], r * states + n) * at(x[0], i);
          sum += at(x[4], r * states + n) * state;
        }
        y[static_cast<std::size_t>(i)] = sum;
      }
    }
    return y;
  }
};

// ---- wkv ----------------------------------------------------------------------------------------

struct WkvShape {
  Index rows, length, channels;

  /// w, u, k, v, initial.
  Case random() const {
    const Index samples = rows * length * channels;
    Case c{{random_numbers(channels, 0.1, 1.0), random_numbers(channels),
            random_numbers(samples, -3.0, 3.0), random_numbers(samples),
            random_numbers(rows * 3 * channels, 0.5, 1.0)},
           random_numbers(samples)};
    return c;
  }

  Wkv<double> model(const std::vector<Numbers>& x) const {
    return {rows, length, channels, x[0].data(), x[1].data(), x[2].data(), x[3].data()};
  }

  Numbers outputs(const std::vector<Numbers>& x, Schedule schedule) const {
    Numbers y(x[2].size()), state = x[4];
    wkv(model(x), schedule, state.data(), y.data());
    return y;
  }

  std::vector<Numbers> gradients(const Case& c, Schedule schedule) const {
    std::vector<Numbers> out = c.inputs;
    wkv_adjoint<double>(
        model(c.inputs), schedule, c.inputs[4].data(), c.g.data(),
        {out[0].data(), out[1].data(), out[2].data(), out[3].data(), out[4].data()});
    return out;
  }

  /// The definition, each sum by itself; `shift` is taken from all log-weights.
  Numbers definition(const std::vector<Numbers>& x, double shift) const {
    Numbers y(x[2].size());
    for (Index r = 0; r < rows; ++r) {
      for (Index c = 0; c < channels; ++c) {
        const auto key = [&](Index t) {
          return static_cast<std::size_t>((r * length + t) * channels + c);
        };
        const auto initial = [&](Index part) {
          return x[4][static_cast<std::size_t>((r * 3 + part) * channels + c)];
        };
        const double w = x[0][static_cast<std::size_t>(c)], u = x[1][static_cast<std::size_t>(c)];
        for (Index t = 0; t < length; ++t) {
          double weight = std::exp(initial(2) - static_cast<double>(t) * w - shift);
          double numerator = weight * initial(0), denominator = weight * initial(1);
          for (Index i = 0; i <= t; ++i) {
            const double lag = i == t ? -u : static_cast<double>(t - 1 - i) * w;
            weight = std::exp((x[2][key(i)] - shift) - lag);
            numerator += weight * x[3][key(i)];
            denominator += weight;
          }
          y[key(t)] = numerator / denominator;
        }
      }
    }
    return y;
  }
};

// ---- the scan of many inputs and outputs --------------------------------------------------------

struct DiagonalShape {
  Index rows, length, inputs, states, outputs_count;

  /// u; eigenvalues, B, C, initial as pairs.
  Case random() const {
    return {{random_numbers(rows * length * inputs), random_numbers(2 * states, -0.6, 0.6),
             random_numbers(2 * states * inputs), random_numbers(2 * states * outputs_count),
             random_numbers(2 * rows * states)},
            random_numbers(rows * length * outputs_count)};
  }

  Diagonal<double> model(const std::vector<Numbers>& x) const {
    return {rows,          length,           inputs,           states,
            outputs_count, complex_in(x[1]), complex_in(x[2]), complex_in(x[3]),
            x[0].data()};
  }

  Numbers outputs(const std::vector<Numbers>& x, Schedule schedule) const {
    Numbers y(static_cast<std::size_t>(rows * length * outputs_count)), state = x[4];
    diagonal_scan(model(x), schedule, complex_in(state), y.data());
    return y;
  }

  std::vector<Numbers> gradients(const Case& c, Schedule schedule) const {
    std::vector<Numbers> out = c.inputs;
    diagonal_scan_adjoint<double>(model(c.inputs), schedule, complex_in(c.inputs[4]), c.g.data(),
                                  {out[0].data(), complex_in(out[1]), complex_in(out[2]),
                                   complex_in(out[3]), complex_in(out[4])});
    return out;
  }

  /// The definition.
  Numbers definition(const std::vector<Numbers>& x) const {
    Numbers y, state = x[4];
    for (Index r = 0; r < rows * length; ++r) {
      std::complex<double>* h = complex_in(state) + r / length * states;
      for (Index n = 0; n < states; ++n) {
        h[n] *= complex_in(x[1])[n];
        for (Index j = 0; j < inputs; ++j) {
          h[n] += complex_in(x[2])[n * inputs + j] * x[0][static_cast<std::size_t>(r * inputs + j)];
        }
      }
      for (Index i = 0; i < outputs_count; ++i) {
        std::complex<double> sum = 0.0;
        for (Index n = 0; n < states; ++n) sum += complex_in(x[3])[i * states + n] * h[n];
        y.push_back(sum.real());
      }
    }
    return y;
  }
};

// ---- laws of all of them ------------------------------------------------------------------------

/// Every schedule gives the outputs of the definition.
template <class Shape, class Definition>
void check_outputs(const Shape& shape, const Definition& definition) {
  const Case c = shape.random();
  const Numbers expected = definition(c.inputs);
  for (const Schedule schedule : kSchedules) {
    CHECK(distance(shape.outputs(c.inputs, schedule), expected) < kSum * kEps);
  }
}

/// The adjoint is the gradient, whatever the schedule.
template <class Shape>
void check_gradients(const Shape& shape) {
  const Case c = shape.random();
  const auto expected =
      c.differences([&](const auto& x) { return shape.outputs(x, {3, Order::sequential}); });
  const auto first = shape.gradients(c, kSchedules[0]);
  for (std::size_t a = 0; a < expected.size(); ++a) {
    CHECK(distance(first[a], expected[a]) < kDifference * kStep * kStep);
  }
  for (const Schedule schedule : kSchedules) {
    const auto gradients = shape.gradients(c, schedule);
    for (std::size_t a = 0; a < first.size(); ++a) {
      CHECK(distance(gradients[a], first[a]) < kSum * kEps);
    }
  }
}

/// No bit depends on the number of threads.
template <class Shape>
void check_threads(const Shape& shape) {
  const Case c = shape.random();
  const int before = get_threads();
  for (const Order order : {Order::sequential, Order::split}) {
    const Schedule schedule{16, order};
    set_threads(1);
    const Numbers y = shape.outputs(c.inputs, schedule);
    const auto gradients = shape.gradients(c, schedule);
    set_threads(4);
    CHECK(shape.outputs(c.inputs, schedule) == y);
    CHECK(shape.gradients(c, schedule) == gradients);
  }
  set_threads(before);
}

}  // namespace

TEST_CASE("phi1 of decays and its slope", "[attention]") {
  for (double t = 1e-12; t < 1e3; t *= 1.7) {
    const auto z = static_cast<long double>(t);
    const long double mean = -std::expm1(-z) / z;
    CHECK(math::phi1_decay(t) == Approx(static_cast<double>(mean)).epsilon(4 * kEps).margin(0));
    // (φ_1 − e^{−t})/t, or its series where that cancels.
    long double slope = (mean - std::exp(-z)) / z, term = 0.5L;
    if (t < 0.1) {
      slope = 0.0L;
      for (int j = 0; j < 20; ++j) {
        slope += term;
        term *= -z * (j + 2) / ((j + 1) * static_cast<long double>(j + 3));
      }
    }
    const double decay = math::exp_nonpositive(-t);
    CHECK(math::phi1_slope_decay(t, decay, math::phi1_decay(t)) ==
          Approx(static_cast<double>(slope)).epsilon(12 * kEps).margin(0));
  }
  CHECK(math::phi1_decay(0.0) == 1.0);
  CHECK(math::phi1_slope_decay(0.0, 1.0, 1.0) == 0.5);
}

TEST_CASE("selective scan", "[attention]") {
  for (const InputRule rule : {InputRule::mamba, InputRule::zoh}) {
    for (const SelectiveShape shape :
         {SelectiveShape{1, 40, 3, 2, rule}, SelectiveShape{2, 17, 9, 5, rule},
          SelectiveShape{3, 1, 8, 1, rule}}) {
      check_outputs(shape, [&](const auto& x) { return shape.definition(x); });
    }
    check_gradients(SelectiveShape{2, 9, 3, 2, rule});
    check_threads(SelectiveShape{1, 300, 11, 4, rule});
    check_threads(SelectiveShape{5, 100, 11, 4, rule});
  }
}

TEST_CASE("wkv", "[attention]") {
  for (const WkvShape shape : {WkvShape{1, 40, 3}, WkvShape{2, 17, 9}, WkvShape{3, 1, 8}}) {
    check_outputs(shape, [&](const auto& x) { return shape.definition(x, 0.0); });
  }
  check_gradients(WkvShape{2, 9, 3});
  check_threads(WkvShape{1, 900, 11});
  check_threads(WkvShape{5, 300, 11});
}

TEST_CASE("wkv with keys far from 0, no decay and nothing before", "[attention]") {
  for (const double shift : {1e4, -1e4}) {
    const WkvShape shape{1, 40, 3};
    Case c = shape.random();
    std::fill(c.inputs[0].begin(), c.inputs[0].end(), 0.0);
    std::fill(c.inputs[4].begin(), c.inputs[4].end(), 0.0);
    for (double& k : c.inputs[2]) k += shift;
    const Numbers expected = shape.definition(c.inputs, shift);
    for (const Schedule schedule : kSchedules) {
      // k itself is known to eps·shift.
      CHECK(distance(shape.outputs(c.inputs, schedule), expected) < 4 * kEps * std::abs(shift));
      const auto gradients = shape.gradients(c, schedule);
      for (std::size_t a = 0; a < 4; ++a) {
        for (const double x : gradients[a]) CHECK(std::isfinite(x));
      }
    }
  }
}

TEST_CASE("diagonal scan", "[attention]") {
  for (const DiagonalShape shape : {DiagonalShape{1, 40, 3, 2, 4}, DiagonalShape{2, 17, 9, 11, 1},
                                    DiagonalShape{5, 1, 1, 1, 1}}) {
    check_outputs(shape, [&](const auto& x) { return shape.definition(x); });
  }
  check_gradients(DiagonalShape{2, 9, 3, 2, 2});
  check_threads(DiagonalShape{1, 300, 11, 4, 3});
  check_threads(DiagonalShape{5, 100, 11, 4, 3});
}

TEST_CASE("recurrences over no step keep the state", "[attention]") {
  const SelectiveShape shape{1, 0, 3, 2, InputRule::mamba};
  const Case c = shape.random();
  for (const Schedule schedule : kSchedules) {
    Numbers state = c.inputs[6];
    selective_scan<double>(shape.model(c.inputs), schedule, state.data(), nullptr);
    CHECK(state == c.inputs[6]);
    const auto gradients = shape.gradients(c, schedule);
    for (const Numbers& gradient : gradients) {
      CHECK(gradient == Numbers(gradient.size(), 0.0));
    }
  }
}
