#include "resolvent/spectral/regions.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"

namespace resolvent::spectral {
namespace {

/// Points that are worked on together: their vectors are interleaved, so that one entry of T serves
/// all of them from a register.
constexpr std::size_t kLanes = 8;
using Lane = std::array<double, kLanes>;

/// The complex vectors of a group of points, entry by entry.
struct Vectors {
  explicit Vectors(std::size_t order) : re(order), im(order) {}
  std::vector<Lane> re;
  std::vector<Lane> im;
};

/// An upper triangular matrix over its norm, by rows and by columns, parts apart.
struct Triangle {
  std::size_t order = 0;
  double norm = 0.0;
  bool real = false;
  std::vector<double> re, im;                        // row i, columns i…
  std::vector<double> transposed_re, transposed_im;  // column i, rows …i
};

Triangle make_triangle(const Eigen::MatrixXcd& T) {
  Triangle t;
  t.order = static_cast<std::size_t>(T.rows());
  t.norm = T.stableNorm();
  const double scale = t.norm > 0.0 ? 1.0 / t.norm : 1.0;
  t.real = (T.imag().array() == 0.0).all();
  const std::size_t size = t.order * t.order;
  for (auto* part : {&t.re, &t.im, &t.transposed_re, &t.transposed_im}) part->assign(size, 0.0);
  for (std::size_t i = 0; i < t.order; ++i) {
    for (std::size_t k = i; k < t.order; ++k) {
      const Complex entry = T(static_cast<Index>(i), static_cast<Index>(k)) * scale;
      t.re[i * t.order + k] = t.transposed_re[k * t.order + i] = entry.real();
      t.im[i * t.order + k] = t.transposed_im[k * t.order + i] = entry.imag();
    }
  }
  return t;
}

bool is_upper(const Eigen::MatrixXcd& A) {
  for (Index i = 0; i < A.rows(); ++i) {
    if ((A.row(i).head(i).array() != Complex(0.0)).any()) return false;
  }
  return true;
}

/// A triangular matrix with the singular values of zI − A for every z. Reversing the order of the
/// coordinates makes a lower triangle an upper one, entries unchanged.
Triangle triangle_of(ConstRows<Complex> A) {
  const Eigen::MatrixXcd given = A;
  if (is_upper(given)) return make_triangle(given);
  const Eigen::MatrixXcd reversed = given.reverse();
  if (is_upper(reversed)) return make_triangle(reversed);
  const Eigen::ComplexSchur<Eigen::MatrixXcd> schur(given, false);
  require<NotConverged>(schur.info() == Eigen::Success,
                        "the QR algorithm did not converge for a matrix of order ", A.rows());
  return make_triangle(schur.matrixT());
}

/// The largest Ritz value and the last entry of its unit eigenvector in the Lanczos basis.
struct Ritz {
  double value;
  double last;
};

/// The Lanczos coefficients of one lane: a symmetric tridiagonal matrix that grows.
class Tridiagonal {
 public:
  Tridiagonal(const std::vector<Lane>& alpha, const std::vector<Lane>& beta, std::size_t lane)
      : alpha_(alpha), beta_(beta), lane_(lane), order_(alpha.size()) {}

  /// The largest eigenvalue, which is at least `low`. Laguerre's method on the characteristic
  /// polynomial from an upper bound, monotone and cubic for a simple eigenvalue; bisection where
  /// copies of it (Lanczos's ghosts) slow that down.
  Ritz largest(double low) const {
    double high = upper_bound();
    if (!(high > 0.0) || !std::isfinite(high)) return {high, 0.0};
    Pivots pivots{};
    for (int step = 0; step < 12; ++step) {
      pivots = factor(high);
      if (!pivots.positive) return {high, last_entry(pivots)};
      const auto degree = static_cast<double>(order_);
      const double spread = (degree - 1.0) * (degree * pivots.second - pivots.first * pivots.first);
      const double next = high - degree / (pivots.first + std::sqrt(std::max(spread, 0.0)));
      if (high - next <= kClose * high) return {high, last_entry(pivots)};
      high = next;
    }
    while (high - low > kClose * high) {
      const double middle = 0.5 * (low + high);
      if (!(middle > low && middle < high)) break;
      const Pivots at = factor(middle);
      if (at.positive) pivots = at;
      (at.positive ? high : low) = middle;
    }
    return {high, last_entry(pivots)};
  }

