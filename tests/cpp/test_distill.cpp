#include <Eigen/LU>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

#include "catch.hpp"
#include "resolvent/core/error.hpp"
#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/distill/mixture.hpp"

using namespace resolvent;
using namespace resolvent::distill;

namespace {

constexpr double kRoundings = 64.0;

/// Weights (K), means (K, d), covariances (K, d·d).
struct Parameters {
  Vector<double> weights;
  Matrix<double> means;
  Matrix<double> covariances;

  template <class T>
  Mixture<T> mixture() const {
    return {{weights.data(), weights.size()},
            {means.data(), means.rows(), means.cols()},
            {covariances.data(), covariances.rows(), covariances.cols()}};
  }
};

template <class T>
ConstRows<T> in(const Matrix<T>& M) {
  return {M.data(), M.rows(), M.cols()};
}

template <class T>
Matrix<T> random_matrix(Index rows, Index columns, std::mt19937& random) {
  std::normal_distribution<double> normal;
  Matrix<T> M(rows, columns);
  for (Index i = 0; i < M.size(); ++i) M.data()[i] = static_cast<T>(normal(random));
  return M;
}

/// Covariances I + FFᵀ.
Parameters random_parameters(Index components, Index dim, std::mt19937& random) {
  Parameters found{Vector<double>::LinSpaced(components, 1.0, 2.0),
                   2.0 * random_matrix<double>(components, dim, random),
                   Matrix<double>(components, dim * dim)};
  found.weights /= found.weights.sum();
  for (Index j = 0; j < components; ++j) {
    const Matrix<double> F = random_matrix<double>(dim, dim, random);
    const Matrix<double> C = F * F.transpose() + Matrix<double>::Identity(dim, dim);
    found.covariances.row(j) = Eigen::Map<const Eigen::RowVectorXd>(C.data(), dim * dim);
  }
  return found;
}

/// A mixture at one point by its definition, with explicit inverses, in double precision.
struct Reference {
  double log_density = 0.0;
  Vector<double> shares;
  Vector<double> score;
  Matrix<double> hessian;
};

Reference reference(const Parameters& p, const Vector<double>& x) {
  const Index K = p.means.rows(), d = p.means.cols();
  Reference found{0.0, Vector<double>(K), Vector<double>::Zero(d), Matrix<double>::Zero(d, d)};
  std::vector<Matrix<double>> precisions;
  std::vector<Vector<double>> scores;
  for (Index j = 0; j < K; ++j) {
    const ConstRows<double> C(p.covariances.row(j).data(), d, d);
    const Matrix<double> P = Matrix<double>(C).inverse();
    const Vector<double> u = x - p.means.row(j).transpose();
    precisions.push_back(P);
    scores.push_back(-P * u);
    found.shares[j] = std::log(p.weights[j]) -
                      0.5 * std::log(Matrix<double>(2.0 * std::numbers::pi * C).determinant()) -
                      0.5 * u.dot(P * u);
  }
  const double top = found.shares.maxCoeff();
  found.shares = (found.shares.array() - top).exp().matrix();
  found.log_density = top + std::log(found.shares.sum());
  found.shares /= found.shares.sum();
  for (Index j = 0; j < K; ++j) found.score += found.shares[j] * scores[std::size_t(j)];
  for (Index j = 0; j < K; ++j) {
    const Vector<double> apart = scores[std::size_t(j)] - found.score;
    found.hessian += found.shares[j] * (apart * apart.transpose() - precisions[std::size_t(j)]);
  }
  return found;
}

/// What all functions give, each in a matrix with a row for every point.
template <class T>
struct Values {
  Vector<T> log_density, same_log_density;
  Matrix<T> shares, score, hessian, blend, jacobian;
};

template <class T>
Rows<T> out(Matrix<T>& M) {
  return {M.data(), M.rows(), M.cols()};
}

template <class T>
Values<T> evaluate(const Parameters& p, const Matrix<T>& x, const Matrix<double>& slopes,
                   const Matrix<double>& offsets) {
  const Index n = x.rows(), K = p.means.rows(), d = p.means.cols(), o = offsets.cols();
  const auto mixture = p.mixture<T>();
  const AffineMaps maps{in(slopes), in(offsets)};
  Values<T> v{Vector<T>(n),        Vector<T>(n),    Matrix<T>(n, K),    Matrix<T>(n, d),
              Matrix<T>(n, d * d), Matrix<T>(n, o), Matrix<T>(n, o * d)};
  mixture.log_density(in(x), {v.log_density.data(), n});
  mixture.responsibilities(in(x), out(v.shares), {v.same_log_density.data(), n});
  mixture.score(in(x), out(v.score));
  mixture.hessian(in(x), out(v.hessian));
  mixture.blend(in(x), maps, out(v.blend));
  mixture.blend_jacobian(in(x), maps, out(v.jacobian));
  return v;
}

template <class T>
Values<T> evaluate(const Parameters& p, const Matrix<T>& x) {
  const Index K = p.means.rows(), d = p.means.cols();
  return evaluate<T>(p, x, Matrix<double>::Zero(K, d), Matrix<double>::Zero(K, 1));
}

template <class T>
void check_against_reference(Index components, Index dim, Index count) {
  std::mt19937 random(11);
  const Parameters p = random_parameters(components, dim, random);
  const Matrix<T> x = T(3) * random_matrix<T>(count, dim, random);
  const auto found = evaluate<T>(p, x);
  CHECK(found.log_density == found.same_log_density);
  for (Index i = 0; i < count; ++i) {
    const Reference exact = reference(p, x.row(i).transpose().template cast<double>());
    // λ_min ≥ 1, so that no rounding of x − μ grows; ℓ has the size of its largest term.
    const double size = 10.0 + std::abs(exact.log_density);
    const double bound = kRoundings * std::numeric_limits<T>::epsilon() * size;
    CHECK(std::abs(found.log_density[i] - exact.log_density) <= bound);
    for (Index j = 0; j < components; ++j) {
      CHECK(std::abs(found.shares(i, j) - exact.shares[j]) <= bound);
    }
    const double slope = 1.0 + exact.score.norm();
    for (Index k = 0; k < dim; ++k) {
      CHECK(std::abs(found.score(i, k) - exact.score[k]) <= bound * slope);
    }
    for (Index k = 0; k < dim * dim; ++k) {
      const double entry = exact.hessian(k / dim, k % dim);
      CHECK(std::abs(found.hessian(i, k) - entry) <= bound * slope * slope);
    }
  }
}

/// Standard deviations 1 and 10 about 0, in one dimension.
Parameters two_widths() {
  return {Vector<double>::Constant(2, 0.5), Matrix<double>::Zero(2, 1),
          (Matrix<double>(2, 1) << 1.0, 100.0).finished()};
}

}  // namespace

