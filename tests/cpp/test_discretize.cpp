#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/discretize/dense.hpp"
#include "resolvent/discretize/rules.hpp"
#include "resolvent/hippo/system.hpp"
#include "resolvent/math/discretize.hpp"

namespace dz = resolvent::discretize;
namespace hp = resolvent::hippo;
namespace math = resolvent::math;
using resolvent::Complex;
using resolvent::Index;
using resolvent::Matrix;
using resolvent::Vector;
using Pair = math::ComplexPair<double>;

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr std::array<const char*, 7> kRules{"forward", "backward", "bilinear", "gbt",
                                            "zoh",     "foh",      "mamba"};

/// φ_k(z) = Σ z^j/(j+k)! in long double; for moderate |z| in the right half plane no term cancels.
long double phi_by_series(int k, long double z) {
  long double factorial = 1.0L;
  for (int j = 2; j <= k; ++j) factorial *= j;
  long double term = 1.0L / factorial;
  long double sum = term;
  for (int j = 1; j < 200; ++j) {
    term *= z / (j + k);
    sum += term;
  }
  return sum;
}

double step_limit(std::vector<Complex> eigenvalues, dz::Rule rule, double alpha, double tolerance) {
  return dz::largest_step(eigenvalues, rule, alpha, tolerance);
}

}  // namespace

TEST_CASE("phi functions of numbers are accurate for every size", "[discretize]") {
  for (int k = 0; k <= 6; ++k) {
    for (const double z : {1e-300, 1e-12, 1e-3, 0.5, 1.0, 1.9, 2.1, 3.5, 7.0, 8.5, 20.0}) {
      const double exact = static_cast<double>(phi_by_series(k, z));
      // Horner's rule and the recurrence round a few times per level.
      CHECK(std::abs(math::phi(k, Pair{z, 0.0}).re - exact) <= 4.0 * (k + 1) * kEps * exact);
    }
    // φ_{k+1}(z) z = φ_k(z) − 1/k! on both sides of the switch from the series to the recurrence.
    for (const double angle : {0.5, 1.5, 2.5, 3.1}) {
      for (const double size : {k + 1.5, k + 2.5}) {
        const Pair z{size * std::cos(angle), size * std::sin(angle)};
        const Pair left = z * math::phi(k + 1, z);
        const Pair right = math::phi(k, z) - Pair{1.0 / std::tgamma(k + 1.0), 0.0};
        CHECK(math::magnitude(left - right) <= 8.0 * (k + 2) * kEps / std::tgamma(k + 1.0));
      }
    }
  }
  CHECK(math::phi(1, Pair{-kInfinity, 0.0}).re == 0.0);
}

TEST_CASE("the error of the bilinear family starts with its leading term", "[discretize]") {
  for (const double size : {1e-3, 1e-6}) {
    const Pair z{-0.6 * size, 0.8 * size};
    // z²(α − ½) + z³(α² − 1/6) + O(z⁴)
    for (const double alpha : {0.0, 0.3, 0.5, 1.0}) {
      const Pair leading =
          z * z * (Pair{alpha - 0.5, 0.0} + Pair{alpha * alpha - 1.0 / 6.0, 0.0} * z);
      const double next = size * size * size * size;
      CHECK(math::magnitude(math::gbt_error(alpha, z) - leading) <=
            next + 8.0 * kEps * math::magnitude(leading));
    }
  }
  // On both sides of the switch between the two forms.
  for (const double size : {1.999, 2.001}) {
    const Pair z{-size, 0.0};
    const Pair direct = math::gbt_stability(0.5, z) - math::exp(z);
    CHECK(math::magnitude(math::gbt_error(0.5, z) - direct) <= 8.0 * kEps);
  }
}

TEST_CASE("growth is infinite at a pole", "[discretize]") {
  Matrix<double> out(1, 2);
  const std::vector<double> real{1.0, 2.0};
  const std::vector<double> imag{0.0};
  dz::growth(real, imag, dz::Rule::backward, 0.0, {out.data(), 1, 2});
  CHECK(out(0, 0) == kInfinity);
  CHECK(out(0, 1) == 1.0);
}

