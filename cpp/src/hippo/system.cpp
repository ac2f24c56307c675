#include "resolvent/hippo/system.hpp"

#include <Eigen/LU>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"

namespace resolvent::hippo {
namespace {

using std::numbers::pi;
using std::numbers::sqrt2;

// ---- names -------------------------------------------------------------------------------------

template <class E>
using NameTable = std::vector<std::pair<E, std::string_view>>;

const NameTable<Measure>& measure_names() {
  static const NameTable<Measure> names{
      {Measure::legs, "legs"},           {Measure::legt, "legt"},      {Measure::lagt, "lagt"},
      {Measure::glagt, "glagt"},         {Measure::fout, "fout"},      {Measure::fous, "fous"},
      {Measure::malmquist, "malmquist"}, {Measure::derived, "derived"}};
  return names;
}

const NameTable<Normalization>& normalization_names() {
  static const NameTable<Normalization> names{
      {Normalization::probability, "probability"}, {Normalization::lebesgue, "lebesgue"},
      {Normalization::legendre, "legendre"},       {Normalization::lmu, "lmu"},
      {Normalization::laguerre, "laguerre"},       {Normalization::complex, "complex"}};
  return names;
}

const NameTable<Closure>& closure_names() {
  static const NameTable<Closure> names{{Closure::left, "left"}, {Closure::average, "average"}};
  return names;
}

const NameTable<Clock>& clock_names() {
  static const NameTable<Clock> names{
      {Clock::window, "window"}, {Clock::scaled, "scaled"}, {Clock::invariant, "invariant"}};
  return names;
}

template <class E>
E from_name(const NameTable<E>& table, std::string_view what, std::string_view name) {
  std::string valid;
  for (const auto& [value, text] : table) {
    if (text == name) return value;
    valid += valid.empty() ? "'" : ", '";
    valid += std::string(text) + "'";
  }
  throw InvalidArgument(message(what, " must be one of ", valid, "; got '", name, "'"));
}

template <class E>
std::string_view to_name(const NameTable<E>& table, E value) {
  for (const auto& [entry, text] : table) {
    if (entry == value) return text;
  }
  throw InvalidArgument("enumeration value out of range");
}

// ---- checks ------------------------------------------------------------------------------------

Clock clock_of(const Config& config) {
  switch (config.measure) {
    case Measure::legs:
    case Measure::fous:
      return config.frozen ? Clock::invariant : Clock::scaled;
    case Measure::legt:
    case Measure::fout:
      return Clock::window;
    default:
      return Clock::invariant;
  }
}

void check_normalization(const Config& config) {
  std::string valid;
  for (const Normalization n : normalizations_of(config.measure)) {
    if (n == config.normalization) {
      require(n != Normalization::complex || config.order % 2 == 1,
              "order must be odd for normalization 'complex' (indices -M..M), got ", config.order);
      return;
    }
    valid += valid.empty() ? "'" : ", '";
    valid += std::string(name_of(n)) + "'";
  }
  throw InvalidArgument(message("normalization of measure '", name_of(config.measure),
                                "' must be one of ", valid, "; got '",
                                name_of(config.normalization), "'"));
}

void check_poles(const Config& config) {
  if (config.measure != Measure::malmquist) return;
  require<ShapeMismatch>(config.poles.size() == config.order,
                         "poles must hold one pole for each of the order = ", config.order,
                         " coefficients, got ", config.poles.size());
  for (Index n = 0; n < config.order; ++n) {
    require(std::isfinite(config.poles[n]) && config.poles[n] > 0.0,
            "poles must be positive and finite, got poles[", n, "] = ", config.poles[n]);
  }
}

void check(const Config& config) {
  require(config.order >= 1, "order must be at least 1, got ", config.order);
  require(std::isfinite(config.window) && config.window > 0.0,
          "window must be positive and finite, got ", config.window);
  check_normalization(config);
  check_poles(config);
  if (config.measure == Measure::glagt) {
    require(config.alpha > -1.0 && config.alpha < 1.0, "alpha must lie in (-1, 1), got ",
            config.alpha);
    require(std::isfinite(config.beta) && config.beta > 0.0,
            "beta must be positive and finite, got ", config.beta);
  }
}

// ---- dense matrices ----------------------------------------------------------------------------

/// The entry of coefficient n of a Fourier system's vector b: g_n(0) of 1, √2cos, √2sin, ….
double fourier_b(Index n) { return n == 0 ? 1.0 : (n % 2 == 1 ? sqrt2 : 0.0); }

Index fourier_frequency(Index n) { return (n + 1) / 2; }

bool is_sine(Index n) { return n > 0 && n % 2 == 0; }

/// Index of the other member of n's cosine–sine pair, or n itself where there is none.
Index partner(Index n, Index order) {
  if (n == 0) return 0;
  return is_sine(n) ? n - 1 : std::min(n + 1, order - 1);
}

double fourier_sign(Index n) { return is_sine(n) ? -1.0 : 1.0; }

/// FouS in the real basis: A_nk = −δ_nk − ∫₀¹ s g_n'(s) g_k(s) ds.
double fous_entry(Index n, Index k) {
  const auto m = static_cast<double>(fourier_frequency(n));
  const auto j = static_cast<double>(fourier_frequency(k));
  if (n == 0) return k == 0 ? -1.0 : 0.0;
  // g_n' is −2πm·(the sine of g_n's cosine), or 2πm·(the cosine of its sine).
  if (!is_sine(n)) {
    if (k == 0) return -sqrt2;                     // √2·2πm ∫ s sin(2πms) = −√2
    if (is_sine(k)) return m == j ? pi * m : 0.0;  // ∫ s sin sin
    if (m == j) return -1.5;                       // −1 + 2πm·2∫ s sin cos
    return -m * (1.0 / (m + j) + 1.0 / (m - j));
  }
  if (k == 0) return 0.0;
  if (!is_sine(k)) return m == j ? -pi * m : 0.0;
  if (m == j) return -0.5;
  return m * (1.0 / (m + j) - 1.0 / (m - j));
}

Matrix<double> fous_matrix(Index order) {
  Matrix<double> A(order, order);
  for (Index n = 0; n < order; ++n) {
    for (Index k = 0; k < order; ++k) A(n, k) = fous_entry(n, k);
  }
  return A;
}

Matrix<double> fout_matrix(const System& system) {
  const Index order = system.order();
  const Vector<double> omega = system.frequencies();
  Matrix<double> A(order, order);
  for (Index n = 0; n < order; ++n) {
    for (Index k = 0; k < order; ++k) A(n, k) = -system.kappa() * fourier_b(n) * fourier_b(k);
    A(n, partner(n, order)) += fourier_sign(n) * omega[n];
  }
  return A;
}

Matrix<double> legt_matrix(Index order) {
  Matrix<double> A(order, order);
  for (Index n = 0; n < order; ++n) {
    for (Index k = 0; k < order; ++k) {
      const double sign = k <= n || (n - k) % 2 == 0 ? 1.0 : -1.0;
      A(n, k) = -sign * static_cast<double>(2 * n + 1);
    }
  }
  return A;
}

Matrix<double> cascade_matrix(const Cascade& cascade) {
  const Index order = cascade.diagonal.size();
  Matrix<double> A = Matrix<double>::Zero(order, order);
  for (Index n = 0; n < order; ++n) {
    A.row(n).head(n).setConstant(-cascade.coupling[n]);
    A(n, n) = -cascade.diagonal[n];
  }
  return A;
}

// ---- action without the matrices ---------------------------------------------------------------

template <class T>
void cascade_apply(const Cascade& c, const Vector<T>& x, Vector<T>& out) {
  T below(0);
  for (Index n = 0; n < x.size(); ++n) {
    out[n] = -c.diagonal[n] * x[n] - c.coupling[n] * below;
    below += x[n];
  }
}

template <class T>
void cascade_solve(const Cascade& c, T lambda, const Vector<T>& v, Vector<T>& out) {
  T below(0);
  for (Index n = 0; n < v.size(); ++n) {
    const T pivot = T(1) + lambda * c.diagonal[n];
    require(pivot != T(0), "lam = ", lambda, " makes I - lam A singular");
    out[n] = (v[n] - lambda * c.coupling[n] * below) / pivot;
    below += out[n];
  }
}

template <class T>
void legt_apply(const Vector<T>& x, Vector<T>& out) {
  const Index order = x.size();
  T above(0);  // Σ_{k>n} (−1)^k x_k
  for (Index n = order - 1; n >= 0; --n) {
    const double sign = n % 2 == 0 ? 1.0 : -1.0;
    out[n] = sign * above;
    above += sign * x[n];
  }
  T below(0);
  for (Index n = 0; n < order; ++n) {
    below += x[n];
    out[n] = -static_cast<double>(2 * n + 1) * (out[n] + below);
  }
}

/// Solves a tridiagonal system in place by elimination with row exchanges.
template <class T>
class Tridiagonal {
 public:
  explicit Tridiagonal(Index n) : lower(n), diagonal(n), upper(n), second(Vector<T>::Zero(n)) {}

