#include "resolvent/distill/mixture.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <type_traits>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/elementary.hpp"

namespace resolvent::distill {
namespace {

// ---- preparation --------------------------------------------------------------------------------

/// Entries of a lower triangle, and where row i of it starts.
constexpr Index triangle(Index i) { return i * (i + 1) / 2; }

/// R ← the Cholesky factor of C, both d × d; R is a lower triangle. Returns whether C is positive
/// definite to rounding.
bool factorize(const double* C, Index dim, double* R) {
  for (Index i = 0; i < dim; ++i) {
    double* row = R + triangle(i);
    for (Index k = 0; k <= i; ++k) {
      const double* other = R + triangle(k);
      double sum = C[i * dim + k];
      for (Index m = 0; m < k; ++m) sum -= row[m] * other[m];
      if (k < i) {
        row[k] = sum / other[k];
      } else {
        if (!(sum > 0.0) || !std::isfinite(sum)) return false;
        row[k] = std::sqrt(sum);
      }
    }
  }
  return true;
}

/// W ← R⁻¹, lower triangles.
void invert(const double* R, Index dim, double* W) {
  for (Index k = 0; k < dim; ++k) {
    for (Index i = k; i < dim; ++i) {
      const double* row = R + triangle(i);
      double sum = i == k ? 1.0 : 0.0;
      for (Index m = k; m < i; ++m) sum -= row[m] * W[triangle(m) + k];
      W[triangle(i) + k] = sum / row[i];
    }
  }
}

/// log + exponent·log 2.
struct ScaledLog {
  double log;
  int exponent;
};

ScaledLog log_product_of_diagonal(const double* R, Index dim) {
  ScaledLog found{0.0, 0};
  for (Index i = 0; i < dim; ++i) {
    int exponent = 0;
    found.log += std::log(std::frexp(R[triangle(i) + i], &exponent));
    found.exponent += exponent;
  }
  return found;
}

// ---- blocks of points ---------------------------------------------------------------------------

/// Points side by side: four vectors of 512 bits, so that additions do not wait for each other.
template <class T>
constexpr Index kLanes = 256 / sizeof(T);

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

// The widest registers there are. Elementwise, so the width changes no result.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
using Vec [[gnu::vector_size(kVectorBytes), gnu::may_alias]] = T;

/// Of one entry of a block.
template <class T>
constexpr Index kVectors = kLanes<T> * sizeof(T) / kVectorBytes;

template <class T>
using Lane = std::array<T, kLanes<T>>;

/// The registers of all entries, kVectors to each.
template <class Entries>
auto* vectors(Entries& entries) {
  using T = std::remove_reference_t<decltype(*entries.data())>;
  return reinterpret_cast<Vec<T>*>(entries.data());
}

/// kLanes points and what is known about them. Matrices have one row for each entry of a vector and
/// one column for each point.
template <class T>
struct Block {
  Block(Index dim, Index outputs)
      : x(dim, kLanes<T>),
        u(dim, kLanes<T>),
        z(dim, kLanes<T>),
        y(outputs, kLanes<T>),
        total(outputs, kLanes<T>) {}

  /// Takes points first, first + 1, …; where there are fewer, the last one is repeated.
  void load(ConstRows<T> points, Index from) {
    first = from;
    count = std::min(kLanes<T>, points.rows() - from);
    for (Index l = 0; l < kLanes<T>; ++l) {
      const T* point = points.row(from + std::min(l, count - 1)).data();
      for (Index i = 0; i < points.cols(); ++i) x(i, l) = point[i];
    }
  }

