// The spectral core against dense linear algebra and closed forms. The wider comparison, with
// 50-digit arithmetic, is in tests/python.

#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/hippo/system.hpp"
#include "resolvent/spectral/eigen.hpp"
#include "resolvent/spectral/normal.hpp"
#include "resolvent/spectral/regions.hpp"

namespace hp = resolvent::hippo;
namespace sp = resolvent::spectral;
using hp::Measure;
using resolvent::Complex;
using resolvent::ConstRows;
using resolvent::Index;
using resolvent::Matrix;
using resolvent::Rows;
using resolvent::Vector;

namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();

hp::System make(Measure measure, Index order, double window = 1.0) {
  hp::Config config;
  config.measure = measure;
  config.order = order;
  config.window = window;
  if (measure == Measure::malmquist) {
    config.poles = Vector<double>::LinSpaced(order, -2.0, 1.5).array().exp();
  }
  return hp::System(config);
}

/// Φ by its definition.
double phase_by_sum(const Vector<double>& poles, double mu) {
  double sum = 0.0;
  for (const double pole : poles) sum += 2.0 * std::atan(mu / pole);
  return sum;
}

ConstRows<Complex> view(const Matrix<Complex>& A) { return {A.data(), A.rows(), A.cols()}; }

/// V (diag(λ) − PP*) V* for a real system in orthonormal coordinates, from the kept half.
Matrix<double> reconstructed(const sp::NormalForm& form) {
  Matrix<Complex> V(form.order(), form.mu().size());
  form.vectors(Rows<Complex>(V.data(), V.rows(), V.cols()));
  Vector<Complex> weighted(form.mu().size());
  Vector<double> weight(form.mu().size());
  for (Index j = 0; j < weight.size(); ++j) {
    weight[j] = form.mu()[j] != 0.0 ? 2.0 : 1.0;
    weighted[j] = weight[j] * Complex(form.shift(), form.mu()[j]);
  }
  const Matrix<double> normal = (V * weighted.asDiagonal() * V.adjoint()).real();
  const Matrix<double> low = (V * weight.cast<Complex>().asDiagonal() * form.P()).real();
  return normal - low * low.transpose();
}

}  // namespace

TEST_CASE("the phase of LegS is its sum over the poles, in O(1)") {
  for (const Index order : {Index{1}, Index{2}, Index{15}, Index{16}, Index{17}, Index{500}}) {
    const sp::PhaseFunction phase(make(Measure::legs, order));
    const Vector<double> poles = Vector<double>::LinSpaced(order, 0.5, double(order) - 0.5);
    for (const double mu : {1e-8, 0.3, 7.0, 15.9, 16.0, 40.0, 1e3, 1e6}) {
      const auto found = phase(mu);
      const double sum = phase_by_sum(poles, mu);
      double missing = 0.0;
      double slope = 0.0;
      for (const double pole : poles) {
        missing += 2.0 * std::atan(pole / mu);
        slope += 2.0 * pole / (pole * pole + mu * mu);
      }
      const double bound = 4.0 * kEps * std::sqrt(double(order)) + 8.0 * kEps;
      CHECK(std::abs(found.value - sum) <= bound * sum);
      CHECK(std::abs(found.complement - missing) <= bound * missing);
      CHECK(std::abs(found.slope - slope) <= bound * slope);
      CHECK(phase(-mu).value == -found.value);
    }
  }
}

TEST_CASE("roots of the phase equation are eigenvalues of the normal part") {
  for (const Measure measure : {Measure::legs, Measure::lagt, Measure::malmquist}) {
    for (const Index order : {Index{1}, Index{2}, Index{7}, Index{40}}) {
      const hp::System system = make(measure, order);
      const auto spectrum = sp::normal_spectrum(system);
      const Vector<double> b = system.B();
      const Matrix<double> K = system.A() + 0.5 * b * b.transpose() -
                               spectrum.shift * Matrix<double>::Identity(order, order);
      const Eigen::MatrixXcd hermitian = Complex(0.0, -1.0) * K.cast<Complex>();
      const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXcd> dense(hermitian);
      const double size = K.norm() + 1.0;
      for (Index j = 0; j < order; ++j) {
        CHECK(std::abs(spectrum.mu[j] - dense.eigenvalues()[order - 1 - j]) <=
              4.0 * double(order) * kEps * size);
        CHECK(spectrum.mu[j] == -spectrum.mu[order - 1 - j]);
      }
      CHECK(std::abs(spectrum.weights.sum() - b.squaredNorm()) <=
            double(order) * kEps * b.squaredNorm());
    }
  }
}

TEST_CASE("the tangent formula of LagT") {
  const Index order = 100000;
  const auto spectrum = sp::normal_spectrum(make(Measure::lagt, order));
  for (const Index j : {Index{0}, Index{1}, Index{24999}, Index{36000}}) {
    // tan(π/2 − x) = 1/tan(x), with x = π(2j+1)/(2N) exact to rounding.
    const double x = std::numbers::pi * double(2 * j + 1) / double(2 * order);
    // The relative condition of tan at x is 2x/sin 2x, below 3 for these j.
    CHECK(std::abs(spectrum.mu[j] * 2.0 * std::tan(x) - 1.0) <= 8.0 * kEps);
  }
}