  /// rhs ← solution; false where the matrix is singular. Destroys the matrix.
  bool solve(Vector<T>& rhs) {
    const Index n = rhs.size();
    for (Index i = 0; i + 1 < n; ++i) {
      if (std::abs(lower[i]) > std::abs(diagonal[i])) exchange(i, rhs);
      if (diagonal[i] == T(0)) return false;
      const T factor = lower[i] / diagonal[i];
      diagonal[i + 1] -= factor * upper[i];
      upper[i + 1] -= factor * second[i];
      rhs[i + 1] -= factor * rhs[i];
    }
    if (diagonal[n - 1] == T(0)) return false;
    for (Index i = n - 1; i >= 0; --i) {
      if (i + 1 < n) rhs[i] -= upper[i] * rhs[i + 1];
      if (i + 2 < n) rhs[i] -= second[i] * rhs[i + 2];
      rhs[i] /= diagonal[i];
    }
    return true;
  }

  Vector<T> lower;     ///< entry (i+1, i)
  Vector<T> diagonal;  ///< entry (i, i)
  Vector<T> upper;     ///< entry (i, i+1)

 private:
  void exchange(Index i, Vector<T>& rhs) {
    std::swap(lower[i], diagonal[i]);
    std::swap(upper[i], diagonal[i + 1]);
    second[i] = upper[i + 1];
    upper[i + 1] = T(0);
    std::swap(rhs[i], rhs[i + 1]);
  }