 private:
  static constexpr double kClose = 1e-15;

  /// What the factorisation of θ − T gives, T's characteristic polynomials being χ_i and its pivots
  /// q_i = χ_i/χ_{i−1}.
  struct Pivots {
    bool positive;   ///< all of them, so θ is beyond the largest eigenvalue
    bool last_only;  ///< all but the last
    double slope;    ///< q_k' = 1/(last entry of the eigenvector)², at an eigenvalue θ
    double first;    ///< Σ 1/(θ − λ_i) = Σ q_i'/q_i
    double second;   ///< Σ 1/(θ − λ_i)²
  };

  double upper_bound() const {
    double bound = 0.0;
    for (std::size_t i = 0; i < order_; ++i) {
      const double below = i > 0 ? beta_[i - 1][lane_] : 0.0;
      const double above = i + 1 < order_ ? beta_[i][lane_] : 0.0;
      bound = std::max(bound, alpha_[i][lane_] + below + above);
    }
    return bound;
  }

  Pivots factor(double theta) const {
    Pivots p{true, false, 0.0, 0.0, 0.0};
    double pivot = 1.0;
    double curvature = 0.0;
    for (std::size_t i = 0; i < order_; ++i) {
      const double coupling = i > 0 ? beta_[i - 1][lane_] : 0.0;
      const double ratio = coupling / pivot;
      const double square = ratio * ratio;
      curvature = square * (curvature - 2.0 * p.slope * p.slope / pivot);
      p.slope = 1.0 + square * p.slope;
      pivot = theta - alpha_[i][lane_] - ratio * coupling;
      if (!(pivot > 0.0)) {
        p.positive = false;
        p.last_only = i + 1 == order_;
        return p;
      }
      const double log_slope = p.slope / pivot;
      p.first += log_slope;
      p.second += log_slope * log_slope - curvature / pivot;
    }
    return p;
  }

  /// 0 where a leading block has the eigenvalue to rounding: later entries are next to nothing.
  static double last_entry(const Pivots& p) {
    return p.positive || p.last_only ? 1.0 / std::sqrt(p.slope) : 0.0;
  }

  const std::vector<Lane>& alpha_;
  const std::vector<Lane>& beta_;
  std::size_t lane_;
  std::size_t order_;
};

/// The Lanczos process for one group of points.
class Group {
 public:
  explicit Group(const Triangle& t)
      : t_(t), inverse_(t.order), now_(t.order), before_(t.order), image_(t.order) {}

  /// σ_min(zI − T) for the points z = re + i·im, relative to the norm.
  Lane smallest(const Lane& re, const Lane& im, double tolerance, Checkpoint& checkpoint) {
    start(re, im);
    constexpr std::size_t kMostSteps = 500;
    constexpr int kStill = 12;  // steps without a change: rounding allows no smaller residual
    Lane ritz{};
    std::array<int, kLanes> still{};
    std::array<bool, kLanes> settled{};
    for (std::size_t step = 0; step < kMostSteps; ++step) {
      checkpoint();
      advance();
      bool done = true;
      for (std::size_t l = 0; l < kLanes; ++l) {
        if (settled[l]) continue;
        const Ritz found = Tridiagonal(alpha_, beta_, l).largest(ritz[l]);
        // The residual bounds the distance to an eigenvalue, also inside a cluster.
        const double residual = beta_[step][l] * found.last;
        still[l] = found.value - ritz[l] <= 4e-15 * found.value ? still[l] + 1 : 0;
        settled[l] = !(residual > tolerance * found.value) || still[l] >= kStill;
        ritz[l] = found.value;
        done = done && settled[l];
      }
      if (done) break;
    }
    Lane sigma{};
    for (std::size_t l = 0; l < kLanes; ++l) {
      const bool known = ritz[l] > 0.0 && std::isfinite(ritz[l]) && !singular_[l];
      sigma[l] = known ? 1.0 / std::sqrt(ritz[l]) : 0.0;
    }
    return sigma;
  }

