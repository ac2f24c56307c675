#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/rational/transfer.hpp"

using namespace resolvent;

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();
constexpr double kSum = 64.0;

Matrix<double> random_matrix(Index rows, Index columns, double size) {
  static std::mt19937 generator(11);
  Matrix<double> m(rows, columns);
  std::uniform_real_distribution<double> uniform(-size, size);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = uniform(generator);
  return m;
}

/// A matrix as what the library reads, or writes.
struct View {
  Matrix<double>& m;
  operator ConstRows<double>() const { return {m.data(), m.rows(), m.cols()}; }
  operator Rows<double>() const { return {m.data(), m.rows(), m.cols()}; }
};

ConstRows<double> view(const Matrix<double>& m) { return {m.data(), m.rows(), m.cols()}; }
View view(Matrix<double>& m) { return {m}; }

/// Stable denominators by reflection coefficients of at most `size`.
Matrix<double> stable(Index rows, Index order, double size) {
  const Matrix<double> k = random_matrix(rows, order, size);
  Matrix<double> a(rows, order);
  rational::step_up<double>(view(k), view(a));
  return a;
}

}  // namespace

TEST_CASE("step down inverts step up") {
  const Matrix<double> k = random_matrix(4, 9, 0.5);
  Matrix<double> a(4, 9), again(4, 9);
  rational::step_up<double>(view(k), view(a));
  rational::step_down<double>(view(a), view(again));
  // Each step divides by 1 − k² ≥ 3/4.
  CHECK((k - again).cwiseAbs().maxCoeff() <= kSum * kEps * std::pow(4.0 / 3.0, 9));
}

TEST_CASE("the power series is the recurrence, the register its impulse response") {
  for (const Index order : {1, 2, 5, 12}) {
    const Index rows = 11;  // more than the lanes of one group
    const Index length = 2500;
    const Matrix<double> a = stable(rows, order, 0.4);
    const Matrix<double> b = random_matrix(rows, order, 1.0);
    Matrix<double> kernel(rows, length);
    rational::series_kernel<double>(view(b), view(a), view(kernel));
    Matrix<double> impulse = Matrix<double>::Zero(rows, length);
    impulse.col(0).setOnes();
    Matrix<double> y(rows, length), state = Matrix<double>::Zero(rows, order);
    rational::run_companion<double>(view(b), view(a), view(impulse), view(y), view(state));
    CHECK((y - kernel).cwiseAbs().maxCoeff() <= kSum * kEps * double(order));
    for (Index h = 0; h < rows; ++h) {
      for (Index k = 0; k < 40; ++k) {
        double sum = k < order ? b(h, k) : 0.0;
        for (Index i = 1; i <= std::min(k, order); ++i) sum -= a(h, i - 1) * kernel(h, k - i);
        CHECK(std::abs(sum - kernel(h, k)) <= kSum * kEps);
      }
    }
  }
}

TEST_CASE("the periodic kernel wraps the power series") {
  // 60 has divisors near the order, 97 has none, 16 is the order itself.
  for (const auto& [length, order] :
       std::vector<std::pair<Index, Index>>{{60, 7}, {97, 5}, {16, 16}, {1, 1}, {64, 9}}) {
    const Matrix<double> a = stable(9, order, 0.3);
    for (const double scale : {1.0, 1e-20, 1e20}) {
      const Matrix<double> b = scale * random_matrix(9, order, 1.0);
      const Index turns = 4000 / length + 2;
      Matrix<double> series(9, length * turns), periodic(9, length);
      rational::series_kernel<double>(view(b), view(a), view(series));
      rational::periodic_kernel<double>(view(b), view(a), view(periodic));
      Matrix<double> wrapped = Matrix<double>::Zero(9, length);
      for (Index t = 0; t < turns; ++t) wrapped += series.middleCols(t * length, length);
      CHECK((periodic - wrapped).cwiseAbs().maxCoeff() <=
            kSum * kEps * double(order) * wrapped.cwiseAbs().maxCoeff());
    }
  }
  const Matrix<double> one = Matrix<double>::Ones(1, 1);
  Matrix<double> out(1, 4);
  // 1 + z vanishes at z = −1.
  CHECK_THROWS_AS(rational::periodic_kernel<double>(view(one), view(one), view(out)),
                  InvalidArgument);
}

TEST_CASE("powers modulo the characteristic polynomial shift the kernel") {
  const Index order = 6;
  const Matrix<double> a = stable(3, order, 0.4);
  const Matrix<double> b = random_matrix(3, order, 1.0);
  Matrix<double> kernel(3, 200);
  rational::series_kernel<double>(view(b), view(a), view(kernel));
  for (const Index exponent : {0, 1, 5, 6, 7, 30}) {
    Matrix<double> r(3, order);
    rational::power_remainder<double>(view(a), exponent, view(r));
    for (Index h = 0; h < 3; ++h) {
      // The recurrence without input holds from K_d on, so from K_1 on for windows of d + 1.
      double sum = 0.0;
      for (Index i = 0; i < order; ++i) sum += r(h, i) * kernel(h, order + i);
      CHECK(std::abs(sum - kernel(h, order + exponent)) <= kSum * kEps);
    }
  }
}