  Vector<T> second;  // second superdiagonal, filled by the exchanges
};

/// z = A⁻¹g = v + λg with (A⁻¹ − λ)g = v; in inner coordinates, with g = (2n+1)y,
/// (Tri + 2λ diag(2n+1)) y = −2v and z = −½ Tri y = v + λ(2n+1)y: the form whose terms are smaller
/// loses fewer digits.
template <class T>
void legt_solve(T lambda, const Vector<T>& v, Vector<T>& out) {
  const Index order = v.size();
  Tridiagonal<T> system(order);
  for (Index n = 0; n < order; ++n) {
    system.diagonal[n] = 2.0 * lambda * static_cast<double>(2 * n + 1);
    system.lower[n] = T(-1);
    system.upper[n] = T(1);
  }
  system.upper[order - 1] = T(0);
  system.diagonal[0] += 1.0;
  system.diagonal[order - 1] += 1.0;
  Vector<T> y = -2.0 * v;
  require(system.solve(y), "lam = ", lambda, " makes I - lam A singular");
  if (y.cwiseAbs().maxCoeff() < v.cwiseAbs().maxCoeff()) {
    for (Index n = 0; n < order; ++n) {  // beyond both ends of y stand ∓y of the end itself
      const T below = n > 0 ? y[n - 1] : -y[0];
      const T above = n + 1 < order ? y[n + 1] : y[order - 1];
      out[n] = 0.5 * (below - above);
    }
    return;
  }
  for (Index n = 0; n < order; ++n) {
    out[n] = v[n] + lambda * static_cast<double>(2 * n + 1) * y[n];
  }
}

template <class T>
void fout_apply(const Vector<double>& omega, double kappa, const Vector<T>& x, Vector<T>& out) {
  const Index order = x.size();
  T sum(0);
  for (Index n = 0; n < order; ++n) sum += fourier_b(n) * x[n];
  for (Index n = 0; n < order; ++n) {
    out[n] = fourier_sign(n) * omega[n] * x[partner(n, order)] - kappa * fourier_b(n) * sum;
  }
}

/// (I − λΩ)⁻¹ v, entry n.
template <class T>
T rotate_entry(const Vector<double>& omega, T lambda, const Vector<T>& v, Index n) {
  const T turn = lambda * omega[n];
  return (v[n] + fourier_sign(n) * turn * v[partner(n, v.size())]) / (T(1) + turn * turn);
}

/// True where λ is so close to a pole of (I − λΩ)⁻¹, ±i/ω, that eight digits would be lost.
template <class T>
bool fout_is_resonant(const Vector<double>& omega, T lambda) {
  for (const double frequency : omega) {
    const T turn = lambda * frequency;
    if (std::abs(T(1) + turn * turn) < 1e-8 * (1.0 + std::norm(turn))) return true;
  }
  return false;
}

/// (I − λΩ) z + λκ b (bᵀz) = v: with T = (I − λΩ)⁻¹ the sum is σ = bᵀz = bᵀTv/(1 + λκ bᵀTb), and
/// z = Tv − λκσ Tb. On the entries of frequency 0, where T = 1 and this would cancel for large λ,
/// the part along b follows from σ itself.
template <class T>
void fout_solve(const Vector<double>& omega, double kappa, T lambda, const Vector<T>& v,
                Vector<T>& out) {
  const Index order = v.size();
  Vector<T> b(order);
  for (Index n = 0; n < order; ++n) b[n] = fourier_b(n);
  T b_dot_v(0), b_dot_b(0);
  for (Index n = 0; n < order; ++n) {
    b_dot_v += fourier_b(n) * rotate_entry(omega, lambda, v, n);
    b_dot_b += fourier_b(n) * rotate_entry(omega, lambda, b, n);
  }
  const T pivot = T(1) + lambda * kappa * b_dot_b;
  require(pivot != T(0), "lam = ", lambda, " makes I - lam A singular");
  const T sum = b_dot_v / pivot;
  T rest = sum;  // what the entries of frequency 0 contribute to σ
  T still_v(0), still_b(0);
  for (Index n = 0; n < order; ++n) {
    if (omega[n] == 0.0) {
      still_v += fourier_b(n) * v[n];
      still_b += fourier_b(n) * fourier_b(n);
      continue;
    }
    out[n] = rotate_entry(omega, lambda, v, n) -
             lambda * kappa * sum * rotate_entry(omega, lambda, b, n);
    rest -= fourier_b(n) * out[n];
  }
  for (Index n = 0; n < order; ++n) {
    if (omega[n] != 0.0) continue;
    const T across = v[n] - fourier_b(n) * still_v / still_b;
    out[n] = across + fourier_b(n) * rest / still_b;
  }
}

template <class T>
void dense_solve(const Matrix<double>& A, T lambda, ConstRows<T> v, Rows<T> out) {
  const Index order = A.rows();
  const Matrix<T> shifted = Matrix<T>::Identity(order, order) - lambda * A.template cast<T>();
  const Eigen::PartialPivLU<Matrix<T>> lu(shifted);
  require(lu.matrixLU().diagonal().cwiseAbs().minCoeff() > 0.0, "lam = ", lambda,
          " makes I - lam A singular");
  out = lu.solve(v.transpose()).transpose();
}

}  // namespace

// ---- names -------------------------------------------------------------------------------------

Measure measure_from_name(std::string_view name) {
  return from_name(measure_names(), "measure", name);
}
Normalization normalization_from_name(std::string_view name) {
  return from_name(normalization_names(), "normalization", name);
}
Closure closure_from_name(std::string_view name) {
  return from_name(closure_names(), "closure", name);
}
Clock clock_from_name(std::string_view name) { return from_name(clock_names(), "clock", name); }
std::string_view name_of(Measure measure) { return to_name(measure_names(), measure); }
std::string_view name_of(Normalization n) { return to_name(normalization_names(), n); }
std::string_view name_of(Closure closure) { return to_name(closure_names(), closure); }
std::string_view name_of(Clock clock) { return to_name(clock_names(), clock); }

std::vector<Normalization> normalizations_of(Measure measure) {
  using enum Normalization;
  switch (measure) {
    case Measure::legs:
      return {probability, lebesgue, legendre};
    case Measure::legt:
      return {probability, lebesgue, legendre, lmu};
    case Measure::glagt:
      return {probability, laguerre};
    case Measure::fout:
    case Measure::fous:
      return {probability, lebesgue, complex};
    case Measure::derived:
      return {lebesgue};
    default:
      return {probability, lebesgue};
  }
}

// ---- System ------------------------------------------------------------------------------------

System::System(Config config) : config_(std::move(config)), clock_(clock_of(config_)) {
  check(config_);
}

System::System(Matrix<double> A, Vector<double> B, Clock clock, double window)
    : clock_(clock), A_(std::move(A)), B_(std::move(B)) {
  require<ShapeMismatch>(A_.rows() == A_.cols(), "A must be square, got shape (", A_.rows(), ", ",
                         A_.cols(), ")");
  require<ShapeMismatch>(B_.size() == A_.rows(), "B must have A's ", A_.rows(), " entries, got ",
                         B_.size());
  require(A_.allFinite() && B_.allFinite(), "A and B must be finite");
  config_.measure = Measure::derived;
  config_.order = A_.rows();
  config_.window = window;
  config_.normalization = Normalization::lebesgue;
  config_.frozen = clock == Clock::invariant;
  check(config_);
  A_ *= unit();  // kept like the others: not divided by the unit
  B_ *= unit();
}

bool System::is_cascade() const {
  switch (measure()) {
    case Measure::legs:
    case Measure::lagt:
    case Measure::glagt:
    case Measure::malmquist:
      return true;
    default:
      return false;
  }
}

bool System::is_dense() const {
  return measure() == Measure::fous || measure() == Measure::derived;
}

System System::with(Normalization normalization) const {
  System other(*this);
  other.config_.normalization = normalization;
  check(other.config_);
  return other;
}

Cascade System::cascade() const {
  require(is_cascade(), "measure '", name_of(measure()), "' has no triangular form");
  const Index N = order();
  const Vector<double> n = Vector<double>::LinSpaced(N, 0.0, static_cast<double>(N - 1));
  Cascade c{Vector<double>(N), Vector<double>(N), Vector<double>::Ones(N)};
  switch (measure()) {
    case Measure::legs:
      c.diagonal = n.array() + 1.0;
      c.coupling = 2.0 * n.array() + 1.0;
      break;
    case Measure::malmquist:
      c.diagonal = config_.poles;
      c.coupling = 2.0 * config_.poles;
      break;
    case Measure::glagt:
      c.diagonal.setConstant(0.5 * (1.0 + config_.beta));
      c.coupling.setOnes();
      for (Index k = 1; k < N; ++k) {  // binomial C(k+α, k)
        c.drive[k] = c.drive[k - 1] * (n[k] + config_.alpha) / n[k];
      }
      break;
    default:  // lagt
      c.diagonal.setConstant(0.5);
      c.coupling.setOnes();
  }
  return c;
}

Vector<double> System::frequencies() const {
  Vector<double> omega(order());
  for (Index n = 0; n < order(); ++n) {
    const bool alone = n > 0 && partner(n, order()) == n;
    omega[n] = alone ? 0.0 : 2.0 * pi * static_cast<double>(fourier_frequency(n));
  }
  return omega;
}

Vector<double> System::scale() const {
  const Index N = order();
  Vector<double> scale = Vector<double>::Ones(N);
  const bool polynomial = measure() == Measure::legs || measure() == Measure::legt;
  for (Index n = 0; n < N; ++n) {
    const double two_n_plus_1 = static_cast<double>(2 * n + 1);
    switch (config_.normalization) {
      case Normalization::probability:
      case Normalization::lebesgue:
        if (polynomial) {
          const double inverse = 1.0 / std::sqrt(two_n_plus_1);
          scale[n] = config_.normalization == Normalization::lebesgue ? sqrt2 * inverse : inverse;
        } else if (measure() == Measure::malmquist) {
          scale[n] = 1.0 / std::sqrt(2.0 * config_.poles[n]);
        } else if (measure() == Measure::glagt) {
          // β^{(1−α)/2}/(√Γ(1−α) Λ_n) with Λ_n² = Γ(n+α+1)/n!.
          const double a = config_.alpha;
          const auto m = static_cast<double>(n);
          scale[n] = n == 0 ? std::pow(config_.beta, 0.5 * (1.0 - a)) /
                                  std::sqrt(std::tgamma(1.0 - a) * std::tgamma(1.0 + a))
                            : scale[n - 1] * std::sqrt(m / (m + a));
        }
        break;
      case Normalization::lmu:
        scale[n] = n % 2 == 0 ? 1.0 : -1.0;
        break;
      default:
        break;
    }
  }
  return scale;
}

Matrix<double> System::A() const {
  require(!is_complex(), "normalization 'complex' has complex matrices");
  Matrix<double> inner;
  if (is_cascade()) {
    inner = cascade_matrix(cascade());
  } else if (measure() == Measure::legt) {
    inner = legt_matrix(order());
  } else if (measure() == Measure::fout) {
    inner = fout_matrix(*this);
  } else if (measure() == Measure::fous) {
    inner = fous_matrix(order());
  } else {
    inner = A_;
  }
  const Vector<double> s = scale();
  for (Index n = 0; n < order(); ++n) {
    inner.row(n).array() *= s[n] / s.transpose().array();
  }
  return inner / unit();
}

Vector<double> System::B() const {
  require(!is_complex(), "normalization 'complex' has complex matrices");
  Vector<double> inner(order());
  if (is_cascade()) {
    const Cascade c = cascade();
    inner = c.coupling.cwiseProduct(c.drive);
  } else if (measure() == Measure::derived) {
    inner = B_;
  } else {
    for (Index n = 0; n < order(); ++n) {
      switch (measure()) {
        case Measure::legt:
          inner[n] = static_cast<double>(2 * n + 1);
          break;
        case Measure::fout:
          inner[n] = kappa() * fourier_b(n);
          break;
        default:  // fous
          inner[n] = fourier_b(n);
      }
    }
  }
  return inner.cwiseProduct(scale()) / unit();
}

Matrix<Complex> System::complex_A() const {
  require(is_complex(), "only normalization 'complex' has complex matrices");
  const Index N = order();
  const Index M = N / 2;
  Matrix<Complex> A(N, N);
  for (Index row = 0; row < N; ++row) {
    const auto n = static_cast<double>(row - M);
    for (Index column = 0; column < N; ++column) {
      const auto k = static_cast<double>(column - M);
      if (measure() == Measure::fout) {
        A(row, column) = Complex(-kappa(), row == column ? 2.0 * pi * n : 0.0);
      } else {
        A(row, column) = row == column ? Complex(-1.0, pi * n) : Complex(-n / (n - k), 0.0);
      }
    }
  }
  return A / unit();
}

Vector<Complex> System::complex_B() const {
  const double entry = measure() == Measure::fout ? kappa() : 1.0;
  return Vector<Complex>::Constant(order(), entry / unit());
}

Vector<double> System::steady() const {
  const bool window_or_past = measure() == Measure::legs || measure() == Measure::legt ||
                              measure() == Measure::fout || measure() == Measure::fous;
  if (window_or_past && clock_ != Clock::invariant) {  // basis function 0 is the constant
    Vector<double> first = Vector<double>::Zero(order());
    first[0] = scale()[0];
    return first;
  }
  if (is_cascade()) {
    const Cascade c = cascade();
    Vector<double> x(order());
    double below = 0.0;
    for (Index n = 0; n < order(); ++n) {
      x[n] = c.coupling[n] * (c.drive[n] - below) / c.diagonal[n];
      below += x[n];
    }
    return x.cwiseProduct(scale());
  }
  return -A().partialPivLu().solve(B());
}

template <class T, class Map>
void System::map_rows(ConstRows<T> in, Rows<T> out, Map&& map) const {
  constexpr Index kRows = 64;
  const Vector<T> s = scale().template cast<T>();
  const Index blocks = (in.rows() + kRows - 1) / kRows;
  const double work = 8.0 * static_cast<double>(in.size());
  parallel_for(blocks, work, [&](Index block, Checkpoint& checkpoint) {
    checkpoint();
    Vector<T> inner(order());
    Vector<T> image(order());
    for (Index row = block * kRows; row < std::min(in.rows(), (block + 1) * kRows); ++row) {
      inner = in.row(row).transpose().cwiseQuotient(s);
      map(inner, image);
      out.row(row) = image.cwiseProduct(s).transpose();
    }
  });
}

template <class T>
void System::apply(ConstRows<T> x, Rows<T> out) const {
  require(!is_complex(), "apply takes the real normalisations");
  if (is_dense()) {
    out.noalias() = x * A().template cast<T>().transpose();
    return;
  }
  if (is_cascade()) {
    map_rows<T>(x, out, [this, c = cascade()](const Vector<T>& in, Vector<T>& image) {
      cascade_apply(c, in, image);
      image /= unit();
    });
  } else if (measure() == Measure::legt) {
    map_rows<T>(x, out, [this](const Vector<T>& in, Vector<T>& image) {
      legt_apply(in, image);
      image /= unit();
    });
  } else {
    map_rows<T>(x, out, [this, omega = frequencies()](const Vector<T>& in, Vector<T>& image) {
      fout_apply(omega, kappa(), in, image);
      image /= unit();
    });
  }
}

template <class T>
void System::solve(T lambda, ConstRows<T> v, Rows<T> out) const {
  require(!is_complex(), "solve takes the real normalisations");
  const T weight = lambda / unit();
  if (is_dense() || (measure() == Measure::fout && fout_is_resonant(frequencies(), weight))) {
    dense_solve(A(), lambda, v, out);
  } else if (is_cascade()) {
    map_rows<T>(v, out, [weight, c = cascade()](const Vector<T>& in, Vector<T>& image) {
      cascade_solve(c, weight, in, image);
    });
  } else if (measure() == Measure::legt) {
    map_rows<T>(v, out,
                [weight](const Vector<T>& in, Vector<T>& image) { legt_solve(weight, in, image); });
  } else {
    map_rows<T>(v, out,
                [this, weight, omega = frequencies()](const Vector<T>& in, Vector<T>& image) {
                  fout_solve(omega, kappa(), weight, in, image);
                });
  }
}

template void System::apply<double>(ConstRows<double>, Rows<double>) const;
template void System::apply<Complex>(ConstRows<Complex>, Rows<Complex>) const;
template void System::solve<double>(double, ConstRows<double>, Rows<double>) const;
template void System::solve<Complex>(Complex, ConstRows<Complex>, Rows<Complex>) const;

}  // namespace resolvent::hippo
