#include "resolvent/ssm/response.hpp"

#include <Eigen/Householder>
#include <Eigen/LU>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "pair.hpp"
#include "resolvent/core/fft.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/math/ssm.hpp"

namespace resolvent::ssm {
namespace {

constexpr Index kLanes = 16;  // points that are worked on side by side

// ---- Hyman's method -----------------------------------------------------------------------------

/// A, B, C with B = βe_1 and A in Hessenberg form, cut where B reaches no further.
template <class T>
struct HessenbergModel {
  Matrix<T> A;
  Matrix<T> C;
  T beta;
};

/// The power of two nearest to the size of B, whose squares may leave the range of double; 1 for 0.
template <class T>
double size_of(ConstVectorView<T> B) {
  const double largest = B.cwiseAbs().maxCoeff();
  if (!(largest > 0.0) || !std::isfinite(largest)) return 1.0;
  return std::ldexp(1.0, std::clamp(std::ilogb(largest), -1000, 1000));
}

template <class T>
HessenbergModel<T> hessenberg_model(ConstRows<T> A, const Vector<T>& B, ConstRows<T> C) {
  const Index order = A.rows();
  HessenbergModel<T> model{A, C, T(0)};
  // Householder reflections: the first takes B to βe_1, the next ones the columns of A to zeros
  // below the subdiagonal, and leave e_1 alone.
  Vector<T> column = B;
  Vector<T> workspace(std::max(order, C.rows()));
  Checkpoint checkpoint;
  for (Index n = 0; n < order; ++n) {
    checkpoint();
    const Index rest = order - n;
    Vector<T> essential(rest - 1);
    T tau;
    double beta;
    column.tail(rest).makeHouseholder(essential, tau, beta);
    if (n == 0) {
      model.beta = beta;
    } else {
      model.A.col(n - 1).tail(rest).setZero();
      model.A(n, n - 1) = beta;
    }
    model.A.bottomRightCorner(rest, rest)
        .applyHouseholderOnTheLeft(essential, tau, workspace.data());
    const T back = Eigen::numext::conj(tau);
    model.A.rightCols(rest).applyHouseholderOnTheRight(essential, back, workspace.data());
    model.C.rightCols(rest).applyHouseholderOnTheRight(essential, back, workspace.data());
    column = model.A.col(n);
    if (n + 1 < order) column.head(n + 1).setZero();
  }
  Index reached = order;
  for (Index n = 1; n < order; ++n) {
    if (model.A(n, n - 1) == T(0)) {
      reached = n;
      break;
    }
  }
  model.A = model.A.topLeftCorner(reached, reached).eval();
  model.C = model.C.leftCols(reached).eval();
  return model;
}

/// Sums of a row of A with the states of kLanes points: part(n, lane) over the columns after `n`.
template <class T>
void row_times_states(const T* row, Index first, Index order, const double* re, const double* im,
                      double* sum_re, double* sum_im) {
  std::fill_n(sum_re, kLanes, 0.0);
  std::fill_n(sum_im, kLanes, 0.0);
  for (Index j = first; j < order; ++j) {
    const double* x = re + j * kLanes;
    const double* y = im + j * kLanes;
    if constexpr (std::is_same_v<T, double>) {
      const double h = row[j];
#pragma omp simd
      for (Index l = 0; l < kLanes; ++l) {
        sum_re[l] += h * x[l];
        sum_im[l] += h * y[l];
      }
    } else {
      const double h_re = row[j].real();
      const double h_im = row[j].imag();
#pragma omp simd
      for (Index l = 0; l < kLanes; ++l) {
        sum_re[l] += h_re * x[l] - h_im * y[l];
        sum_im[l] += h_re * y[l] + h_im * x[l];
      }
    }
  }
}

/// Keeps states that grow as x_N … x_1 are found within the range of double.
void rescale(Index first, Index order, double* re, double* im) {
  constexpr double kLarge = 0x1p500;
  double largest[kLanes];
  bool any = false;
  for (Index l = 0; l < kLanes; ++l) {
    largest[l] = std::max(std::abs(re[first * kLanes + l]), std::abs(im[first * kLanes + l]));
    any = any || largest[l] > kLarge;
  }
  if (!any) return;
  for (Index j = first; j < order; ++j) {
    for (Index l = 0; l < kLanes; ++l) {
      if (!(largest[l] > kLarge)) continue;
      re[j * kLanes + l] /= kLarge;
      im[j * kLanes + l] /= kLarge;
    }
  }
}

template <class T>
void hyman(const HessenbergModel<T>& model, const Complex* zeta, Index points, Complex* out,
           Index out_stride, Vector<double>& states) {
  const Index order = model.A.rows();
  double* re = states.data();
  double* im = re + order * kLanes;
  double sum_re[kLanes];
  double sum_im[kLanes];
  std::fill_n(re + (order - 1) * kLanes, kLanes, 1.0);
  std::fill_n(im + (order - 1) * kLanes, kLanes, 0.0);
  for (Index n = order - 1; n >= 0; --n) {
    row_times_states(model.A.row(n).data(), n, order, re, im, sum_re, sum_im);
    for (Index l = 0; l < kLanes; ++l) {
      // (ζ − h_nn)x_n − Σ_{j>n} h_nj x_j, what h_{n,n−1} x_{n−1} must be.
      const Pair z = pair_of(zeta[std::min(l, points - 1)]);
      const Pair x{re[n * kLanes + l], im[n * kLanes + l]};
      const Pair residual = z * x - Pair{sum_re[l], sum_im[l]};
      if (n == 0) {
        sum_re[l] = residual.re;
        sum_im[l] = residual.im;
        continue;
      }
      const Pair previous = residual / pair_of(Complex(model.A(n, n - 1)));
      re[(n - 1) * kLanes + l] = previous.re;
      im[(n - 1) * kLanes + l] = previous.im;
    }
    if (n > 0) rescale(n - 1, order, re, im);
  }
  const Pair beta = pair_of(Complex(model.beta));
  double image_re[kLanes];
  double image_im[kLanes];
  for (Index r = 0; r < model.C.rows(); ++r) {
    row_times_states(model.C.row(r).data(), 0, order, re, im, image_re, image_im);
    for (Index l = 0; l < points; ++l) {
      const Pair value = beta * Pair{image_re[l], image_im[l]} / Pair{sum_re[l], sum_im[l]};
      out[r * out_stride + l] = {value.re, value.im};
    }
  }
}

}  // namespace

template <class T>
void frequency_response(ConstRows<T> A, ConstVectorView<T> B, ConstRows<T> C,
                        std::span<const Complex> zeta, Rows<Complex> out) {
  const double scale = size_of<T>(B);
  const HessenbergModel<T> model = hessenberg_model<T>(A, B / scale, C);
  const auto points = static_cast<Index>(zeta.size());
  const auto order = static_cast<double>(model.A.rows());
  const double work = 2.0 * order * (order + 16.0) * static_cast<double>(points);
  const Index groups = (points + kLanes - 1) / kLanes;
  parallel_for(groups, work, [&](Index g, Checkpoint& checkpoint) {
    checkpoint();
    Vector<double> states(2 * kLanes * model.A.rows());
    const Index first = g * kLanes;
    const Index some = std::min(kLanes, points - first);
    hyman(model, zeta.data() + first, some, &out(0, first), out.cols(), states);
    out.middleCols(first, some) *= scale;
  });
}

// ---- cascades -----------------------------------------------------------------------------------

void cascade_points(const hippo::Cascade& cascade, ConstRows<double> C, std::span<const Complex> s,
                    Rows<Complex> out) {
  const auto points = static_cast<Index>(s.size());
  Vector<double> s_re(points), s_im(points);
  for (Index k = 0; k < points; ++k) {
    s_re[k] = s[k].real();
    s_im[k] = s[k].imag();
  }
  Vector<double> w_re = Vector<double>::Ones(points);
  Vector<double> w_im = Vector<double>::Zero(points);
  Matrix<double> sum_re = Matrix<double>::Zero(C.rows(), points);
  Matrix<double> sum_im = Matrix<double>::Zero(C.rows(), points);
  Vector<double> state_re(points), state_im(points);
  for (Index n = 0; n < cascade.diagonal.size(); ++n) {
    const double d = cascade.diagonal[n];
    const double e = cascade.coupling[n];
#pragma omp simd
    for (Index k = 0; k < points; ++k) {
      const auto section =
          math::response_section(d, e, Pair{s_re[k], s_im[k]}, Pair{w_re[k], w_im[k]});
      state_re[k] = section.state.re;
      state_im[k] = section.state.im;
      w_re[k] = section.passed.re;
      w_im[k] = section.passed.im;
    }
    for (Index r = 0; r < C.rows(); ++r) {
      sum_re.row(r) += C(r, n) * state_re.transpose();
      sum_im.row(r) += C(r, n) * state_im.transpose();
    }
  }
  for (Index r = 0; r < C.rows(); ++r) {
    for (Index k = 0; k < points; ++k) out(r, k) = {sum_re(r, k), sum_im(r, k)};
  }
}

void cascade_response(const hippo::Cascade& cascade, ConstRows<double> C,
                      std::span<const Complex> s, Rows<Complex> out) {
  const auto points = static_cast<Index>(s.size());
  const double work = (20.0 + 4.0 * static_cast<double>(C.rows())) *
                      static_cast<double>(cascade.diagonal.size()) * static_cast<double>(points);
  constexpr Index kBlock = 128;
  parallel_for((points + kBlock - 1) / kBlock, work, [&](Index g, Checkpoint& checkpoint) {
    checkpoint();
    const Index first = g * kBlock;
    const Index some = std::min(kBlock, points - first);
    Matrix<Complex> block(C.rows(), some);
    cascade_points(cascade, C, s.subspan(first, some), {block.data(), C.rows(), some});
    out.middleCols(first, some) = block;
  });
}

// ---- diagonal plus low rank ---------------------------------------------------------------------

namespace {

/// C and Q*, (1 + r) × M.
Matrix<Complex> left_vectors(const DplrModel& model) {
  Matrix<Complex> out(1 + model.Q.rows(), model.C.size());
  out << model.C.transpose(), model.Q.conjugate();
  return out;
}

/// B and P, (1 + r) × M.
Matrix<Complex> right_vectors(const DplrModel& model) {
  Matrix<Complex> out(1 + model.P.rows(), model.B.size());
  out << model.B.transpose(), model.P;
  return out;
}

/// Row x(1 + r) + y: the products X_n Y_n of left and right vectors.
CauchySums<double> sums_of(const DplrModel& model) {
  const Matrix<Complex> left = left_vectors(model);
  const Matrix<Complex> right = right_vectors(model);
  const Index count = left.rows();
  Matrix<Complex> products(count * count, left.cols());
  for (Index x = 0; x < count; ++x) {
    for (Index y = 0; y < count; ++y) {
      products.row(x * count + y) = left.row(x).cwiseProduct(right.row(y));
    }
  }
  // Each term and its conjugate are half of what the entry stands for.
  if (model.real) {
    products.array().rowwise() *= (0.5 * model.weight.transpose().array()).cast<Complex>();
  }
  return CauchySums<double>(
      ConstRows<Complex>(products.data(), products.rows(), products.cols()),
      {model.eigenvalues.data(), static_cast<std::size_t>(model.eigenvalues.size())},
      model.real ? Terms::conjugate : Terms::single);
}

/// A real model with its conjugates written out: rows of C, Q*, and of B, P, over all eigenvalues.
struct Expanded {
  Vector<Complex> eigenvalues;
  Matrix<Complex> left;
  Matrix<Complex> right;
};

/// An entry that stands for `weight` eigenvalues contributes weight·Re(X_nY_n/(s − λ)): as a term
/// and its conjugate, each with the factor √(weight/2) on both sides; as one term of real vectors
/// where λ, and what one side has there, are real.
Expanded expanded(const DplrModel& model) {
  const Matrix<Complex> left = left_vectors(model);
  const Matrix<Complex> right = right_vectors(model);
  const Index kept = model.eigenvalues.size();
  if (!model.real) return {model.eigenvalues, left, right};
  Expanded out{Vector<Complex>(2 * kept), Matrix<Complex>(left.rows(), 2 * kept),
               Matrix<Complex>(right.rows(), 2 * kept)};
  Index size = 0;
  const auto add = [&](Complex value, auto&& x, auto&& y) {
    out.eigenvalues[size] = value;
    out.left.col(size) = x;
    out.right.col(size) = y;
    ++size;
  };
  for (Index n = 0; n < kept; ++n) {
    const Complex value = model.eigenvalues[n];
    const bool one_real =
        (left.col(n).imag().array() == 0.0).all() || (right.col(n).imag().array() == 0.0).all();
    if (value.imag() == 0.0 && one_real) {
      const double share = std::sqrt(model.weight[n]);
      add(value, (share * left.col(n).real()).cast<Complex>(),
          (share * right.col(n).real()).cast<Complex>());
      continue;
    }
    const double share = std::sqrt(0.5 * model.weight[n]);
    add(value, share * left.col(n), share * right.col(n));
    add(std::conj(value), share * left.col(n).conjugate(), share * right.col(n).conjugate());
  }
  out.eigenvalues.conservativeResize(size);
  out.left.conservativeResize(Eigen::NoChange, size);
  out.right.conservativeResize(Eigen::NoChange, size);
  return out;
}

/// Pivots of I + S_QP whose ratio is below this mean a pole.
constexpr double kSingular = 4.0 * std::numeric_limits<double>::epsilon();
/// Below this the matrix is dominated by a pole of Λ near the point, and its inverse loses digits.
constexpr double kDominated = 1.0 / 64.0;

/// Woodbury's formula at one point.
struct Woodbury {
  Complex value;
  double terms;        ///< the sum of the absolute values of what is added up
  double pivot_ratio;  ///< smallest over largest pivot of I + S_QP
};

/// S_CB − S_CP (I + S_QP)⁻¹ S_QB from the (1 + r)² sums; NaN at a pole, also where C does not see
/// it.
template <class Sums>
Woodbury woodbury(const Sums& at, Index rank) {
  Complex value = at(0, 0);
  if (rank == 0) return {value, 0.0, 1.0};
  Matrix<Complex> inner = Matrix<Complex>::Identity(rank, rank);
  Vector<Complex> from_input(rank);
  for (Index x = 0; x < rank; ++x) {
    from_input[x] = at(1 + x, 0);
    for (Index y = 0; y < rank; ++y) inner(x, y) += at(1 + x, 1 + y);
  }
  const Eigen::PartialPivLU<Matrix<Complex>> lu(inner);
  const auto pivots = lu.matrixLU().diagonal().cwiseAbs();
  const double ratio = pivots.minCoeff() / pivots.maxCoeff();
  if (!(ratio > kSingular)) return {{std::numeric_limits<double>::quiet_NaN(), 0.0}, 0.0, 0.0};
  const Vector<Complex> solved = lu.solve(from_input);
  double terms = std::abs(value);
  for (Index y = 0; y < rank; ++y) {
    const Complex term = at(0, 1 + y) * solved[y];
    terms += std::abs(term);
    value -= term;
  }
  return {value, terms, ratio};
}

/// The same for rank 1 at every column of `sums`, whose rows are CB, CP, QB, QP.
void woodbury_rank_one(const Matrix<Complex>& sums, Complex* out) {
  const auto row = [&](Index i) { return reinterpret_cast<const Pair*>(sums.row(i).data()); };
  const Pair* cb = row(0);
  const Pair* cp = row(1);
  const Pair* qb = row(2);
  const Pair* qp = row(3);
  auto* target = reinterpret_cast<Pair*>(out);
  const Index points = sums.cols();
#pragma omp simd
  for (Index k = 0; k < points; ++k) {
    target[k] = cb[k] - cp[k] * (qb[k] * math::reciprocal(1.0 + qp[k].re, qp[k].im));
  }
}

/// From this ratio of the terms to their difference on the formula is used otherwise.
constexpr double kTooMuchCancelled = 64.0;

bool is_cancelled(double terms, Complex difference) {
  return !(terms <=
           kTooMuchCancelled * (std::abs(difference.real()) + std::abs(difference.imag())));
}

/// ρ with y = ρx to rounding, or NaN; x ≠ 0.
Complex ratio_if_parallel(const Vector<Complex>& x, const Vector<Complex>& y) {
  Index place = 0;
  x.cwiseAbs().maxCoeff(&place);
  const Complex ratio = y[place] / x[place];
  const double miss = (y - ratio * x).cwiseAbs().maxCoeff();
  const bool parallel = miss <= 4.0 * std::numeric_limits<double>::epsilon() * y.cwiseAbs().sum();
  return parallel ? ratio : Complex(std::numeric_limits<double>::quiet_NaN());
}

/// Takes entry `from`, of the same λ and weight as entry `to`, into it, if the inputs of the two,
/// or their outputs, are multiples of each other: only the sum of X_nY_n over both has an effect.
bool merge(DplrModel& model, Index to, Index from) {
  const auto right = [&](Index n) {
    Vector<Complex> y(1 + model.P.rows());
    y << model.B[n], model.P.col(n);
    return y;
  };
  const auto left = [&](Index n) {
    Vector<Complex> x(1 + model.Q.rows());
    x << model.C[n], model.Q.col(n).conjugate();
    return x;
  };
  if (const Complex ratio = ratio_if_parallel(right(to), right(from)); ratio == ratio) {
    model.C[to] += ratio * model.C[from];
    model.Q.col(to) += std::conj(ratio) * model.Q.col(from);
    return true;
  }
  if (const Complex ratio = ratio_if_parallel(left(to), left(from)); ratio == ratio) {
    model.B[to] += ratio * model.B[from];
    model.P.col(to) += ratio * model.P.col(from);
    return true;
  }
  return false;
}

/// A model of the same response without the entries that no input reaches (B and P are 0), and with
/// one entry for those that only act together. Entries that C does not show stay: C may be the
/// truncated C(I − Āᴸ), which is 0 where the response at a root of unity has a limit.
DplrModel minimal(DplrModel model) {
  const auto key = [&](Index n) {
    return std::tuple(model.eigenvalues[n].real(), model.eigenvalues[n].imag(), model.weight[n]);
  };
  std::vector<Index> kept;
  for (Index n = 0; n < model.eigenvalues.size(); ++n) {
    const bool reached = model.B[n] != 0.0 || (model.P.col(n).array() != 0.0).any();
    if (reached) kept.push_back(n);
  }
  std::stable_sort(kept.begin(), kept.end(), [&](Index a, Index b) { return key(a) < key(b); });
  std::vector<Index> distinct;
  for (const Index n : kept) {
    bool merged = false;
    for (auto to = distinct.rbegin(); to != distinct.rend() && key(*to) == key(n) && !merged;
         ++to) {
      merged = merge(model, *to, n);
    }
    if (!merged) distinct.push_back(n);
  }
  std::sort(distinct.begin(), distinct.end());
  return {model.eigenvalues(distinct),
          model.B(distinct),
          model.C(distinct),
          model.P(Eigen::all, distinct),
          model.Q(Eigen::all, distinct),
          model.weight(distinct),
          model.real};
}

/// The eigenvalues near a point and how far the others are: cut where distances grow most.
struct Cluster {
  std::vector<Index> members;
  double next;
};

Cluster cluster_near(const Vector<double>& distance) {
  constexpr Index kMost = 8;
  std::vector<Index> order(static_cast<std::size_t>(distance.size()));
  std::iota(order.begin(), order.end(), Index{0});
  const auto most = std::min<Index>(kMost, distance.size());
  std::partial_sort(order.begin(), order.begin() + most, order.end(),
                    [&](Index a, Index b) { return distance[a] < distance[b]; });
  Index size = most;  // where there is nothing else
  double next = 1.0;
  double widest = 0.0;
  for (Index k = 1; k < most; ++k) {
    const double growth = distance[order[k]] / distance[order[k - 1]];
    if (growth > widest) {
      widest = growth;
      size = k;
      next = distance[order[k]];
    }
  }
  order.resize(static_cast<std::size_t>(size));
  return {std::move(order), next};
}

}  // namespace

DplrResponse::DplrResponse(const DplrModel& model) : DplrResponse(minimal(model), Minimal()) {}

DplrResponse::DplrResponse(const DplrModel& model, Minimal)
    : rank_(model.P.rows()), sums_(sums_of(model)) {
  Expanded all = expanded(model);
  eigenvalues_ = std::move(all.eigenvalues);
  left_ = std::move(all.left);
  right_ = std::move(all.right);
}

void DplrResponse::evaluate(std::span<const Complex> s, std::span<Complex> out) const {
  const auto points = static_cast<Index>(s.size());
  constexpr Index kBlock = 512;
  Matrix<Complex> sums;
  for (Index first = 0; first < points; first += kBlock) {
    const Index some = std::min(kBlock, points - first);
    sums.resize(sums_.sums(), some);
    sums_.evaluate(s.subspan(first, some), Rows<Complex>(sums.data(), sums.rows(), some));
    Complex* target = out.data() + first;
    if (rank_ == 1) woodbury_rank_one(sums, target);
    for (Index k = 0; k < some; ++k) {
      if (rank_ == 1) {
        const double terms = std::abs(sums(0, k).real()) + std::abs(sums(0, k).imag());
        if (is_cancelled(terms, target[k])) target[k] = near_poles(s[first + k]);
        continue;
      }
      const auto at = [&](Index x, Index y) { return sums(x * (1 + rank_) + y, k); };
      const Woodbury found = woodbury(at, rank_);
      const bool good =
          rank_ == 0 || (found.pivot_ratio > kDominated && !is_cancelled(found.terms, found.value));
      target[k] = good ? found.value : near_poles(s[first + k]);
    }
  }
}

Complex DplrResponse::near_poles(Complex s) const {
  const Cluster near = cluster_near((s - eigenvalues_.array()).abs());
  const auto count = static_cast<Index>(near.members.size());
  const double shift = near.next;

  // Λ − PQ* = (Λ − ρΣe_m e_m*) − [P, −ρe_m …][Q, e_m …]*.
  Vector<Complex> reciprocal = (s - eigenvalues_.array()).inverse();
  Matrix<Complex> left = Matrix<Complex>::Zero(1 + rank_ + count, eigenvalues_.size());
  Matrix<Complex> right = Matrix<Complex>::Zero(1 + rank_ + count, eigenvalues_.size());
  left.topRows(1 + rank_) = left_;
  right.topRows(1 + rank_) = right_;
  for (Index i = 0; i < count; ++i) {
    const Index m = near.members[i];
    reciprocal[m] = 1.0 / (s - eigenvalues_[m] + shift);
    left(1 + rank_ + i, m) = 1.0;
    right(1 + rank_ + i, m) = -shift;
  }
  const auto sum = [&](Index x, Index y) {
    return left.row(x).cwiseProduct(reciprocal.transpose()).cwiseProduct(right.row(y)).sum();
  };
  return woodbury(sum, rank_ + count).value;
}

// ---- kernels ------------------------------------------------------------------------------------

CircleNodes::CircleNodes(Index length, double alpha, bool real) : length_(length), real_(real) {
  const Index count = real ? length / 2 + 1 : length;
  sigma_.resize(count);
  weight_.resize(count);
  for (Index l = 0; l < count; ++l) {
    if (alpha == 0.5 && 2 * l == length) {
      infinite_ = l;
      sigma_[l] = weight_[l] = Complex(0.0);
      continue;
    }
    const bool upper = 2 * l > length;  // z of l is the conjugate of that of L − l
    const Index at = upper ? length - l : l;
    const math::Node<double> n = alpha == 0.5
                                     ? math::bilinear_node<double>(at, length)
                                     : math::node(alpha, math::root_of_unity<double>(at, length));
    sigma_[l] = Complex(n.sigma.re, upper ? -n.sigma.im : n.sigma.im);
    weight_[l] = Complex(n.weight.re, upper ? -n.weight.im : n.weight.im);
  }
}

namespace {

/// Takes a spectrum, which it may overwrite, to L samples.
struct Inverse {
  Inverse(const CircleNodes& nodes, double) : real(nodes.length()), buffer(nodes.length()) {}
  void operator()(Complex* spectrum, double* out) {
    real.backward(spectrum, buffer.data());
    const double scale = 1.0 / static_cast<double>(buffer.size());
    for (Index k = 0; k < buffer.size(); ++k) out[k] = scale * buffer[k];
  }
  RealFft<double> real;
  Vector<double> buffer;
};

struct ComplexInverse {
  ComplexInverse(const CircleNodes& nodes, Complex) : fft(nodes.length()), buffer(nodes.length()) {}
  void operator()(Complex* spectrum, Complex* out) {
    fft.backward(spectrum, buffer.data());
    const double scale = 1.0 / static_cast<double>(buffer.size());
    for (Index k = 0; k < buffer.size(); ++k) out[k] = scale * buffer[k];
  }
  ComplexFft<double> fft;
  Vector<Complex> buffer;
};

/// weight·response at the nodes first … first + count − 1 of one channel.
void fill_spectrum(const CircleNodes& nodes, Index channel, double step, Complex gain, Index first,
                   Index count, const Response& response, Complex* out) {
  Vector<Complex> s(count);
  for (Index k = 0; k < count; ++k) s[k] = nodes.sigma()[first + k] / step;
  response(channel, {s.data(), static_cast<std::size_t>(count)},
           {out, static_cast<std::size_t>(count)});
  for (Index k = 0; k < count; ++k) {
    const Pair value = pair_of(nodes.weight()[first + k]) * pair_of(out[k]);
    out[k] = {value.re, value.im};
  }
  const Index infinite = nodes.infinite() - first;
  if (nodes.infinite() >= 0 && 0 <= infinite && infinite < count) out[infinite] = 0.5 * step * gain;
}

}  // namespace

template <class T>
void circle_kernels(const CircleNodes& nodes, std::span<const double> steps,
                    std::span<const Complex> gains, double work, const Response& response,
                    Rows<T> out) {
  using Back = std::conditional_t<std::is_same_v<T, double>, Inverse, ComplexInverse>;
  const Index channels = out.rows();
  const Index points = nodes.size();
  constexpr Index kBlock = 2048;
  const Index blocks = (points + kBlock - 1) / kBlock;
  // Channels in groups whose spectra stay small; nodes of a group are spread over threads.
  constexpr Index kGroupEntries = Index{1} << 18;
  const Index group = std::clamp<Index>(kGroupEntries / points, 1, channels);
  Matrix<Complex> spectra(group, (points + 3) / 4 * 4);  // rows aligned for the transforms
  for (Index first = 0; first < channels; first += group) {
    const Index some = std::min(group, channels - first);
    parallel_for(some * blocks, static_cast<double>(some) * work,
                 [&](Index i, Checkpoint& checkpoint) {
                   checkpoint();
                   const Index h = i / blocks;
                   const Index start = (i % blocks) * kBlock;
                   fill_spectrum(nodes, first + h, steps[first + h], gains[first + h], start,
                                 std::min(kBlock, points - start), response, &spectra(h, start));
                 });
    const double transforms = 40.0 * static_cast<double>(some) * static_cast<double>(points);
    parallel_for(some, transforms, [&](Index h, Checkpoint& checkpoint) {
      checkpoint();
      Back back(nodes, T(0));
      back(spectra.row(h).data(), out.row(first + h).data());
    });
  }
}

template void circle_kernels<double>(const CircleNodes&, std::span<const double>,
                                     std::span<const Complex>, double, const Response&,
                                     Rows<double>);
template void circle_kernels<Complex>(const CircleNodes&, std::span<const double>,
                                      std::span<const Complex>, double, const Response&,
                                      Rows<Complex>);

template void frequency_response<double>(ConstRows<double>, ConstVectorView<double>,
                                         ConstRows<double>, std::span<const Complex>,
                                         Rows<Complex>);
template void frequency_response<Complex>(ConstRows<Complex>, ConstVectorView<Complex>,
                                          ConstRows<Complex>, std::span<const Complex>,
                                          Rows<Complex>);

}  // namespace resolvent::ssm