TEST_CASE("normal plus low rank gives A back") {
  for (const Measure measure :
       {Measure::legs, Measure::legt, Measure::lagt, Measure::malmquist, Measure::fout}) {
    for (const Index order : {Index{1}, Index{2}, Index{9}, Index{70}}) {
      const hp::System system = make(measure, order, measure == Measure::legs ? 1.0 : 2.5);
      const sp::NormalForm form(system);
      const Matrix<double> A = system.A();
      CHECK((reconstructed(form) - A).norm() <= 50.0 * double(order) * kEps * A.norm());
    }
  }
}

TEST_CASE("transforming a read-out there and back") {
  const hp::System system = make(Measure::legs, 300);
  const sp::NormalForm form(system);
  const Index kept = form.mu().size();
  Matrix<Complex> C(2, 300);
  for (Index n = 0; n < 300; ++n) C.col(n) << std::cos(double(n)), 1.0 / double(n + 1);
  Matrix<Complex> image(2, kept), back(2, 300);
  form.transform(view(C), Rows<Complex>(image.data(), 2, kept));
  const Matrix<Complex> weighted = 2.0 * image;  // order is even: pairs only
  form.inverse_transform(view(weighted), Rows<Complex>(back.data(), 2, 300));
  CHECK((back.real() - C.real()).norm() <= 300.0 * kEps * C.norm());
}

TEST_CASE("results do not depend on the number of threads") {
  const int before = resolvent::get_threads();
  const hp::System system = make(Measure::legs, 3000);
  std::vector<Vector<double>> found;
  for (const int threads : {1, 4}) {
    resolvent::set_threads(threads);
    found.push_back(sp::normal_spectrum(system).mu);
  }
  resolvent::set_threads(before);
  CHECK(std::memcmp(found[0].data(), found[1].data(), 3000 * sizeof(double)) == 0);
}

TEST_CASE("eigenvectors of triangular systems, and their condition") {
  const hp::System system = make(Measure::legs, 12);
  const auto found = sp::triangular_vectors(system, true);
  const Matrix<double> A = system.A();
  for (Index j = 0; j < 12; ++j) {
    const Vector<double> v = found.vectors.col(j);
    const Vector<double> rest = A * v + double(j + 1) * v;
    CHECK(rest.norm() <= 12.0 * kEps * A.norm());
    CHECK(std::abs(v.norm() - 1.0) <= 12.0 * kEps);
  }
  const Eigen::MatrixXd V = found.vectors;
  const auto singular = Eigen::JacobiSVD<Eigen::MatrixXd>(V).singularValues();
  const double condition = singular[0] / singular[11];
  // The dense route loses condition · eps of the smallest singular value.
  CHECK(std::abs(found.log10_matrix_condition - std::log10(condition)) <= 10.0 * condition * kEps);
  CHECK_THROWS_AS(sp::triangular_vectors(make(Measure::lagt, 3), false),
                  resolvent::InvalidArgument);
}

TEST_CASE("the pseudospectrum is the smallest singular value") {
  const Matrix<Complex> legt = make(Measure::legt, 11).A().cast<Complex>();
  const Matrix<Complex> legs = make(Measure::legs, 11).A().cast<Complex>();
  Matrix<Complex> mixed = legt + Complex(0.0, 1.0) * legs;
  for (const Matrix<Complex>& A : {legt, legs, mixed}) {
    const std::vector<double> re{-30.0, -4.0, 0.0, 2.5, 60.0};
    const std::vector<double> im{-20.0, 0.1, 3.0};
    Matrix<double> out(3, 5);
    sp::pseudospectrum(view(A), re, im, 1e-10, Rows<double>(out.data(), 3, 5));
    for (Index i = 0; i < 3; ++i) {
      for (Index j = 0; j < 5; ++j) {
        const Complex z(re[static_cast<std::size_t>(j)], im[static_cast<std::size_t>(i)]);
        const Eigen::MatrixXcd shifted = z * Eigen::MatrixXcd::Identity(11, 11) - A;
        const double sigma = Eigen::JacobiSVD<Eigen::MatrixXcd>(shifted).singularValues()[10];
        CHECK(std::abs(out(i, j) - sigma) <= 1e-9 * sigma + 50.0 * kEps * A.norm());
      }
    }
  }
}

TEST_CASE("the numerical range of a Jordan block is a disc") {
  Matrix<Complex> A = Matrix<Complex>::Zero(2, 2);
  A(0, 1) = 1.0;
  const std::vector<double> angles{0.0, 1.0, 2.0, 3.0, 4.0, 5.0};
  Vector<Complex> boundary(6);
  Vector<double> support(6);
  sp::numerical_range(view(A), angles, boundary, support);
  for (Index k = 0; k < 6; ++k) {
    CHECK(std::abs(boundary[k] - std::polar(0.5, angles[static_cast<std::size_t>(k)])) <=
          8.0 * kEps);
    CHECK(std::abs(support[k] - 0.5) <= 8.0 * kEps);
  }
}

TEST_CASE("measures without a normal form are refused") {
  CHECK_THROWS_AS(sp::NormalForm(make(Measure::fous, 5)), resolvent::InvalidArgument);
  CHECK_THROWS_AS(sp::PhaseFunction(make(Measure::legt, 5)), resolvent::InvalidArgument);
}