 private:
  static constexpr double kTiny = 1e-150;

  void start(const Lane& re, const Lane& im) {
    alpha_.clear();
    beta_.clear();
    singular_.fill(false);
    double squared = 0.0;
    for (std::size_t i = 0; i < t_.order; ++i) {
      // A fixed start that no structured matrix is likely to be orthogonal to.
      const double x = std::cos(0.7 + 1.3 * static_cast<double>(i * i % 1009));
      const double y = std::sin(0.4 + 1.7 * static_cast<double>(i * (i + 3) % 1013));
      squared += x * x + y * y;
      now_.re[i].fill(x);
      now_.im[i].fill(y);
      before_.re[i].fill(0.0);
      before_.im[i].fill(0.0);
      for (std::size_t l = 0; l < kLanes; ++l) {
        double a = re[l] - t_.re[i * t_.order + i];
        const double b = im[l] - t_.im[i * t_.order + i];
        if (std::hypot(a, b) < kTiny) {
          singular_[l] = true;
          a = 1.0;
        }
        const double size = a * a + b * b;
        inverse_.re[i][l] = a / size;
        inverse_.im[i][l] = -b / size;
      }
    }
    const double scale = 1.0 / std::sqrt(squared);
    for (std::size_t i = 0; i < t_.order; ++i) {
      for (double& x : now_.re[i]) x *= scale;
      for (double& x : now_.im[i]) x *= scale;
    }
  }

  /// One step: image ← (zI − T)⁻¹(zI − T)⁻* now, made orthogonal to now and before.
  void advance() {
    if (t_.real) {
      solve_adjoint<true>();
      solve<true>();
    } else {
      solve_adjoint<false>();
      solve<false>();
    }
    Lane alpha{};
    for (std::size_t i = 0; i < t_.order; ++i) {
      for (std::size_t l = 0; l < kLanes; ++l) {
        alpha[l] += now_.re[i][l] * image_.re[i][l] + now_.im[i][l] * image_.im[i][l];
      }
    }
    const Lane previous = beta_.empty() ? Lane{} : beta_.back();
    Lane squared{};
    for (std::size_t i = 0; i < t_.order; ++i) {
      for (std::size_t l = 0; l < kLanes; ++l) {
        image_.re[i][l] -= alpha[l] * now_.re[i][l] + previous[l] * before_.re[i][l];
        image_.im[i][l] -= alpha[l] * now_.im[i][l] + previous[l] * before_.im[i][l];
        squared[l] += image_.re[i][l] * image_.re[i][l] + image_.im[i][l] * image_.im[i][l];
      }
    }
    Lane beta{};
    Lane scale{};
    for (std::size_t l = 0; l < kLanes; ++l) {
      beta[l] = std::sqrt(squared[l]);
      scale[l] = beta[l] > 0.0 ? 1.0 / beta[l] : 0.0;
    }
    alpha_.push_back(alpha);
    beta_.push_back(beta);
    std::swap(before_, now_);
    for (std::size_t i = 0; i < t_.order; ++i) {
      for (std::size_t l = 0; l < kLanes; ++l) {
        now_.re[i][l] = scale[l] * image_.re[i][l];
        now_.im[i][l] = scale[l] * image_.im[i][l];
      }
    }
  }

  /// image ← (zI − T)⁻* now: forward substitution with the conjugate columns of T.
  template <bool Real>
  void solve_adjoint() {
    for (std::size_t i = 0; i < t_.order; ++i) {
      Lane re = now_.re[i];
      Lane im = now_.im[i];
      accumulate<Real, true>(t_.transposed_re.data() + i * t_.order,
                             t_.transposed_im.data() + i * t_.order, 0, i, re, im);
      for (std::size_t l = 0; l < kLanes; ++l) {
        const double a = inverse_.re[i][l];
        const double b = -inverse_.im[i][l];
        image_.re[i][l] = re[l] * a - im[l] * b;
        image_.im[i][l] = re[l] * b + im[l] * a;
      }
    }
  }

