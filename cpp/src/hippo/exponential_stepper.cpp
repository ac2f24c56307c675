// The rules zoh and exact: x⁺ = e^{tA} x + ∫₀ᵗ e^{sA} ds B u.
//
// Any system: a dense propagator, prepared once for regular steps of a fixed duration; where every
// step has its own duration t (the 1/t clock, irregular samples), Taylor sub-steps of length
// θ/‖A‖ or a new propagator, whichever is cheaper.
// LegS: e^{tA} itself takes O(N²) (propagator.hpp), Taylor sub-steps with the O(N) product O(N)
// once t‖A‖ is small.

#include <cmath>
#include <limits>
#include <vector>

#include "resolvent/hippo/propagator.hpp"
#include "stepper.hpp"

namespace resolvent::hippo {
namespace {

/// t‖A‖ of one Taylor sub-step.
constexpr double kTheta = 2.0;

/// Terms after which θᵐ/m! is below rounding.
template <class T>
int taylor_terms() {
  double term = 1.0;
  int m = 0;
  while (term > 0.1 * static_cast<double>(std::numeric_limits<T>::epsilon())) {
    term *= kTheta / ++m;
  }
  return m;
}

template <class T>
using RowVectorMap = Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>>;

template <class T>
class ExponentialWorkspace final : public Workspace {
 public:
  ExponentialWorkspace(Index order, Index lanes)
      : term(order, lanes), image(order, lanes), phi(order, order) {}

  Matrix<T> term;
  Matrix<T> image;
  Matrix<T> phi;  // propagator: of the last duration (dense), or of the one at hand (LegS)
  Vector<T> gamma;
  double duration = -1.0;
};

/// What both share: the state is x in the balanced normalisation.
template <class T>
class ExponentialStepper : public Stepper<T> {
 public:
  explicit ExponentialStepper(const System& system)
      : system_(balanced(system)),
        order_(system.order()),
        ratio_(system.is_complex()
                   ? Vector<T>(Vector<T>::Ones(order_))
                   : Vector<T>(system.scale().cwiseQuotient(system_.scale()).template cast<T>())) {
    this->steady_ = system_.steady().template cast<T>();
  }

  Index width() const override { return order_; }
  double work() const override {
    return 4.0 * static_cast<double>(order_) * static_cast<double>(order_);
  }

  std::unique_ptr<Workspace> workspace(Index lanes) const override {
    return std::make_unique<ExponentialWorkspace<T>>(order_, lanes);
  }

  void coefficients(Index lanes, Index lane, const T* state, T* out) const override {
    for (Index n = 0; n < order_; ++n) out[n] = ratio_[n] * state[n * lanes + lane];
  }

 protected:
  System system_;
  Index order_;
  Vector<T> ratio_;
};

template <class T>
class DenseExponential final : public ExponentialStepper<T> {
 public:
  DenseExponential(const System& system, double regular)
      : ExponentialStepper<T>(system),
        A_(this->system_.A()),
        A_cast_(A_.template cast<T>()),
        B_cast_(this->system_.B().template cast<T>()),
        norm_(A_.cwiseAbs().colwise().sum().maxCoeff()),
        triangular_(system.is_cascade()),
        regular_(regular) {
    if (regular > 0.0) prepare(regular, regular_phi_, regular_gamma_);
  }

  void advance(std::span<const Step> steps, Index lanes, T* state, const T* input,
               Workspace& workspace) const override {
    auto& w = static_cast<ExponentialWorkspace<T>&>(workspace);
    Rows<T> x(state, this->order_, lanes);
    for (const Step& step : steps) {
      const RowVectorMap<T> u(input, lanes);
      if (step.duration == regular_) {
        propagate(regular_phi_, regular_gamma_, u, x, w);
      } else if (taylor_is_cheaper(step.duration, lanes)) {
        taylor(step.duration, u, x, w);
      } else {
        if (w.duration != step.duration) prepare(step.duration, w.phi, w.gamma);
        w.duration = step.duration;
        propagate(w.phi, w.gamma, u, x, w);
      }
      input += lanes;
    }
  }

 private:
  void prepare(double duration, Matrix<T>& phi, Vector<T>& gamma) const {
    const Propagator p = propagator(this->system_, duration);
    phi = p.phi.cast<T>();
    gamma = p.gamma.cast<T>();
  }

  double substeps(double duration) const { return std::ceil(norm_ * duration / kTheta); }

  /// One product with a tile per term, against some 25 products of N × N matrices.
  bool taylor_is_cheaper(double duration, Index lanes) const {
    return substeps(duration) * taylor_terms<T>() * static_cast<double>(lanes) <
           25.0 * static_cast<double>(this->order_);
  }