TEST_CASE("mixtures agree with their definition", "[distill]") {
  for (const Index dim : {1, 2, 3, 4, 9}) {
    for (const Index components : {1, 2, 17}) {
      check_against_reference<double>(components, dim, 70);
      check_against_reference<float>(components, dim, 70);
    }
  }
}

TEST_CASE("a point does not depend on its neighbours", "[distill]") {
  std::mt19937 random(3);
  const Parameters p = random_parameters(5, 2, random);
  const Matrix<double> x = random_matrix<double>(67, 2, random);
  const auto all = evaluate<double>(p, x);
  for (Index i : {0, 1, 31, 32, 66}) {
    const auto alone = evaluate<double>(p, Matrix<double>(x.row(i)));
    CHECK(alone.log_density[0] == all.log_density[i]);
    CHECK(alone.score.row(0) == all.score.row(i));
    CHECK(alone.hessian.row(0) == all.hessian.row(i));
  }
}

TEST_CASE("no points, no results", "[distill]") {
  std::mt19937 random(3);
  const Parameters p = random_parameters(2, 3, random);
  CHECK(evaluate<float>(p, Matrix<float>(0, 3)).score.rows() == 0);
}

TEST_CASE("the score is a blend of the components' scores", "[distill]") {
  std::mt19937 random(5);
  const Index K = 4, d = 3;
  const Parameters p = random_parameters(K, d, random);
  Matrix<double> slopes(K, d * d);
  for (Index j = 0; j < K; ++j) {
    const ConstRows<double> C(p.covariances.row(j).data(), d, d);
    const Matrix<double> P = -Matrix<double>(C).inverse();
    slopes.row(j) = Eigen::Map<const Eigen::RowVectorXd>(P.data(), d * d);
  }
  const Matrix<double> x = random_matrix<double>(40, d, random);
  const auto v = evaluate<double>(p, x, slopes, Matrix<double>::Zero(K, d));
  const double bound = kRoundings * std::numeric_limits<double>::epsilon();
  CHECK((v.blend - v.score).cwiseAbs().maxCoeff() <= bound * (1.0 + v.score.cwiseAbs().maxCoeff()));
  CHECK((v.jacobian - v.hessian).cwiseAbs().maxCoeff() <=
        bound * (1.0 + v.score.cwiseAbs2().maxCoeff()));
}

TEST_CASE("hessians are symmetric to the last bit", "[distill]") {
  std::mt19937 random(6);
  const Parameters p = random_parameters(6, 4, random);
  const auto v = evaluate<float>(p, Matrix<float>(5.0f * random_matrix<float>(50, 4, random)));
  for (Index i = 0; i < 50; ++i) {
    for (Index k = 0; k < 16; ++k) CHECK(v.hessian(i, k) == v.hessian(i, k % 4 * 4 + k / 4));
  }
}

