#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/noise.hpp"
#include "resolvent/math/probmap.hpp"
#include "resolvent/probmap/certificate.hpp"
#include "resolvent/probmap/maps.hpp"
#include "resolvent/probmap/perturb.hpp"
#include "resolvent/probmap/products.hpp"

using namespace resolvent;
using namespace resolvent::probmap;

namespace {

using Real = long double;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kOne = 1.0;
const Parameter kUnit{std::span<const double>(&kOne, 1)};

std::mt19937 generator(11);

template <class T>
Matrix<T> random_rows(Index rows, Index n, double scale) {
  std::normal_distribution<double> normal(0.0, scale);
  Matrix<T> x(rows, n);
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(normal(generator));
  return x;
}

template <class T>
ConstRows<T> in(const Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}

template <class T>
Rows<T> out(Matrix<T>& m) {
  return {m.data(), m.rows(), m.cols()};
}

template <class T>
Matrix<T> entmax_of(const Matrix<T>& x, double alpha) {
  Matrix<T> p(x.rows(), x.cols());
  entmax<T>(in(x), Parameter({&alpha, 1}), kUnit, Empty::uniform, out(p));
  return p;
}

/// The distance of x from y in units of the last place of y.
template <class T>
Real ulps(T x, Real y) {
  const T rounded = static_cast<T>(y);
  const T next = std::nextafter(std::abs(rounded), std::numeric_limits<T>::infinity());
  return std::abs(static_cast<Real>(x) - y) / (next - std::abs(rounded));
}

template <class T>
Real sum_error(const Matrix<T>& p, Index row) {
  Real sum = -1;
  for (Index j = 0; j < p.cols(); ++j) sum += static_cast<Real>(p(row, j));
  return std::abs(sum);
}

template <class T>
Real allowed_sum_error(Index n) {
  return 4 * static_cast<Real>(std::numeric_limits<T>::epsilon()) * std::sqrt(static_cast<Real>(n));
}

}  // namespace

TEMPLATE_TEST_CASE("exp and log are those of long double arithmetic", "", float, double) {
  using T = TestType;
  constexpr Real kUlps = 1.5;
  const T lowest = math::Ieee<T>::kExpZero;
  for (int i = 0; i < 20000; ++i) {
    const T x = lowest * static_cast<T>(std::pow(i / 20000.0, 3));
    CHECK(ulps(math::exp_nonpositive(x), std::exp(static_cast<Real>(x))) <= kUlps);
    const T y = std::exp(T(0.8) * (x - lowest / 2));
    CHECK(ulps(math::log_positive(y), std::log(static_cast<Real>(y))) <= kUlps);
    const T a = -std::exp(x / 4) * T(0.999);
    CHECK(ulps(math::log1p_above(a), std::log1p(static_cast<Real>(a))) <= kUlps);
    CHECK(ulps(math::one_minus_exp(-x), -std::expm1(static_cast<Real>(x))) <= 2 * kUlps);
  }
  CHECK(math::exp_nonpositive(-std::numeric_limits<T>::infinity()) == T(0));
  CHECK(math::exp_nonpositive(T(0)) == T(1));
  CHECK(math::log_positive(T(1)) == T(0));
  CHECK(std::isnan(math::exp_nonpositive(std::numeric_limits<T>::quiet_NaN())));
}

TEMPLATE_TEST_CASE("softmax is the quotient of exponentials", "", float, double) {
  using T = TestType;
  constexpr Real kRoundings = 4;
  for (const Index n : {1, 3, 10, 32, 33, 64, 100, 5000}) {
    const Matrix<T> x = random_rows<T>(70, n, 3.0);
    Matrix<T> p(x.rows(), n);
    softmax<T>(in(x), kUnit, Empty::uniform, out(p));
    for (Index h = 0; h < x.rows(); h += 23) {
      const Real max = x.row(h).maxCoeff();
      Real sum = 0;
      for (Index j = 0; j < n; ++j) sum += std::exp(static_cast<Real>(x(h, j)) - max);
      for (Index j = 0; j < n; ++j) {
        const Real gap = max - static_cast<Real>(x(h, j));
        const Real expected = std::exp(-gap) / sum;
        CHECK(std::abs(p(h, j) - expected) <=
              (kRoundings + gap) * std::numeric_limits<T>::epsilon() * expected);
      }
      CHECK(sum_error(p, h) <= allowed_sum_error<T>(n));
    }
  }
}