  void propagate(const Matrix<T>& phi, const Vector<T>& gamma, const RowVectorMap<T>& u, Rows<T>& x,
                 ExponentialWorkspace<T>& w) const {
    if (triangular_) {
      w.image.noalias() = phi.template triangularView<Eigen::Lower>() * x;
    } else {
      w.image.noalias() = phi * x;
    }
    x = w.image;
    x.noalias() += gamma * u;
  }

  /// x⁺ = x + Σ_{m≥1} tᵐ/m! A^{m−1}(A x + B u).
  void taylor(double duration, const RowVectorMap<T>& u, Rows<T>& x,
              ExponentialWorkspace<T>& w) const {
    const double count = substeps(duration);
    const int terms = taylor_terms<T>();
    for (double s = 0.0; s < count; s += 1.0) {
      w.term.noalias() = A_cast_ * x;
      w.term.noalias() += B_cast_ * u;
      for (int m = 1; m <= terms; ++m) {
        w.term *= static_cast<T>(duration / count / m);
        x += w.term;
        if (m == terms) break;
        w.image.noalias() = A_cast_ * w.term;
        w.term.swap(w.image);
      }
    }
  }

  Matrix<double> A_;
  Matrix<T> A_cast_;
  Vector<T> B_cast_;
  double norm_;
  bool triangular_;
  double regular_;
  Matrix<T> regular_phi_;
  Vector<T> regular_gamma_;
};

template <class T>
class LegSExponential final : public ExponentialStepper<T> {
 public:
  explicit LegSExponential(const System& system)
      : ExponentialStepper<T>(system), norm_root_(this->order_) {
    for (Index n = 0; n < this->order_; ++n) {
      norm_root_[n] = static_cast<T>(std::sqrt(static_cast<double>(2 * n + 1)));
    }
  }

  void advance(std::span<const Step> steps, Index lanes, T* state, const T* input,
               Workspace& workspace) const override {
    auto& w = static_cast<ExponentialWorkspace<T>&>(workspace);
    Rows<T> x(state, this->order_, lanes);
    for (const Step& step : steps) {
      const RowVectorMap<T> u(input, lanes);
      x.row(0) -= u;  // the constant u is a fixed point; the rest decays by e^{tA}
      taylor_is_cheaper(step.duration) ? taylor(step.duration, x, w) : dilate(step.duration, x, w);
      x.row(0) += u;
      input += lanes;
    }
  }

 private:
  /// ‖A‖ ≤ N²/√2 + N: the strictly lower part in the Frobenius norm, and the diagonal.
  double substeps(double duration) const {
    const auto N = static_cast<double>(this->order_);
    return std::ceil(duration * (N * N / std::sqrt(2.0) + N) / kTheta);
  }

  /// Four operations a term and entry, against some 4N² for the exponential and a product.
  bool taylor_is_cheaper(double duration) const {
    return substeps(duration) * taylor_terms<T>() < static_cast<double>(this->order_);
  }

  void taylor(double duration, Rows<T>& x, ExponentialWorkspace<T>& w) const {
    const double count = substeps(duration);
    const int terms = taylor_terms<T>();
    for (double s = 0.0; s < count; s += 1.0) {
      w.term = x;
      for (int m = 1; m <= terms; ++m) {
        multiply(static_cast<T>(duration / count / m), w.term);
        x += w.term;
      }
    }
  }

  /// term ← factor · A term.
  void multiply(T factor, Matrix<T>& term) const {
    Eigen::Matrix<T, 1, Eigen::Dynamic> below =
        Eigen::Matrix<T, 1, Eigen::Dynamic>::Zero(term.cols());
    for (Index n = 0; n < this->order_; ++n) {
      below += norm_root_[n] * term.row(n);
      term.row(n) = factor * (static_cast<T>(n) * term.row(n) - norm_root_[n] * below);
    }
  }

  void dilate(double duration, Rows<T>& x, ExponentialWorkspace<T>& w) const {
    legs_exponential(duration, w.phi);
    w.term = x;
    x.noalias() = w.phi.template triangularView<Eigen::Lower>() * w.term;
  }

  Vector<T> norm_root_;  // r_n
};

}  // namespace

template <class T>
std::shared_ptr<const Stepper<T>> make_exponential_stepper(const System& system, double regular) {
  if (system.measure() == Measure::legs && system.clock() == Clock::scaled) {
    return std::make_shared<LegSExponential<T>>(system);
  }
  return std::make_shared<DenseExponential<T>>(system, regular);
}

template std::shared_ptr<const Stepper<float>> make_exponential_stepper<float>(const System&,
                                                                               double);
template std::shared_ptr<const Stepper<double>> make_exponential_stepper<double>(const System&,
                                                                                 double);

}  // namespace resolvent::hippo
