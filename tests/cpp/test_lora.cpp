#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/lora/low_rank.hpp"
#include "resolvent/lora/problems.hpp"

using namespace resolvent;
using namespace resolvent::lora;

namespace {

std::mt19937 generator(7);

template <class T>
Matrix<T> random_matrix(Index rows, Index columns) {
  std::normal_distribution<double> normal;
  Matrix<T> M(rows, columns);
  for (Index i = 0; i < M.size(); ++i) M.data()[i] = static_cast<T>(normal(generator));
  return M;
}

template <class T>
ConstRows<T> in(const Matrix<T>& M) {
  return {M.data(), M.rows(), M.cols()};
}

/// M ← H M for a few reflections H = I − 2 v vᵀ/‖v‖²: M's singular values stay.
void reflect(Matrix<double>& M) {
  for (int k = 0; k < 3; ++k) {
    Vector<double> v = random_matrix<double>(M.rows(), 1).col(0);
    const Eigen::RowVectorXd image = (2.0 / v.squaredNorm()) * (v.transpose() * M);
    M -= v * image;
  }
}

/// A matrix with these singular values, in an unknown basis.
Matrix<double> with_spectrum(Index rows, Index columns, const std::vector<double>& sigma) {
  Matrix<double> M = Matrix<double>::Zero(rows, columns);
  for (std::size_t i = 0; i < sigma.size(); ++i) M(Index(i), Index(i)) = sigma[i];
  reflect(M);
  Matrix<double> turned = M.transpose();
  reflect(turned);
  return turned.transpose();
}

std::vector<double> power_law(Index count, double power) {
  std::vector<double> sigma;
  for (Index i = 1; i <= count; ++i) sigma.push_back(std::pow(double(i), -power));
  return sigma;
}

template <class T>
double largest_defect(const Matrix<T>& Q) {
  const Eigen::MatrixXd wide = Q.template cast<double>();
  return (wide.transpose() * wide - Eigen::MatrixXd::Identity(Q.cols(), Q.cols()))
      .cwiseAbs()
      .maxCoeff();
}

template <class T>
double true_residual(const Matrix<T>& M, const LowRank<T>& found) {
  const Eigen::MatrixXd wide = M.template cast<double>();
  const Eigen::MatrixXd near = found.U.template cast<double>() * found.sigma.asDiagonal() *
                               found.V.template cast<double>().transpose();
  return (wide - near).norm();
}

constexpr double kRoundings = 64.0;

}  // namespace

TEST_CASE("block Krylov finds a spectrum that falls", "[lora]") {
  const auto sigma = power_law(60, 2.0);
  for (const auto& [rows, columns] : {std::pair<Index, Index>{200, 60}, {60, 200}, {90, 90}}) {
    const Matrix<double> M = with_spectrum(rows, columns, sigma);
    const auto found = block_krylov(in(M), 8, {});
    const double eps = std::numeric_limits<double>::epsilon();
    CHECK(largest_defect(found.U) <= kRoundings * eps);
    CHECK(largest_defect(found.V) <= kRoundings * eps);
    for (Index i = 0; i < 8; ++i) CHECK(std::abs(found.sigma[i] - sigma[i]) <= 1e-10);
    CHECK(found.residual == Approx(true_residual(M, found)).epsilon(1e-9));
    for (Index i = 0; i < 8; ++i) {
      Index at = 0;
      found.U.col(i).cwiseAbs().maxCoeff(&at);
      CHECK(found.U(at, i) > 0.0);
    }
  }
}

TEST_CASE("no number of threads changes a bit of low rank", "[lora][threads]") {
  const Matrix<float> M = random_matrix<float>(700, 520);
  const int before = get_threads();
  for (auto* method : {&block_krylov<float>, &subspace_iteration<float>}) {
    set_threads(1);
    const auto one = method(in(M), 20, {});
    set_threads(3);
    const auto three = method(in(M), 20, {});
    CHECK(one.U == three.U);
    CHECK(one.V == three.V);
    CHECK(one.sigma == three.sigma);
    CHECK(one.residual == three.residual);
  }
  set_threads(before);
}

TEST_CASE("Sums over many rows are split alike for every thread", "[lora][threads]") {
  const Matrix<float> M = random_matrix<float>(20000, 18);
  const int before = get_threads();
  set_threads(1);
  const auto one = block_krylov(in(M), 4, {});
  set_threads(2);
  const auto two = block_krylov(in(M), 4, {});
  set_threads(before);
  CHECK(one.U == two.U);
  CHECK(one.sigma == two.sigma);
}

TEST_CASE("matrices without a spectrum worth the name", "[lora]") {
  const double eps = std::numeric_limits<double>::epsilon();
  const Matrix<double> zero = Matrix<double>::Zero(40, 30);
  const Matrix<double> identity = Matrix<double>::Identity(50, 50);
  const Matrix<double> thin = with_spectrum(70, 80, {3.0, 2.0, 1.0});
  for (auto* method : {&block_krylov<double>, &subspace_iteration<double>}) {
    const auto of_zero = method(in(zero), 20, {});
    CHECK(of_zero.sigma.cwiseAbs().maxCoeff() == 0.0);
    CHECK(of_zero.residual == 0.0);
    CHECK(largest_defect(of_zero.U) <= kRoundings * eps);
    CHECK(largest_defect(of_zero.V) <= kRoundings * eps);
    const auto of_identity = method(in(identity), 40, {});
    CHECK((of_identity.sigma.array() - 1.0).abs().maxCoeff() <= kRoundings * eps);
    CHECK(of_identity.residual == Approx(std::sqrt(10.0)).epsilon(1e-12));
    const auto of_thin = method(in(thin), 10, {});
    CHECK(std::abs(of_thin.sigma[2] - 1.0) <= kRoundings * eps);
    CHECK(of_thin.sigma[3] <= kRoundings * eps);
    CHECK(of_thin.residual <= kRoundings * eps);
    CHECK(largest_defect(of_thin.U) <= kRoundings * eps);
    CHECK(largest_defect(of_thin.V) <= kRoundings * eps);
  }
}

