// Systems without structure (fous, derived): A = Q H Qᵀ with H upper Hessenberg, once; the state is
// Qᵀx. A change of ν then costs an O(N²) factorisation of I − νH instead of O(N³), which the 1/t
// clock needs at every step, and a step O(N²) per channel.

#include <Eigen/Eigenvalues>
#include <cmath>
#include <vector>

#include "resolvent/core/error.hpp"
#include "stepper.hpp"

namespace resolvent::hippo {
namespace {

/// LU factorisation of I − νH, H upper Hessenberg, with exchanges of neighbouring rows.
template <class T>
class HessenbergLU {
 public:
  explicit HessenbergLU(Index order) : upper_(order, order), factor_(order), exchanged_(order) {}

  void factorize(const Matrix<T>& H, T nu) {
    const Index order = H.rows();
    upper_ = Matrix<T>::Identity(order, order) - nu * H;
    for (Index k = 0; k + 1 < order; ++k) {
      exchanged_[k] = std::abs(upper_(k + 1, k)) > std::abs(upper_(k, k));
      if (exchanged_[k]) upper_.row(k).tail(order - k).swap(upper_.row(k + 1).tail(order - k));
      factor_[k] = upper_(k, k) == T(0) ? T(0) : upper_(k + 1, k) / upper_(k, k);
      upper_.row(k + 1).tail(order - k) -= factor_[k] * upper_.row(k).tail(order - k);
    }
    require((upper_.diagonal().array() != T(0)).all(), "the rule's implicit weight ", nu,
            " makes I - weight A singular");
  }

  void solve(Rows<T> x) const {
    const Index order = x.rows();
    for (Index k = 0; k + 1 < order; ++k) {
      if (exchanged_[k]) x.row(k).swap(x.row(k + 1));
      x.row(k + 1) -= factor_[k] * x.row(k);
    }
    upper_.template triangularView<Eigen::Upper>().solveInPlace(x);
  }

 private:
  Matrix<T> upper_;
  Vector<T> factor_;
  Eigen::Array<bool, Eigen::Dynamic, 1> exchanged_;
};

template <class T>
class DenseWorkspace final : public Workspace {
 public:
  DenseWorkspace(Index order, Index lanes) : lu(order), image(order, lanes) {}

  HessenbergLU<T> lu;
  Matrix<T> image;
  T nu{0};
  bool factorized = false;
};

template <class T>
class DenseStepper final : public Stepper<T> {
 public:
  explicit DenseStepper(const System& system) : order_(system.order()) {
    const Eigen::HessenbergDecomposition<Eigen::MatrixXd> hessenberg(system.A());
    const Eigen::MatrixXd Q = hessenberg.matrixQ();
    Q_ = Q.cast<T>();
    H_ = Eigen::MatrixXd(hessenberg.matrixH()).cast<T>();
    B_ = (Q.transpose() * system.B()).template cast<T>();
    this->steady_ = (Q.transpose() * system.steady()).template cast<T>();
  }

  Index width() const override { return order_; }
  double work() const override {
    return 4.0 * static_cast<double>(order_) * static_cast<double>(order_);
  }

  std::unique_ptr<Workspace> workspace(Index lanes) const override {
    return std::make_unique<DenseWorkspace<T>>(order_, lanes);
  }

  void advance(std::span<const Step> steps, Index lanes, T* state, const T* input,
               Workspace& workspace) const override {
    auto& w = static_cast<DenseWorkspace<T>&>(workspace);
    Rows<T> x(state, order_, lanes);
    for (const Step& step : steps) {
      const Eigen::Map<const Eigen::Matrix<T, 1, Eigen::Dynamic>> u(input, lanes);
      if (step.kappa != 0.0) {
        w.image.noalias() = H_ * x;
        x += static_cast<T>(step.kappa) * w.image;
      }
      x.noalias() += (static_cast<T>(step.input) * B_) * u;
      solve(step, x, w);
      input += lanes;
    }
  }

  void coefficients(Index lanes, Index lane, const T* state, T* out) const override {
    const Rows<T> x(const_cast<T*>(state), order_, lanes);
    VectorView<T>(out, order_).noalias() = Q_ * x.col(lane);
  }

 private:
  void solve(const Step& step, Rows<T> x, DenseWorkspace<T>& w) const {
    const T nu = static_cast<T>(step.nu);
    if (nu == T(0)) return;
    if (!w.factorized || w.nu != nu) {
      w.lu.factorize(H_, nu);
      w.nu = nu;
      w.factorized = true;
    }
    w.lu.solve(x);
  }

  Index order_;
  Matrix<T> Q_;
  Matrix<T> H_;
  Vector<T> B_;
};

}  // namespace

template <class T>
std::shared_ptr<const Stepper<T>> make_dense_stepper(const System& system) {
  return std::make_shared<DenseStepper<T>>(system);
}

template std::shared_ptr<const Stepper<float>> make_dense_stepper<float>(const System&);
template std::shared_ptr<const Stepper<double>> make_dense_stepper<double>(const System&);

}  // namespace resolvent::hippo