  Index first = 0;
  Index count = 0;
  Matrix<T> x, u, z;           // the points, x − μ_j, R_j⁻¹(x − μ_j)
  alignas(64) Lane<T> square;  // ‖z_j‖²
  Matrix<T> y;                 // what is blended, of component j
  // Sums over the components so far, relative to e^top.
  alignas(64) Lane<T> top;
  alignas(64) Lane<T> sum;
  Matrix<T> total;
  alignas(64) Lane<T> fade;   // factor of the sums before component j
  alignas(64) Lane<T> share;  // of component j
  // Points so far away that one component is all: which, or −1.
  std::array<Index, kLanes<T>> sole;
  bool has_sole = false;
};

/// u, z and ‖z‖² of component j; D is d, or Eigen::Dynamic.
template <int D, class T>
void whiten(const Mixture<T>& mixture, Index j, Block<T>& block) {
  const Index dim = D > 0 ? D : mixture.dim();
  const T* mean = mixture.mean(j);
  const T* W = mixture.whitening(j);
  auto *x = vectors(block.x), *u = vectors(block.u), *z = vectors(block.z);
  for (Index v = 0; v < kVectors<T>; ++v, ++x, ++u, ++z) {
    Vec<T> square{};
    for (Index i = 0; i < dim; ++i) {
      u[i * kVectors<T>] = x[i * kVectors<T>] - mean[i];
      Vec<T> sum{};
      for (Index k = 0; k <= i; ++k) sum += W[triangle(i) + k] * u[k * kVectors<T>];
      z[i * kVectors<T>] = sum;
      square += sum * sum;
    }
    vectors(block.square)[v] = square;
  }
}

/// s = −R⁻ᵀz of component j, into entries first … first + d − 1 of y.
template <int D, class T>
void component_score(const Mixture<T>& mixture, Index j, Index first, Block<T>& block) {
  const Index dim = D > 0 ? D : mixture.dim();
  const T* W = mixture.whitening(j);
  auto *z = vectors(block.z), *s = vectors(block.y) + first * kVectors<T>;
  for (Index v = 0; v < kVectors<T>; ++v, ++z, ++s) {
    for (Index i = 0; i < dim; ++i) {
      Vec<T> sum{};
      for (Index k = i; k < dim; ++k) sum -= W[triangle(k) + i] * z[k * kVectors<T>];
      s[i * kVectors<T>] = sum;
    }
  }
}

/// ℓ_j; −∞ where ‖z_j‖² has overflowed.
template <class T>
T term(T log_weight, T square) {
  const T log = log_weight - T(0.5) * square;
  return log > std::numeric_limits<T>::lowest() ? log : -kInfinity<T>;
}

/// Takes the term e^{ℓ_j} into the sums: they are to be multiplied by `fade`, the term counts
/// `share`, and one of the two is 1.
template <class T>
void weigh(T log_weight, Block<T>& block) {
#pragma omp simd
  for (Index l = 0; l < kLanes<T>; ++l) {
    const T log = term(log_weight, block.square[l]);
    const T top = block.top[l];
    const bool leads = log > top;
    const T ratio = math::exp_nonpositive(leads ? top - log : log - top);
    const T fade = leads ? ratio : T(1);
    const T share = leads ? T(1) : ratio;
    block.top[l] = leads ? log : top;
    block.fade[l] = fade;
    block.share[l] = share;
    block.sum[l] = block.sum[l] * fade + share;
  }
}

/// total ← total·fade + y·share; y may be infinite where its share is 0.
template <class T>
void add_share(Block<T>& block) {
  const auto *fade = vectors(block.fade), *share = vectors(block.share);
  auto *total = vectors(block.total), *y = vectors(block.y);
  for (Index i = 0; i < block.total.rows(); ++i, total += kVectors<T>, y += kVectors<T>) {
    for (Index v = 0; v < kVectors<T>; ++v) {
      total[v] = total[v] * fade[v] + (share[v] > T(0) ? share[v] * y[v] : Vec<T>{});
    }
  }
}

// ---- what is blended ----------------------------------------------------------------------------

/// Nothing: the density alone.
struct Nothing {
  Index outputs() const { return 0; }
  template <int D, class T>
  void evaluate(const Mixture<T>&, Index, Block<T>&) const {}
};

/// The components' scores s_j.
template <class T>
struct Scores {
  Index outputs() const { return dim; }
  template <int D>
  void evaluate(const Mixture<T>& mixture, Index j, Block<T>& block) const {
    component_score<D>(mixture, j, 0, block);
  }
  Index dim;
};

/// A_j(x − μ_j) + b_j.
template <class T>
struct Maps {
  explicit Maps(const AffineMaps& maps)
      : slopes(maps.slopes.cast<T>()), offsets(maps.offsets.cast<T>()) {}
  Index outputs() const { return offsets.cols(); }
  template <int D>
  void evaluate(const Mixture<T>& mixture, Index j, Block<T>& block) const {
    const Index dim = mixture.dim();
    const T* A = slopes.row(j).data();
    auto* y = vectors(block.y);
    for (Index o = 0; o < outputs(); ++o, A += dim, y += kVectors<T>) {
      const auto* u = vectors(block.u);
      for (Index v = 0; v < kVectors<T>; ++v, ++u) {
        Vec<T> sum = Vec<T>{} + offsets(j, o);
        for (Index k = 0; k < dim; ++k) sum += A[k] * u[k * kVectors<T>];
        y[v] = sum;
      }
    }
  }
  Matrix<T> slopes;
  Matrix<T> offsets;
};

/// Maps, and the components' scores after them.
template <class T>
struct MapsAndScores {
  Index outputs() const { return maps.outputs() + dim; }
  template <int D>
  void evaluate(const Mixture<T>& mixture, Index j, Block<T>& block) const {
    maps.template evaluate<D>(mixture, j, block);
    component_score<D>(mixture, j, maps.outputs(), block);
  }
  Maps<T> maps;
  Index dim;
};

// ---- sums over the components -------------------------------------------------------------------

/// Where no term is left, the nearest component becomes all of the sum.
template <int D, class T, class Values>
void settle_far_points(const Mixture<T>& mixture, const Values& values, Block<T>& block) {
  block.sole.fill(-1);
  block.has_sole = false;
  Vector<T> point(mixture.dim());
  for (Index l = 0; l < kLanes<T>; ++l) {
    if (block.sum[l] > T(0)) continue;
    point = block.x.col(l);
    const Index j = mixture.nearest(point.data());
    whiten<D>(mixture, j, block);
    values.template evaluate<D>(mixture, j, block);
    block.total.col(l) = block.y.col(l);
    block.top[l] = -kInfinity<T>;
    block.sum[l] = T(1);
    block.sole[l] = j;
    block.has_sole = true;
  }
}

/// total ← Σ r_j y_j, top + log sum = log p.
template <int D, class T, class Values>
void accumulate(const Mixture<T>& mixture, const Values& values, Block<T>& block) {
  block.top.fill(std::numeric_limits<T>::lowest());
  block.sum.fill(T(0));
  block.total.setZero();
  for (Index j = 0; j < mixture.components(); ++j) {
    whiten<D>(mixture, j, block);
    weigh(mixture.log_weight(j), block);
    values.template evaluate<D>(mixture, j, block);
    add_share(block);
  }
  settle_far_points<D>(mixture, values, block);
  for (Index i = 0; i < block.total.rows(); ++i) {
    T* total = block.total.row(i).data();
#pragma omp simd
    for (Index l = 0; l < kLanes<T>; ++l) total[l] /= block.sum[l];
  }
}

/// share ← r_j, after `accumulate` and with z of component j.
template <class T>
void share_of(const Mixture<T>& mixture, Index j, Block<T>& block) {
  const T log_weight = mixture.log_weight(j);
#pragma omp simd
  for (Index l = 0; l < kLanes<T>; ++l) {
    const T below = term(log_weight, block.square[l]) - block.top[l];
    block.share[l] = math::exp_nonpositive(below) / block.sum[l];
  }
  if (!block.has_sole) return;
  for (Index l = 0; l < kLanes<T>; ++l) {
    if (block.sole[l] >= 0) block.share[l] = block.sole[l] == j ? T(1) : T(0);
  }
}

template <class T>
void store_density(const Mixture<T>& mixture, const Block<T>& block, VectorView<T> out) {
  for (Index l = 0; l < block.count; ++l) {
    const T relative = block.top[l] + math::log_positive(block.sum[l]);
    out[block.first + l] = relative + mixture.log_scale();
  }
}

/// Rows of entries into rows of points.
template <class T>
void store(const Block<T>& block, const Matrix<T>& entries, Rows<T> out) {
  for (Index l = 0; l < block.count; ++l) {
    T* row = out.row(block.first + l).data();
    for (Index i = 0; i < entries.rows(); ++i) row[i] = entries(i, l);
  }
}

/// The derivative of what `accumulate` gives, first `rows` of it, by x. The components' scores
/// stand in `values` from entry `scores` on; slopes (K, rows·d) are the derivatives of the y_j.
template <int D, class T, class Values>
void differentiate(const Mixture<T>& mixture, const Values& values, Index rows, Index scores,
                   const Matrix<T>& slopes, Block<T>& block, Matrix<T>& jacobian) {
  accumulate<D>(mixture, values, block);
  jacobian.setZero();
  const Index dim = mixture.dim();
  for (Index j = 0; j < mixture.components(); ++j) {
    whiten<D>(mixture, j, block);
    share_of(mixture, j, block);
    values.template evaluate<D>(mixture, j, block);
    block.y -= block.total;
    if (block.has_sole) {
      // Exactly 0 there, also where both have overflowed.
      for (Index l = 0; l < kLanes<T>; ++l) {
        if (block.sole[l] == j) block.y.col(l).setZero();
      }
    }
    const T* slope = slopes.row(j).data();
    auto* out = vectors(jacobian);
    for (Index entry = 0; entry < rows * dim; ++entry, out += kVectors<T>) {
      const auto* y = vectors(block.y) + entry / dim * kVectors<T>;
      const auto* s = vectors(block.y) + (scores + entry % dim) * kVectors<T>;
      const auto* share = vectors(block.share);
      for (Index v = 0; v < kVectors<T>; ++v) {
        out[v] += share[v] > T(0) ? share[v] * (y[v] * s[v] + slope[entry]) : Vec<T>{};
      }
    }
  }
}

// ---- points over threads ------------------------------------------------------------------------

/// Calls f with d as a constant where the loops over it are short.
template <class F>
void with_dim(Index dim, F&& f) {
  switch (dim) {
    case 1:
      return f(std::integral_constant<int, 1>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 3:
      return f(std::integral_constant<int, 3>{});
    default:
      return f(std::integral_constant<int, Eigen::Dynamic>{});
  }
}

/// Calls body(block) for all points; a block of `outputs` entries costs `work` operations for each
/// point.
template <class T, class Body>
void for_blocks(ConstRows<T> x, Index outputs, double work, Body&& body) {
  constexpr double kWorkPerTask = 1e6;
  const Index blocks = (x.rows() + kLanes<T> - 1) / kLanes<T>;
  if (blocks == 0) return;
  const double per_block = work * static_cast<double>(kLanes<T>);
  const Index together =
      std::min(blocks, static_cast<Index>(std::max(1.0, kWorkPerTask / per_block)));
  const Index tasks = (blocks + together - 1) / together;
  parallel_for(tasks, work * static_cast<double>(x.rows()),
               [&](Index task, Checkpoint& checkpoint) {
                 checkpoint();
                 Block<T> block(x.cols(), outputs);
                 const Index end = std::min(blocks, (task + 1) * together);
                 for (Index b = task * together; b < end; ++b) {
                   checkpoint();
                   block.load(x, b * kLanes<T>);
                   body(block);
                 }
               });
}

/// Operations of a point, all components together, that are weighed and blended once.
template <class T>
double work_of(const Mixture<T>& mixture, Index outputs) {
  constexpr double kWorkPerTerm = 30.0;  // exponential and sums
  const auto d = static_cast<double>(mixture.dim());
  const double term = kWorkPerTerm + d * d + static_cast<double>(outputs) * (d + 4.0);
  return static_cast<double>(mixture.components()) * term;
}

/// Σ r_j y_j of what `values` blends.
template <class T, class Values>
void blend_values(const Mixture<T>& mixture, const Values& values, ConstRows<T> x, Rows<T> out) {
  const Index outputs = values.outputs();
  with_dim(mixture.dim(), [&](auto dim) {
    for_blocks(x, outputs, work_of(mixture, outputs), [&](Block<T>& block) {
      accumulate<dim()>(mixture, values, block);
      store(block, block.total, out);
    });
  });
}

/// The derivative of the first `rows` of it.
template <class T, class Values>
void differentiate_values(const Mixture<T>& mixture, const Values& values, Index rows, Index scores,
                          const Matrix<T>& slopes, ConstRows<T> x, Rows<T> out) {
  const Index outputs = values.outputs();
  const double work = 2.0 * work_of(mixture, outputs + rows * mixture.dim());
  with_dim(mixture.dim(), [&](auto dim) {
    for_blocks(x, outputs, work, [&](Block<T>& block) {
      Matrix<T> jacobian(rows * mixture.dim(), kLanes<T>);
      differentiate<dim()>(mixture, values, rows, scores, slopes, block, jacobian);
      store(block, jacobian, out);
    });
  });
}

/// −C_j⁻¹ = −R_j⁻ᵀR_j⁻¹ of every component, (K, d·d).
template <class T>
Matrix<T> negative_precisions(const Mixture<T>& mixture) {
  const Index dim = mixture.dim();
  Matrix<T> out = Matrix<T>::Zero(mixture.components(), dim * dim);
  for (Index j = 0; j < out.rows(); ++j) {
    const T* W = mixture.whitening(j);
    for (Index m = 0; m < dim; ++m) {
      const T* row = W + triangle(m);
      for (Index i = 0; i <= m; ++i) {
        for (Index k = 0; k <= m; ++k) out(j, i * dim + k) -= row[i] * row[k];
      }
    }
  }
  return out;
}

}  // namespace

template <class T>
Mixture<T>::Mixture(ConstVectorView<double> weights, ConstRows<double> means,
                    ConstRows<double> covariances)
    : dim_(means.cols()),
      components_(means.rows()),
      means_(means.cast<T>()),
      whitenings_(components_, triangle(dim_)),
      log_weights_(components_),
      log_scale_(0) {
  Vector<double> R(triangle(dim_)), W(triangle(dim_)), log_weights(components_);
  int first_exponent = 0;
  for (Index j = 0; j < components_; ++j) {
    require(factorize(covariances.row(j).data(), dim_, R.data()),
            "covariances must have a Cholesky factor, got covariances[", j,
            "] that is not positive definite or out of range");
    invert(R.data(), dim_, W.data());
    whitenings_.row(j) = W.cast<T>();
    const ScaledLog volume = log_product_of_diagonal(R.data(), dim_);
    if (j == 0) first_exponent = volume.exponent;
    log_weights[j] =
        std::log(weights[j]) - volume.log - (volume.exponent - first_exponent) * std::numbers::ln2;
  }
  // What all components have in common, as the unit of x, costs their differences no digits.
  const double common = log_weights.maxCoeff();
  log_weights_ = (log_weights.array() - common).template cast<T>().matrix();
  log_scale_ = static_cast<T>(common - first_exponent * std::numbers::ln2 -
                              0.5 * static_cast<double>(dim_) * std::log(2.0 * std::numbers::pi));
}

template <class T>
void Mixture<T>::log_density(ConstRows<T> x, VectorView<T> out) const {
  with_dim(dim_, [&](auto dim) {
    for_blocks(x, 0, work_of(*this, 0), [&](Block<T>& block) {
      accumulate<dim()>(*this, Nothing{}, block);
      store_density(*this, block, out);
    });
  });
}

template <class T>
void Mixture<T>::responsibilities(ConstRows<T> x, Rows<T> out, VectorView<T> density) const {
  with_dim(dim_, [&](auto dim) {
    for_blocks(x, 0, 2.0 * work_of(*this, 0), [&](Block<T>& block) {
      accumulate<dim()>(*this, Nothing{}, block);
      store_density(*this, block, density);
      for (Index j = 0; j < components_; ++j) {
        whiten<dim()>(*this, j, block);
        share_of(*this, j, block);
        for (Index l = 0; l < block.count; ++l) out(block.first + l, j) = block.share[l];
      }
    });
  });
}

template <class T>
void Mixture<T>::score(ConstRows<T> x, Rows<T> out) const {
  blend_values(*this, Scores<T>{dim_}, x, out);
}

template <class T>
void Mixture<T>::hessian(ConstRows<T> x, Rows<T> out) const {
  differentiate_values(*this, Scores<T>{dim_}, dim_, 0, negative_precisions(*this), x, out);
}

template <class T>
void Mixture<T>::blend(ConstRows<T> x, const AffineMaps& maps, Rows<T> out) const {
  blend_values(*this, Maps<T>(maps), x, out);
}

template <class T>
void Mixture<T>::blend_jacobian(ConstRows<T> x, const AffineMaps& maps, Rows<T> out) const {
  const MapsAndScores<T> values{Maps<T>(maps), dim_};
  const Index rows = values.maps.outputs();
  differentiate_values(*this, values, rows, rows, values.maps.slopes, x, out);
}

template <class T>
Index Mixture<T>::nearest(const T* x) const {
  // The exponents of long double hold squares of what the others can hold.
  long double least = std::numeric_limits<long double>::infinity();
  Index found = 0;
  for (Index j = 0; j < components_; ++j) {
    long double square = 0.0L;
    for (Index i = 0; i < dim_; ++i) {
      long double z = 0.0L;
      for (Index k = 0; k <= i; ++k) {
        const long double u = static_cast<long double>(x[k]) - means_(j, k);
        z += whitenings_(j, triangle(i) + k) * u;
      }
      square += z * z;
    }
    if (square < least) {
      least = square;
      found = j;
    }
  }
  return found;
}

template class Mixture<float>;
template class Mixture<double>;

}  // namespace resolvent::distill