TEST_CASE("nothing underflows far from all means", "[distill]") {
  // The wider component wins by e^{0.495 x²}/10.
  const double peak = -std::log(20.0 * std::sqrt(2.0 * std::numbers::pi));
  Matrix<double> x(4, 1);
  x << 100.0, -1e4, 1e100, 1e150;
  const auto v = evaluate<double>(two_widths(), x);
  const double bound = kRoundings * std::numeric_limits<double>::epsilon();
  for (Index i = 0; i < x.size(); ++i) {
    CHECK(std::abs(v.score(i, 0) / (-x(i, 0) / 100.0) - 1.0) <= bound);
    CHECK(std::abs(v.hessian(i, 0) + 0.01) <= bound);
    CHECK(v.shares(i, 1) == 1.0);
    const double log_density = peak - x(i, 0) * x(i, 0) / 200.0;
    CHECK(std::abs(v.log_density[i] / log_density - 1.0) <= bound);
  }
}

TEST_CASE("where squares overflow the nearest component is all", "[distill]") {
  const Parameters p = two_widths();
  const Matrix<double> x = (Matrix<double>(2, 1) << 1e160, -1e300).finished();
  const auto v = evaluate<double>(p, x, Matrix<double>::Constant(2, 1, 2.0),
                                  (Matrix<double>(2, 1) << 5.0, 7.0).finished());
  for (Index i = 0; i < 2; ++i) {
    CHECK(v.log_density[i] == -std::numeric_limits<double>::infinity());
    CHECK(v.shares(i, 0) == 0.0);
    CHECK(v.shares(i, 1) == 1.0);
    CHECK(v.score(i, 0) == Approx(-x(i, 0) / 100.0).epsilon(1e-14));
    CHECK(v.hessian(i, 0) == Approx(-0.01).epsilon(1e-14));
    CHECK(v.blend(i, 0) == 2.0 * x(i, 0) + 7.0);
    CHECK(v.jacobian(i, 0) == 2.0);
  }
  const auto single = evaluate<float>(p, (Matrix<float>(1, 1) << 1e30f).finished(),
                                      Matrix<double>::Zero(2, 1), Matrix<double>::Zero(2, 1));
  CHECK(single.score(0, 0) == Approx(-1e28).epsilon(1e-6));
}

TEST_CASE("squares of some components may overflow", "[distill]") {
  // At 1e160 a standard deviation of 1 overflows, one of 1e159 does not.
  const Parameters p{Vector<double>::Constant(2, 0.5), Matrix<double>::Zero(2, 1),
                     (Matrix<double>(2, 1) << 1.0, 1e300).finished()};
  const auto v = evaluate<double>(p, (Matrix<double>(1, 1) << 1e153).finished());
  CHECK(v.score(0, 0) == Approx(-1e-147).epsilon(1e-14));
  CHECK(v.shares(0, 1) == 1.0);
}

TEST_CASE("no number of threads changes a bit of a mixture", "[distill][threads]") {
  std::mt19937 random(8);
  const int before = get_threads();
  for (const Index dim : {2, 5}) {
    const Parameters p = random_parameters(40, dim, random);
    const Matrix<float> x = random_matrix<float>(3001, dim, random);
    set_threads(1);
    const auto one = evaluate<float>(p, x);
    set_threads(3);
    const auto three = evaluate<float>(p, x);
    CHECK(one.log_density == three.log_density);
    CHECK(one.shares == three.shares);
    CHECK(one.score == three.score);
    CHECK(one.hessian == three.hessian);
  }
  set_threads(before);
}

TEST_CASE("covariances that are not positive definite are named", "[distill]") {
  Parameters p{Vector<double>::Constant(2, 0.5), Matrix<double>::Zero(2, 2), Matrix<double>(2, 4)};
  p.covariances << 1.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 1.0;
  CHECK_THROWS_WITH(p.mixture<double>(),
                    "covariances must have a Cholesky factor, got covariances[1] that is not "
                    "positive definite or out of range");
  p.covariances.row(1) << 1.0, 0.0, 0.0, std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(p.mixture<double>(), InvalidArgument);
}

TEST_CASE("a mixture can be interrupted", "[distill]") {
  std::mt19937 random(9);
  const Parameters p = random_parameters(200, 3, random);
  const Matrix<double> x = random_matrix<double>(400'000, 3, random);
  Matrix<double> score(x.rows(), 3);
  set_interrupt_poll([] { return true; });
  CHECK_THROWS_AS(p.mixture<double>().score(in(x), out(score)), Interrupted);
  set_interrupt_poll(nullptr);
}