TEMPLATE_TEST_CASE("entmax solves its equation, for short and long rows alike", "", float, double) {
  using T = TestType;
  constexpr Real kRoundings = 64;
  const Real eps = std::numeric_limits<T>::epsilon();
  for (const double alpha : {1.0, 1.0 + 1e-9, 1.1, 1.25, 1.5, 1.9, 2.0, 2.5, 4.0}) {
    for (const Index n : {1, 2, 7, 32, 33, 200, 3000}) {
      const Matrix<T> x = random_rows<T>(65, n, 2.0);
      const Matrix<T> p = entmax_of(x, alpha);
      const Matrix<double> wide = x.template cast<double>();
      const Certificate found = entmax_certificate(in(wide), Parameter({&alpha, 1}), kUnit);
      for (Index h = 0; h < x.rows(); h += 16) {
        CHECK(sum_error(p, h) <= allowed_sum_error<T>(n));
        // Powers below 1 make a rounding of λ a jump of its power.
        const Real q = alpha > 2.0 ? 1 / (static_cast<Real>(alpha) - 1) : Real(1);
        CHECK(std::abs(found.residual[h]) <=
              kRoundings * n * std::pow(std::numeric_limits<Real>::epsilon(), q));
        for (Index j = 0; j < n; ++j) {
          const Real ln_p = std::log(std::max<Real>(p(h, j), std::numeric_limits<Real>::min()));
          const Real u = (static_cast<Real>(alpha) - 1) * wide(h, j) - found.value[h];
          const Real expected = alpha == 1.0 ? std::exp(wide(h, j) - found.value[h])
                                : u <= 0     ? Real(0)
                                             : std::pow(u, 1 / (static_cast<Real>(alpha) - 1));
          // λ is rounded to double, and (α−1)x of a small α−1 with it.
          const Real lost = alpha > 1.0 && alpha < 1.001 ? 1e-16 / (alpha - 1.0) : Real(0);
          const Real slope = std::pow(std::max<Real>(p(h, j), eps * eps), 2 - alpha);
          CHECK(std::abs(p(h, j) - expected) <=
                (kRoundings * eps + lost) * std::max<Real>({1, slope, -p(h, j) * ln_p}));
        }
      }
    }
  }
}

TEST_CASE("masked rows are uniform or refused, and the first bad entry is named") {
  Matrix<double> x = random_rows<double>(5, 40, 1.0);
  x.row(3).setConstant(-kInf);
  x(1, 7) = -kInf;
  Matrix<double> p(5, 40);
  for (const double alpha : {1.0, 1.2, 1.5, 2.0, 3.0, kInf}) {
    entmax<double>(in(x), Parameter({&alpha, 1}), kUnit, Empty::uniform, out(p));
    CHECK(p(1, 7) == 0.0);
    CHECK((p.row(3).array() == 1.0 / 40.0).all());
    CHECK_THROWS_AS(entmax<double>(in(x), Parameter({&alpha, 1}), kUnit, Empty::error, out(p)),
                    InvalidArgument);
  }
  x(4, 2) = kInf;
  x(2, 9) = std::numeric_limits<double>::quiet_NaN();
  try {
    softmax<double>(in(x), kUnit, Empty::uniform, out(p));
    FAIL("nothing was thrown");
  } catch (const InvalidArgument& error) {
    CHECK(std::string(error.what()).find("x[2, 9] = nan") != std::string::npos);
  }
}

TEST_CASE("results do not depend on threads or neighbours") {
  const int before = get_threads();
  for (const Index n : {9, 32, 700}) {
    const Matrix<float> x = random_rows<float>(400, n, 2.0);
    for (const double alpha : {1.0, 1.3, 1.5, 2.0, 2.7}) {
      set_threads(1);
      const Matrix<float> one = entmax_of(x, alpha);
      set_threads(3);
      CHECK(entmax_of(x, alpha) == one);
      CHECK(entmax_of<float>(x.row(137), alpha).row(0) == one.row(137));
    }
  }
  set_threads(before);
}

TEST_CASE("products are those with the Jacobian's formula") {
  constexpr double kRoundings = 64.0;
  const double eps = std::numeric_limits<double>::epsilon();
  for (const double alpha : {1.0, 1.25, 1.5, 2.0, 3.0}) {
    for (const Index n : {6, 50}) {
      const Matrix<double> p = entmax_of(random_rows<double>(3, n, 1.0), alpha);
      const Matrix<double> g = random_rows<double>(3, n, 1.0);
      Matrix<double> found(3, n);
      entmax_product<double>(in(p), in(g), Parameter({&alpha, 1}), kUnit, out(found));
      for (Index h = 0; h < 3; ++h) {
        Vector<double> s(n);
        for (Index j = 0; j < n; ++j) s[j] = p(h, j) > 0.0 ? std::pow(p(h, j), 2.0 - alpha) : 0.0;
        for (Index i = 0; i < n; ++i) {
          Real expected = 0;  // Σ_j s_i s_j (g_i − g_j)/Σs
          for (Index j = 0; j < n; ++j) {
            expected += static_cast<Real>(s[j]) * (static_cast<Real>(g(h, i)) - g(h, j));
          }
          expected *= static_cast<Real>(s[i]) / static_cast<Real>(s.sum());
          CHECK(std::abs(found(h, i) - static_cast<double>(expected)) <=
                kRoundings * eps * (1.0 + s.maxCoeff()));
        }
      }
    }
  }
}