TEST_CASE("largest_step finds the first crossing", "[discretize]") {
  // forward on λ = −1: ε − 1 + e^{−ε} = tolerance.
  for (const double tolerance : {1e-14, 1e-6, 0.1, 3.0}) {
    const double step = step_limit({{-1.0, 0.0}}, dz::Rule::forward, 0.0, tolerance);
    const double error = math::magnitude(math::gbt_error(0.0, Pair{-step, 0.0}));
    CHECK(error == Approx(tolerance).epsilon(1e-9));
  }
  // backward on the negative axis never errs by more than 0.2036.
  CHECK(step_limit({{-1.0, 0.0}}, dz::Rule::backward, 1.0, 0.21) == kInfinity);
  const double x = step_limit({{-1.0, 0.0}}, dz::Rule::backward, 1.0, 0.2);
  CHECK(1.0 / (1.0 + x) - std::exp(-x) == Approx(0.2).epsilon(1e-9));
  CHECK(x < 2.5);  // before the largest error
  // bilinear on the imaginary axis: |e^{iφ} − e^{iy}| = 2 sin((y − φ)/2), φ = 2 atan(y/2).
  const double step = step_limit({{0.0, 5.0}}, dz::Rule::bilinear, 0.5, 1.0) * 5.0;
  CHECK(step - 2.0 * std::atan(0.5 * step) == Approx(std::acos(-1.0) / 3.0).epsilon(1e-9));
  CHECK(step_limit({{0.0, 5.0}}, dz::Rule::bilinear, 0.5, 2.0) == kInfinity);
  CHECK(step_limit({{-1.0, 3.0}}, dz::Rule::zoh, 0.5, 1e-9) == kInfinity);
  CHECK_THROWS_AS(step_limit({{-1.0, 0.0}}, dz::Rule::forward, 0.0, 0.0),
                  resolvent::InvalidArgument);
}

TEST_CASE("systems and their matrices are discretised alike", "[discretize]") {
  for (const char* measure : {"legs", "legt", "lagt", "glagt", "fout", "fous"}) {
    hp::Config config;
    config.measure = hp::measure_from_name(measure);
    config.order = 9;
    config.normalization = hp::normalizations_of(config.measure).back();
    if (config.normalization == hp::Normalization::complex) {
      config.normalization = hp::Normalization::lebesgue;
    }
    config.window = 1.7;
    const hp::System system(config);
    const Matrix<double> A = system.A();
    const Matrix<double> B = system.B();
    for (const char* name : kRules) {
      const dz::Rule rule = dz::rule_from_name(name);
      for (const double step : {1e-4, 0.1, 1.0}) {
        const auto one = dz::discretize(system, step, rule, 0.3);
        const auto two = dz::discretize<double>(A, B, step, rule, 0.3);
        // Both solve for, or exponentiate, a matrix of this norm, whose rounding that is.
        const double size = (1.0 + step * A.norm()) * 9.0 * kEps;
        CHECK((one.A - two.A).norm() <= 4.0 * size * (1.0 + two.A.norm()));
        CHECK((one.B - two.B).norm() <= 4.0 * size * (step * B.norm() + two.B.norm()));
        CHECK(one.B_next.size() == two.B_next.size());
        if (one.B_next.size() > 0) {
          CHECK((one.B_next - two.B_next).norm() <= 4.0 * size * step * B.norm());
        }
      }
    }
  }
}

TEST_CASE("a singular A has a zero-order hold", "[discretize]") {
  Matrix<double> A(2, 2);
  A << 0.0, 1.0, 0.0, 0.0;
  Matrix<double> B(2, 1);
  B << 0.0, 1.0;
  const auto zoh = dz::discretize<double>(A, B, 0.5, dz::Rule::zoh, 0.5);
  CHECK(zoh.A(0, 1) == 0.5);
  CHECK(zoh.B(0, 0) == 0.125);
  CHECK(zoh.B(1, 0) == 0.5);
  const auto foh = dz::discretize<double>(A, B, 0.5, dz::Rule::foh, 0.5);
  CHECK(foh.B(0, 0) == Approx(0.125 - 0.125 / 3.0));
  CHECK(foh.B_next(0, 0) == Approx(0.125 / 3.0));
}

TEST_CASE("bad input of discretize is refused", "[discretize]") {
  const Matrix<double> A = Matrix<double>::Identity(2, 2);
  const Matrix<double> B = Matrix<double>::Ones(2, 1);
  using resolvent::InvalidArgument;
  CHECK_THROWS_AS(dz::discretize<double>(A, B, 0.0, dz::Rule::zoh, 0.5), InvalidArgument);
  CHECK_THROWS_AS(dz::discretize<double>(A, B, 1.0, dz::Rule::backward, 0.5), InvalidArgument);
  CHECK_THROWS_AS(dz::discretize<double>(A, B, 1.0, dz::Rule::gbt, 1.5), InvalidArgument);
  CHECK_THROWS_AS(dz::rule_from_name("euler"), InvalidArgument);
}

TEST_CASE("error maps do not depend on the number of threads", "[discretize][threads]") {
  const int before = resolvent::get_threads();
  std::vector<Complex> eigenvalues;
  for (int j = 0; j < 700; ++j) eigenvalues.emplace_back(-0.1 * j, 0.3 * j);
  const std::vector<double> steps{1e-3, 0.1, 1.0, 7.0};
  std::array<Matrix<Complex>, 2> out{Matrix<Complex>(4, 700), Matrix<Complex>(4, 700)};
  for (const int threads : {1, 5}) {
    resolvent::set_threads(threads);
    Matrix<Complex>& target = out[threads == 1 ? 0 : 1];
    dz::local_error(eigenvalues, steps, dz::Rule::gbt, 0.7, dz::Part::state,
                    {target.data(), 4, 700});
  }
  resolvent::set_threads(before);
  CHECK(out[0] == out[1]);
}
