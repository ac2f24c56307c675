#include "resolvent/spectral/normal.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"

namespace resolvent::spectral {
namespace {

using hippo::Measure;
using hippo::Normalization;
using hippo::System;
using std::numbers::pi;

/// Columns of Q that are made together, and rows that are handed on together.
constexpr Index kTile = 32;
constexpr Index kRows = 128;

/// Roots that one piece of parallel work finds.
constexpr Index kRootBlock = 256;

Vector<double> poles_of(const System& system) { return 0.5 * system.cascade().coupling; }

/// A_nn = −p_n + shift for every n.
double shift_of(const System& system) {
  switch (system.measure()) {
    case Measure::legs:
      return -0.5 / system.unit();
    case Measure::glagt:
      return -0.5 * system.config().beta / system.unit();
    default:
      return 0.0;
  }
}

/// B over b in orthonormal coordinates, times the unit; NaN where B is no multiple of b.
double drive_of(const System& system) {
  if (system.measure() == Measure::glagt) {
    return system.config().alpha == 0.0 ? 1.0 : std::numeric_limits<double>::quiet_NaN();
  }
  const bool doubled =
      system.measure() == Measure::legs && system.config().normalization == Normalization::lebesgue;
  return doubled ? std::numbers::sqrt2 : 1.0;
}

/// The diagonal of V = S Q, relative to the orthonormal coordinates in which Q is unitary.
Vector<double> scale_from_orthonormal(const System& system) {
  switch (system.config().normalization) {
    case Normalization::probability:
    case Normalization::lebesgue:
      if (system.measure() != Measure::glagt) return Vector<double>::Ones(system.order());
      return system.scale();
    case Normalization::laguerre:
      return Vector<double>::Ones(system.order());
    default:
      return system.scale().cwiseQuotient(system.with(Normalization::probability).scale());
  }
}

/// Σ of non-negative terms with the rounding error of each addition carried along (Neumaier 1974).
class Sum {
 public:
  void add(double term) {
    const double total = value_ + term;
    error_ +=
        std::abs(value_) >= std::abs(term) ? (value_ - total) + term : (term - total) + value_;
    value_ = total;
  }
  double value() const { return value_ + error_; }

