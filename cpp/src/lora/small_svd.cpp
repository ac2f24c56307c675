#include "small_svd.hpp"

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "resolvent/core/error.hpp"

namespace resolvent::lora {
namespace {

constexpr int kSweeps = 40;

/// Turns the columns p and q of `image` and `right` so that those of `image` become orthogonal.
void rotate(Eigen::MatrixXd& image, Eigen::MatrixXd& right, Index p, Index q, double overlap) {
  const double zeta = (image.col(q).squaredNorm() - image.col(p).squaredNorm()) / (2.0 * overlap);
  const double t = std::copysign(1.0, zeta) / (std::abs(zeta) + std::hypot(1.0, zeta));
  const double c = 1.0 / std::hypot(1.0, t), s = c * t;
  for (Eigen::MatrixXd* matrix : {&image, &right}) {
    double* a = matrix->col(p).data();
    double* b = matrix->col(q).data();
    const Index rows = matrix->rows();
#pragma omp simd
    for (Index i = 0; i < rows; ++i) {
      const double x = a[i], y = b[i];
      a[i] = c * x - s * y;
      b[i] = s * x + c * y;
    }
  }
}

}  // namespace

SmallSvd small_svd(const Eigen::MatrixXd& B, double tolerance, double negligible,
                   Checkpoint& checkpoint) {
  const Index size = B.cols();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(B.transpose() * B);
  require<NotConverged>(solver.info() == Eigen::Success,
                        "the symmetric eigensolver did not converge for a matrix of size ", size);
  Eigen::MatrixXd right = solver.eigenvectors().rowwise().reverse();
  Eigen::MatrixXd image = B * right;
  const double floor = negligible * B.norm();

  bool turned = true;
  for (int sweep = 0; turned && sweep < kSweeps; ++sweep) {
    turned = false;
    for (Index p = 0; p + 1 < size; ++p) {
      checkpoint();
      for (Index q = p + 1; q < size; ++q) {
        const double a = image.col(p).norm(), b = image.col(q).norm();
        if (std::min(a, b) <= floor) continue;
        const double overlap = image.col(p).dot(image.col(q));
        if (std::abs(overlap) <= tolerance * a * b) continue;
        rotate(image, right, p, q, overlap);
        turned = true;
      }
    }
  }
  require<NotConverged>(!turned, "Jacobi rotations did not converge for a matrix of size ", size);

  std::vector<Index> order(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), Index(0));
  const Eigen::VectorXd lengths = image.colwise().norm();
  std::stable_sort(order.begin(), order.end(),
                   [&](Index i, Index j) { return lengths[i] > lengths[j]; });
  SmallSvd out{Eigen::MatrixXd::Zero(B.rows(), size), Vector<double>(size),
               Eigen::MatrixXd(size, size)};
  for (Index i = 0; i < size; ++i) {
    const Index from = order[static_cast<std::size_t>(i)];
    out.sigma[i] = lengths[from];
    out.right.col(i) = right.col(from);
    if (lengths[from] > floor) out.left.col(i) = image.col(from) / lengths[from];
  }
  return out;
}

}  // namespace resolvent::lora