TEST_CASE("far logits and cdfs without end do not keep the quadrature busy") {
  const auto normal = noise_named("normal", 1.0);
  Matrix<double> x(1, 3);
  x << 0.0, -1e17, -1e17 + 16.0;
  Matrix<double> p(1, 3);
  perturb_max(in(x), *normal, kUnit, Empty::uniform, out(p));
  CHECK(p(0, 0) == 1.0);

  struct Clipped : Noise {
    void evaluate(const Vector<double>& e, Vector<double>& log_cdf,
                  Vector<double>& hazard) const override {
      for (Index j = 0; j < e.size(); ++j) {
        log_cdf[j] = std::max(math::logistic(e[j]).log_cdf, -10.0);
        hazard[j] = math::logistic(e[j]).hazard;
      }
    }
  };
  CHECK_THROWS_AS(perturb_max(in(x), Clipped(), kUnit, Empty::uniform, out(p)), NotConverged);
}

TEST_CASE("a value without positive entries has no derivative") {
  const double alpha = 3.0;
  const Matrix<double> p = Matrix<double>::Zero(2, 5);
  const Matrix<double> g = random_rows<double>(2, 5, 1.0);
  Matrix<double> found = g;
  entmax_product<double>(in(p), in(g), Parameter({&alpha, 1}), kUnit, out(found));
  CHECK((found.array() == 0.0).all());
}

TEST_CASE("the maximum under Gumbel noise is softmax, whatever the spread") {
  const auto noise = noise_named("gumbel", 1.0);
  for (const double scale : {0.1, 3.0, 40.0}) {
    const Matrix<double> x = random_rows<double>(4, 30, scale);
    Matrix<double> p(4, 30);
    Matrix<double> expected(4, 30);
    perturb_max(in(x), *noise, kUnit, Empty::uniform, out(p));
    softmax<double>(in(x), kUnit, Empty::uniform, out(expected));
    CHECK((p - expected).cwiseAbs().maxCoeff() <= 1e-12);
  }
}

TEST_CASE("Student's t is Cauchy's distribution for one degree of freedom, and tends to normal") {
  constexpr double kRoundings = 32.0;
  const double eps = std::numeric_limits<double>::epsilon();
  const auto log_beta = [](double df) { return math::log_beta_half(0.5 * df); };
  for (const double a : {30.0, 31.7, 50.0}) {
    const Real expected = std::lgamma(static_cast<Real>(a)) + std::lgamma(Real(0.5)) -
                          std::lgamma(static_cast<Real>(a) + Real(0.5));
    CHECK(std::abs(math::log_beta_half(a) - expected) <= kRoundings * eps);
  }
  for (const double e : {-1e8, -30.0, -1.0, -1e-3, 0.0, 0.4, 2.0, 1e5}) {
    const auto expected = math::cauchy(e);
    const auto found = math::student_t(e, 1.0, log_beta(1.0));
    CHECK(std::abs(found.log_cdf - expected.log_cdf) <=
          kRoundings * eps * std::max(1.0, std::abs(expected.log_cdf)));
    CHECK(std::abs(found.hazard - expected.hazard) <= kRoundings * eps * expected.hazard);
  }
  const double df = 1e7;
  for (const double e : {-5.0, -1.0, 0.0, 3.0}) {
    // The next term of the expansion in 1/ν is (e³ + e)/(4ν).
    CHECK(std::abs(math::student_t(e, df, log_beta(df)).log_cdf - math::normal(e).log_cdf) <=
          (1.0 + e * e * e * e) / df);
  }
}

TEST_CASE("the budget map is the nearest point of the capped simplex") {
  constexpr double kRoundings = 64.0;
  const double eps = std::numeric_limits<double>::epsilon();
  for (const double total : {0.5, 1.0, 3.0, 7.5}) {
    const Matrix<double> x = random_rows<double>(20, 12, 1.0);
    Matrix<double> p(20, 12);
    budget<double>(in(x), Parameter({&total, 1}), kUnit, Empty::uniform, out(p));
    for (Index h = 0; h < 20; ++h) {
      CHECK(std::abs(p.row(h).sum() - total) <= kRoundings * eps * total);
      // x − p is λ inside, less where p = 0 and more where p = 1 (Karush, Kuhn, Tucker).
      double lambda = std::numeric_limits<double>::quiet_NaN();
      for (Index j = 0; j < 12; ++j) {
        if (p(h, j) > 0.0 && p(h, j) < 1.0) lambda = x(h, j) - p(h, j);
      }
      for (Index j = 0; j < 12; ++j) {
        if (p(h, j) == 0.0) CHECK_FALSE(x(h, j) > lambda + kRoundings * eps);
        if (p(h, j) == 1.0) CHECK_FALSE(x(h, j) - 1.0 < lambda - kRoundings * eps);
      }
    }
  }
}