TEST_CASE("a tolerance is reached, or refused", "[lora]") {
  const Matrix<double> M = random_matrix<double>(300, 260);
  LowRankOptions options;
  options.tolerance = 1e-9;
  const auto found = block_krylov(in(M), 5, options);
  for (Index i = 0; i < 5; ++i) {
    const Vector<double> rest = M.transpose() * found.U.col(i) - found.sigma[i] * found.V.col(i);
    CHECK(rest.norm() <= 1.01e-9 * found.sigma[0]);
    CHECK(found.errors[i] <= 1e-9 * found.sigma[0]);
  }
  options.iterations = 3;
  CHECK_THROWS_AS(block_krylov(in(M), 5, options), NotConverged);
  CHECK_THROWS_AS(subspace_iteration(in(M), 5, options), NotConverged);
}

TEST_CASE("more vectors than there are make no difference", "[lora]") {
  const Matrix<double> M = random_matrix<double>(40, 30);
  LowRankOptions huge;
  huge.oversample = std::numeric_limits<Index>::max();
  for (auto* method : {&block_krylov<double>, &subspace_iteration<double>}) {
    const auto found = method(in(M), 4, huge);
    CHECK(found.residual == Approx(true_residual(M, found)).epsilon(1e-9));
  }
}

TEST_CASE("low rank refuses what has no meaning", "[lora]") {
  Matrix<double> M = random_matrix<double>(6, 4);
  CHECK_THROWS_AS(block_krylov(in(M), 0, {}), InvalidArgument);
  CHECK_THROWS_AS(block_krylov(in(M), 5, {}), InvalidArgument);
  M(2, 3) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH(subspace_iteration(in(M), 2, {}), "M must be finite, got M[2, 3] = nan");
}

namespace {

struct Network {
  Matrix<double> W1 = random_matrix<double>(5, 18);
  Matrix<double> b1 = random_matrix<double>(18, 1);
  Matrix<double> W2 = random_matrix<double>(18, 3);
  Matrix<double> b2 = random_matrix<double>(3, 1);

  std::vector<Matrix<double>*> all() { return {&W1, &b1, &W2, &b2}; }
};

Rows<double> rows(Matrix<double>& M) { return {M.data(), M.rows(), M.cols()}; }
VectorView<double> vector(Matrix<double>& M) { return {M.data(), M.size()}; }
ConstVectorView<double> const_vector(const Matrix<double>& M) { return {M.data(), M.size()}; }

Score run(const Matrix<double>& x, const std::vector<std::int64_t>& labels, const Network& at,
          Activation activation, Network& gradient) {
  return perceptron<double>(
      in(x), labels, {in(at.W1), const_vector(at.b1)}, {in(at.W2), const_vector(at.b2)}, activation,
      {rows(gradient.W1), vector(gradient.b1)}, {rows(gradient.W2), vector(gradient.b2)});
}

}  // namespace

TEST_CASE("gradients of the perceptron are slopes of its loss", "[lora]") {
  const Matrix<double> x = random_matrix<double>(40, 5);
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 40; ++i) labels.push_back(i % 3);
  for (const Activation activation : {Activation::relu, Activation::tanh}) {
    Network at, gradient, ignored;
    run(x, labels, at, activation, gradient);
    const double step = 1e-6;
    for (std::size_t part = 0; part < 4; ++part) {
      for (Index i = 0; i < at.all()[part]->size(); i += 7) {
        Network above = at, below = at;
        above.all()[part]->data()[i] += step;
        below.all()[part]->data()[i] -= step;
        const double slope = (run(x, labels, above, activation, ignored).loss -
                              run(x, labels, below, activation, ignored).loss) /
                             (2.0 * step);
        CHECK(gradient.all()[part]->data()[i] == Approx(slope).margin(1e-8));
      }
    }
  }
}

TEST_CASE("softmax regression is the perceptron without its first layer", "[lora]") {
  const Matrix<double> x = random_matrix<double>(30, 6).cwiseAbs();
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 30; ++i) labels.push_back(i % 4);
  const Matrix<double> W = random_matrix<double>(6, 4), b = random_matrix<double>(4, 1);
  const Matrix<double> identity = Matrix<double>::Identity(6, 6), zero = Matrix<double>::Zero(6, 1);
  Matrix<double> dW(6, 4), db(4, 1), dW1(6, 6), db1(6, 1), dW2(6, 4), db2(4, 1);
  const Score one =
      softmax_regression<double>(in(x), labels, in(W), const_vector(b), rows(dW), vector(db));
  const Score two = perceptron<double>(in(x), labels, {in(identity), const_vector(zero)},
                                       {in(W), const_vector(b)}, Activation::relu,
                                       {rows(dW1), vector(db1)}, {rows(dW2), vector(db2)});
  CHECK(one.loss == two.loss);
  CHECK(one.hits == two.hits);
  CHECK(dW == dW2);
  CHECK(db == db2);
  labels[3] = 4;
  CHECK_THROWS_WITH(
      softmax_regression<double>(in(x), labels, in(W), const_vector(b), rows(dW), vector(db)),
      "labels must lie in [0, 4), got labels[3] = 4");
}