  /// image ← (zI − T)⁻¹ image: back substitution with the rows of T.
  template <bool Real>
  void solve() {
    for (std::size_t i = t_.order; i-- > 0;) {
      Lane re = image_.re[i];
      Lane im = image_.im[i];
      accumulate<Real, false>(t_.re.data() + i * t_.order, t_.im.data() + i * t_.order, i + 1,
                              t_.order, re, im);
      for (std::size_t l = 0; l < kLanes; ++l) {
        const double a = inverse_.re[i][l];
        const double b = inverse_.im[i][l];
        image_.re[i][l] = re[l] * a - im[l] * b;
        image_.im[i][l] = re[l] * b + im[l] * a;
      }
    }
  }

  /// (re, im) += Σ_k t_k image_k, or with conjugate t.
  template <bool Real, bool Conjugate>
  void accumulate(const double* t_re, const double* t_im, std::size_t first, std::size_t last,
                  Lane& re, Lane& im) const {
    Lane sum_re = re;
    Lane sum_im = im;
    for (std::size_t k = first; k < last; ++k) {
      const double a = t_re[k];
      const double b = Conjugate ? -t_im[k] : t_im[k];
      const Lane& x = image_.re[k];
      const Lane& y = image_.im[k];
#pragma omp simd
      for (std::size_t l = 0; l < kLanes; ++l) {
        if constexpr (Real) {
          sum_re[l] += a * x[l];
          sum_im[l] += a * y[l];
        } else {
          sum_re[l] += a * x[l] - b * y[l];
          sum_im[l] += a * y[l] + b * x[l];
        }
      }
    }
    re = sum_re;
    im = sum_im;
  }

  const Triangle& t_;
  Vectors inverse_;  // of the diagonal of zI − T
  Vectors now_, before_, image_;
  std::vector<Lane> alpha_, beta_;
  std::array<bool, kLanes> singular_{};
};

}  // namespace

void pseudospectrum(ConstRows<Complex> A, std::span<const double> re, std::span<const double> im,
                    double tolerance, Rows<double> out) {
  const Triangle triangle = triangle_of(A);
  const double scale = triangle.norm > 0.0 ? 1.0 / triangle.norm : 1.0;
  const auto points = static_cast<Index>(re.size() * im.size());
  constexpr auto kGroup = static_cast<Index>(kLanes);
  const Index groups = (points + kGroup - 1) / kGroup;
  const auto columns = static_cast<Index>(re.size());
  const double work =
      100.0 * static_cast<double>(points) * static_cast<double>(triangle.order * triangle.order);
  parallel_for(groups, work, [&](Index group, Checkpoint& checkpoint) {
    Lane x{}, y{};
    for (std::size_t l = 0; l < kLanes; ++l) {
      const Index at = std::min(points - 1, group * kGroup + static_cast<Index>(l));
      x[l] = re[static_cast<std::size_t>(at % columns)] * scale;
      y[l] = im[static_cast<std::size_t>(at / columns)] * scale;
    }
    const Lane sigma = Group(triangle).smallest(x, y, tolerance, checkpoint);
    const Index count = std::min(kGroup, points - group * kGroup);
    for (Index l = 0; l < count; ++l) {
      out.data()[group * kGroup + l] = sigma[static_cast<std::size_t>(l)] / scale;
    }
  });
}

void numerical_range(ConstRows<Complex> A, std::span<const double> angles,
                     Eigen::Ref<Vector<Complex>> boundary, Eigen::Ref<Vector<double>> support) {
  const Index N = A.rows();
  const auto order = static_cast<double>(N);
  const double work = 30.0 * order * order * order * static_cast<double>(angles.size());
  parallel_for(static_cast<Index>(angles.size()), work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    const Complex turn = std::polar(1.0, -angles[static_cast<std::size_t>(i)]);
    const Eigen::MatrixXcd turned = turn * A;
    const Eigen::MatrixXcd hermitian = 0.5 * (turned + turned.adjoint());
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXcd> solver(hermitian);
    require<NotConverged>(solver.info() == Eigen::Success,
                          "the Hermitian eigensolver did not converge for order ", N);
    const Eigen::VectorXcd x = solver.eigenvectors().col(N - 1);
    boundary[i] = x.dot(A * x);
    support[i] = solver.eigenvalues()[N - 1];
  });
}

}  // namespace resolvent::spectral