 private:
  double value_ = 0.0;
  double error_ = 0.0;
};

/// t with θ = t ln(1 + 1/t²) + 2·arctan(t), roughly: LegS's phase over N at μ = tN for large N.
double continuous_root(double theta) {
  if (pi - theta < 1.0) return 1.0 / (pi - theta);
  // θ ≈ 2t(1 − ln t) for small t: t = e^{1−w} with w e^{−w} = θ/(2e), the branch w > 1.
  const double log_argument = -std::log(theta / (2.0 * std::numbers::e));
  double w = log_argument + std::log(std::max(log_argument, 1.0));
  for (int i = 0; i < 3; ++i) w = log_argument + std::log(w);
  return std::exp(1.0 - w);
}

}  // namespace

// ---- the phase ---------------------------------------------------------------------------------

PhaseFunction::PhaseFunction(const System& system) : order_(system.order()) {
  require(
      system.is_cascade(),
      "measure must be one of 'legs', 'lagt', 'glagt', 'malmquist' for the phase equation; got '",
      name_of(system.measure()), "'");
  if (system.measure() == Measure::legs) {
    kind_ = Kind::legs;
    return;
  }
  poles_ = poles_of(system);
  constexpr double kLimit = 1e152;  // of what may be squared
  require(poles_.minCoeff() > 1.0 / kLimit && poles_.maxCoeff() < kLimit,
          "poles must lie between 1e-152 and 1e152, got ", poles_.minCoeff(), " to ",
          poles_.maxCoeff());
  pole_ = poles_[0];
  kind_ = (poles_.array() == pole_).all() ? Kind::equal : Kind::general;
}

math::Phase<double> PhaseFunction::positive(double mu) const {
  if (kind_ == Kind::legs) return math::legs_phase(order_, mu);
  if (kind_ == Kind::equal) {
    const auto one = math::pole_phase(pole_, mu);
    const auto count = static_cast<double>(order_);
    return {count * one.value, count * one.complement, count * one.slope};
  }
  Sum value, complement, slope;
  for (const double pole : poles_) {
    const auto one = math::pole_phase(pole, mu);
    value.add(one.value);
    complement.add(one.complement);
    slope.add(one.slope);
  }
  return {value.value(), complement.value(), slope.value()};
}

math::Phase<double> PhaseFunction::operator()(double mu) const {
  math::Phase<double> phase = positive(std::abs(mu));
  if (mu < 0.0) {
    phase.complement = static_cast<double>(order_) * pi + phase.value;
    phase.value = -phase.value;
  }
  return phase;
}

PhaseFunction::Residual PhaseFunction::residual(double mu, Index j) const {
  const Index turns = order_ - 1 - 2 * j;
  if (kind_ == Kind::legs) {
    const math::Phase<double> phase = math::legs_phase(order_, mu);
    return {is_far(j) ? static_cast<double>(2 * j + 1) * pi - phase.complement
                      : phase.value - static_cast<double>(turns) * pi,
            phase.slope};
  }
  // Between two distant groups of poles Φ hardly differs from a multiple of π: what it differs by
  // is summed without it.
  Index below = 0;
  Sum rest, slope;
  for (const double pole : poles_) {
    const bool passed = pole <= mu;
    below += passed ? 1 : 0;
    rest.add(passed ? -2.0 * std::atan2(pole, mu) : 2.0 * std::atan2(mu, pole));
    slope.add(math::pole_slope(pole, mu));
  }
  return {static_cast<double>(below - turns) * pi + rest.value(), slope.value()};
}

double PhaseFunction::guess(Index j, double low, double high) const {
  if (kind_ != Kind::legs) return std::sqrt(low) * std::sqrt(high);
  const auto count = static_cast<double>(order_);
  const double mu = count * continuous_root(static_cast<double>(order_ - 1 - 2 * j) * pi / count);
  return std::clamp(mu, low, high);
}

double PhaseFunction::root(Index j) const {
  const Index turns = order_ - 1 - 2 * j;
  require(j >= 0 && turns >= 0, "j must lie in [0, ", (order_ - 1) / 2, "], got ", j);
  if (turns == 0) return 0.0;
  const double target = static_cast<double>(turns) * pi;
  const double missing = static_cast<double>(2 * j + 1) * pi;
  if (kind_ == Kind::equal) {
    const double angle = (is_far(j) ? missing : target) / static_cast<double>(2 * order_);
    return is_far(j) ? pole_ / std::tan(angle) : pole_ * std::tan(angle);
  }
  // Each term is below both 2μ/p and π, and its complement below 2p/μ.
  const auto count = static_cast<double>(order_);
  double low = 0.99 * target / positive(0.0).slope;
  double high = 1.01 * (kind_ == Kind::legs ? count * count : 2.0 * poles_.sum()) / missing;
  constexpr double kEnough = 1e-9;  // the last step is quadratically better than the one before
  constexpr int kSteps = 200;
  double mu = guess(j, low, high);
  for (int i = 0; i < kSteps; ++i) {
    const auto [excess, slope] = residual(mu, j);
    (excess > 0.0 ? high : low) = mu;
    // Far out Nπ − Φ is close to a multiple of 1/μ, so that is what the step is taken in.
    const double share = excess / (mu * slope);
    double next = is_far(j) ? mu / (1.0 + share) : mu * (1.0 - share);
    if (std::abs(share) < kEnough) return next;
    if (!(next > low && next < high)) next = std::sqrt(low) * std::sqrt(high);
    if (next == mu) return mu;
    mu = next;
  }
  throw NotConverged(message("the phase equation of root ", j, " of order ", order_,
                             " was not solved in ", kSteps, " steps; reached ", mu));
}

// ---- the spectrum ------------------------------------------------------------------------------

namespace {

/// The non-negative roots, descending, and the slopes there.
void solve_phase(const PhaseFunction& phase, double work_per_root, Vector<double>& mu,
                 Vector<double>& slope) {
  const Index kept = (phase.order() + 1) / 2;
  mu.resize(kept);
  slope.resize(kept);
  const Index blocks = (kept + kRootBlock - 1) / kRootBlock;
  parallel_for(blocks, work_per_root * static_cast<double>(kept),
               [&](Index block, Checkpoint& checkpoint) {
                 const Index end = std::min(kept, (block + 1) * kRootBlock);
                 for (Index j = block * kRootBlock; j < end; ++j) {
                   if (work_per_root > 1e4 || j % 16 == 0) checkpoint();
                   mu[j] = phase.root(j);
                   slope[j] = phase(mu[j]).slope;
                 }
               });
}

double work_of_root(const System& system) {
  constexpr double kEvaluation = 300.0;
  const bool direct = system.measure() == Measure::malmquist;
  return kEvaluation * (direct ? static_cast<double>(system.order()) : 1.0);
}

/// Extends values of the kept half to all columns: those of −μ repeat with the given sign.
Vector<double> mirrored(const Vector<double>& half, Index order, double sign) {
  Vector<double> all(order);
  for (Index j = 0; j < order; ++j) {
    all[j] = j < half.size() ? half[j] : sign * half[order - 1 - j];
  }
  return all;
}

}  // namespace

NormalSpectrum normal_spectrum(const System& system) {
  const PhaseFunction phase(system);
  NormalSpectrum spectrum{{}, {}, shift_of(system)};
  const double drive = drive_of(system);
  if (std::isnan(drive)) {
    const NormalForm form(system);
    spectrum.mu = mirrored(form.mu(), system.order(), -1.0);
    spectrum.weights = mirrored(form.B().cwiseAbs2(), system.order(), 1.0);
    return spectrum;
  }
  Vector<double> mu, slope;
  solve_phase(phase, work_of_root(system), mu, slope);
  const double unit = system.unit();
  mu /= unit;
  const Vector<double> weights = (4.0 * drive * drive / (unit * unit)) * slope.cwiseInverse();
  spectrum.mu = mirrored(mu, system.order(), -1.0);
  spectrum.weights = mirrored(weights, system.order(), 1.0);
  return spectrum;
}

// ---- the normal form ---------------------------------------------------------------------------

NormalForm::NormalForm(const System& system) : order_(system.order()) {
  require(!system.is_complex(),
          "the half of the normal form is for real systems, not for normalization 'complex'");
  if (system.is_cascade()) {
    make_cascade(system);
  } else if (system.measure() == Measure::legt) {
    make_window(system);
  } else if (system.measure() == Measure::fout) {
    make_fourier(system);
  } else {
    throw InvalidArgument(message(
        "measure must be one of 'legs', 'legt', 'lagt', 'glagt', 'malmquist', 'fout': their A is "
        "a normal matrix minus one of low rank; got '",
        name_of(system.measure()), "'"));
  }
}

void NormalForm::make_cascade(const System& system) {
  const double unit = system.unit();
  shift_ = shift_of(system);
  poles_ = poles_of(system);
  scale_ = scale_from_orthonormal(system);
  solve_phase(PhaseFunction(system), work_of_root(system), phases_, slopes_);
  mu_ = phases_ / unit;
  // q*b = 2/√Φ', so A = K − ½bbᵀ has P = q*b/√2.
  const Vector<double> b = 2.0 * slopes_.cwiseSqrt().cwiseInverse();
  P_ = (b / std::sqrt(2.0 * unit)).cast<Complex>();
  const double drive = drive_of(system);
  if (std::isnan(drive)) {
    const hippo::Cascade c = system.cascade();
    const Matrix<Complex> row =
        (c.coupling.cwiseProduct(c.drive) / unit).cast<Complex>().transpose();
    Matrix<Complex> image(1, mu_.size());
    const Vector<double> given = scale_;
    scale_.setOnes();  // B in the orthonormal coordinates
    transform(ConstRows<Complex>(row.data(), 1, order_),
              Rows<Complex>(image.data(), 1, image.cols()));
    scale_ = given;
    B_ = image.row(0).adjoint();
    return;
  }
  B_ = (b * (drive / unit)).cast<Complex>();
}

/// K_nk = ∓r_n r_k/w (− below the diagonal) for odd n + k, 0 otherwise: K = [[0, −Mᵀ], [M, 0]] on
/// the even and odd coefficients. An eigenvector (w, u) of the symmetric S = [[0, Mᵀ], [M, 0]] for
/// σ gives the eigenvector (w, −iu) of K for iσ.
void NormalForm::make_window(const System& system) {
  const Index N = order_;
  const Index kept = (N + 1) / 2;
  const double unit = system.unit();
  scale_ = scale_from_orthonormal(system);
  const auto r = [](Index n) { return std::sqrt(static_cast<double>(2 * n + 1)); };
  Eigen::MatrixXd S = Eigen::MatrixXd::Zero(N, N);
  for (Index odd = 1; odd < N; odd += 2) {
    for (Index even = 0; even < N; even += 2) {
      S(odd, even) = S(even, odd) = (even < odd ? -1.0 : 1.0) * r(odd) * r(even) / unit;
    }
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(S);
  require<NotConverged>(solver.info() == Eigen::Success,
                        "the symmetric eigensolver did not converge for order ", N);
  mu_ = solver.eigenvalues().tail(kept).reverse();
  Q_.resize(N, kept);
  for (Index j = 0; j < kept; ++j) {
    const Vector<double> v = solver.eigenvectors().col(N - 1 - j);
    for (Index n = 0; n < N; ++n) Q_(n, j) = n % 2 == 0 ? Complex(v[n]) : Complex(0.0, -v[n]);
  }
  if (N % 2 == 1) {  // the eigenvalue 0, whose eigenvector is even
    mu_[kept - 1] = 0.0;
    for (Index n = 1; n < N; n += 2) Q_(n, kept - 1) = 0.0;
    Q_.col(kept - 1).normalize();
  }
  Matrix<Complex> ends(N, 2);  // r and (−1)ⁿr
  for (Index n = 0; n < N; ++n) ends.row(n) << r(n), (n % 2 == 0 ? r(n) : -r(n));
  for (Index j = 0; j < kept; ++j) {
    const Complex image = Q_.col(j).dot(ends.col(0));
    const double size = std::abs(image);
    if (size > 0.0) Q_.col(j) *= image / size;
    if (mu_[j] == 0.0) Q_.col(j).imag().setZero();
  }
  const Matrix<Complex> images = Q_.adjoint() * ends;
  P_ = images / std::sqrt(2.0 * unit);
  const bool lebesgue = system.config().normalization == Normalization::lebesgue;
  B_ = images.col(0) * ((lebesgue ? std::numbers::sqrt2 : 1.0) / unit);
  B_ = B_.real().cast<Complex>();
}

/// Ω has the blocks [[0, ω], [−ω, 0]] with eigenvectors (1, i)/√2 of iω.
void NormalForm::make_fourier(const System& system) {
  const double unit = system.unit();
  const Vector<double> omega = system.frequencies();
  std::vector<Index> still;
  std::vector<Index> cosines;
  for (Index n = 0; n < order_; ++n) {
    if (omega[n] == 0.0) {
      still.push_back(n);
    } else if (n % 2 == 1) {
      cosines.push_back(n);
    }
  }
  std::ranges::reverse(cosines);
  const auto pairs = static_cast<Index>(cosines.size());
  const Index kept = pairs + static_cast<Index>(still.size());
  scale_ = Vector<double>::Ones(order_);
  mu_ = Vector<double>::Zero(kept);
  Q_ = Matrix<Complex>::Zero(order_, kept);
  Vector<double> b = Vector<double>::Ones(kept);  // q*b
  for (Index j = 0; j < pairs; ++j) {
    const Index n = cosines[static_cast<std::size_t>(j)];
    mu_[j] = omega[n] / unit;
    Q_(n, j) = 1.0 / std::numbers::sqrt2;
    Q_(n + 1, j) = Complex(0.0, 1.0 / std::numbers::sqrt2);
  }
  for (Index j = pairs; j < kept; ++j) {
    const Index n = still[static_cast<std::size_t>(j - pairs)];
    Q_(n, j) = 1.0;
    if (n > 0) b[j] = std::numbers::sqrt2;
  }
  P_ = (std::sqrt(system.kappa() / unit) * b).cast<Complex>();
  B_ = (system.kappa() / unit * b).cast<Complex>();
}

template <class Body>
void NormalForm::sweep(Index first, Index count, Body&& body) const {
  if (poles_.size() == 0) {
    for (Index n = 0; n < order_; n += kRows) {
      const Index rows = std::min(kRows, order_ - n);
      body(n, Matrix<Complex>(Q_.block(n, first, rows, count)));
    }
    return;
  }
  std::array<double, kTile> u_re, u_im, mu, size;
  for (Index j = 0; j < count; ++j) {
    const auto at = static_cast<std::size_t>(j);
    mu[at] = phases_[first + j];
    size[at] = 1.0 / std::sqrt(slopes_[first + j]);
    u_re[at] = 1.0;
    u_im[at] = 0.0;
  }
  Matrix<Complex> block;
  for (Index n = 0; n < order_; n += kRows) {
    const Index rows = std::min(kRows, order_ - n);
    block.resize(rows, count);
    for (Index i = 0; i < rows; ++i) {
      const double pole = poles_[n + i];
      const double b = std::sqrt(2.0 * pole);
      auto* out = reinterpret_cast<double*>(block.row(i).data());
#pragma omp simd
      for (std::size_t j = 0; j < static_cast<std::size_t>(count); ++j) {
        const auto entry = math::all_pass(pole, mu[j], u_re[j], u_im[j]);
        out[2 * j] = b * size[j] * entry.re;
        out[2 * j + 1] = b * size[j] * entry.im;
        u_re[j] = entry.turn_re;
        u_im[j] = entry.turn_im;
      }
    }
    body(n, block);
  }
}

namespace {

/// Calls body(first column, columns) for tiles of columns, in parallel.
template <class Body>
void for_tiles(Index columns, double work, Body&& body) {
  const Index tiles = (columns + kTile - 1) / kTile;
  parallel_for(tiles, work, [&](Index tile, Checkpoint& checkpoint) {
    checkpoint();
    const Index first = tile * kTile;
    body(first, std::min(kTile, columns - first));
  });
}

}  // namespace

void NormalForm::vectors(Rows<Complex> out) const {
  const double work = 20.0 * static_cast<double>(order_) * static_cast<double>(mu_.size());
  for_tiles(mu_.size(), work, [&](Index first, Index count) {
    sweep(first, count, [&](Index n, const Matrix<Complex>& block) {
      out.block(n, first, block.rows(), count) =
          scale_.segment(n, block.rows()).asDiagonal() * block;
    });
  });
}

void NormalForm::transform(ConstRows<Complex> C, Rows<Complex> out) const {
  const Matrix<Complex> scaled = C * scale_.asDiagonal();
  const double work = (20.0 + 8.0 * static_cast<double>(C.rows())) * static_cast<double>(order_) *
                      static_cast<double>(mu_.size());
  out.setZero();
  for_tiles(mu_.size(), work, [&](Index first, Index count) {
    sweep(first, count, [&](Index n, const Matrix<Complex>& block) {
      out.middleCols(first, count).noalias() += scaled.middleCols(n, block.rows()) * block;
    });
  });
}

void NormalForm::inverse_transform(ConstRows<Complex> C, Rows<Complex> out) const {
  // Tiles of columns add to the same entries: a fixed number of partial sums, whatever the threads.
  constexpr Index kParts = 8;
  const Index kept = mu_.size();
  const Index tiles = (kept + kTile - 1) / kTile;
  const Index parts = std::min(kParts, tiles);
  std::vector<Matrix<Complex>> sums(static_cast<std::size_t>(parts));
  const double work = (20.0 + 8.0 * static_cast<double>(C.rows())) * static_cast<double>(order_) *
                      static_cast<double>(kept);
  parallel_for(parts, work, [&](Index part, Checkpoint& checkpoint) {
    Matrix<Complex>& sum = sums[static_cast<std::size_t>(part)];
    sum.setZero(C.rows(), order_);
    for (Index tile = part; tile < tiles; tile += parts) {
      checkpoint();
      const Index first = tile * kTile;
      const Index count = std::min(kTile, kept - first);
      sweep(first, count, [&](Index n, const Matrix<Complex>& block) {
        sum.middleCols(n, block.rows()).noalias() += C.middleCols(first, count) * block.adjoint();
      });
    }
  });
  out.setZero();
  for (const Matrix<Complex>& sum : sums) out += sum;
  out.array().rowwise() /= scale_.transpose().array().cast<Complex>();
}

}  // namespace resolvent::spectral
