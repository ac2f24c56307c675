// LegT. With Â = wA, κ + ν = μ and Â⁻¹B̂ = −e₀ a step is
//   ξ⁺ = ξ − 2μ (2n+1) y,   (Tri + 2ν diag(2n+1)) y = ξ − u e₀
// in inner coordinates, so one tridiagonal solve: no product with A, no cancellation. The matrix
// has a positive diagonal and opposite off-diagonal signs, hence elimination without pivoting only
// adds positive numbers. It runs from both ends to the middle and back: two independent chains.

#include <vector>

#include "resolvent/math/hippo.hpp"
#include "stepper.hpp"

namespace resolvent::hippo {
namespace {

template <class T>
class WindowWorkspace final : public Workspace {
 public:
  WindowWorkspace(Index order, Index lanes) : inverse(order), change(order), sweep(order * lanes) {}

  Vector<T> inverse;  // reciprocal pivots
  Vector<T> change;   // 2μ(2n+1)
  Vector<T> sweep;
  T tau{-1};  // weights that these belong to; −1: none yet
  T input{-1};
};

template <class T>
class WindowStepper final : public Stepper<T> {
 public:
  explicit WindowStepper(const System& system)
      : order_(system.order()), unit_(system.unit()), scale_(system.scale().template cast<T>()) {
    this->steady_ = system.steady().cwiseQuotient(system.scale()).template cast<T>();
  }

  Index width() const override { return order_; }
  double work() const override { return 6.0 * static_cast<double>(order_); }

  std::unique_ptr<Workspace> workspace(Index lanes) const override {
    return std::make_unique<WindowWorkspace<T>>(order_, lanes);
  }

  void advance(std::span<const Step> steps, Index lanes, T* state, const T* input,
               Workspace& workspace) const override {
    auto& w = static_cast<WindowWorkspace<T>&>(workspace);
    for (const Step& step : steps) {
      prepare(step, w);
      lanes == 1 ? tile<1>(w, state, input) : tile<kLanes<T>>(w, state, input);
      input += lanes;
    }
  }

  void coefficients(Index lanes, Index lane, const T* state, T* out) const override {
    for (Index n = 0; n < order_; ++n) out[n] = scale_[n] * state[n * lanes + lane];
  }

 private:
  Index middle() const { return order_ / 2; }

  /// The ones that Tri has added at the ends of its diagonal.
  T corner(Index n) const { return T(n == 0 ? 1 : 0) + T(n == order_ - 1 ? 1 : 0); }

  void prepare(const Step& step, WindowWorkspace<T>& w) const {
    const T tau = static_cast<T>(2.0 * step.nu / unit_);
    const T input = static_cast<T>(2.0 * step.input / unit_);
    if (w.tau == tau && w.input == input) return;
    w.tau = tau;
    w.input = input;
    const auto odd = [](Index n) { return static_cast<T>(2 * n + 1); };
    const auto pivot = [&](Index n, T previous) {
      return math::window_pivot_inverse(tau, odd(n), corner(n), previous);
    };
    const Index m = middle();
    T top(0);
    for (Index n = 0; n < m; ++n) w.inverse[n] = top = pivot(n, top);
    T bottom(0);
    for (Index n = order_ - 1; n > m; --n) w.inverse[n] = bottom = pivot(n, bottom);
    w.inverse[m] = pivot(m, top + bottom);
    for (Index n = 0; n < order_; ++n) w.change[n] = input * odd(n);
  }

  template <Index L>
  void tile(WindowWorkspace<T>& w, T* __restrict state, const T* __restrict u) const {
    const Index m = middle();
    const T* __restrict inverse = w.inverse.data();
    const T* __restrict change = w.change.data();
    T* __restrict sweep = w.sweep.data();
    T top[L] = {}, bottom[L] = {};
    T top_inverse(0), bottom_inverse(0);

    const auto eliminate_top = [&](Index n) {
#pragma omp simd
      for (Index c = 0; c < L; ++c) {
        const T rhs = n == 0 ? state[c] - u[c] : state[n * L + c];
        sweep[n * L + c] = top[c] = rhs + top_inverse * top[c];
      }
      top_inverse = inverse[n];
    };
    const auto eliminate_bottom = [&](Index n) {
#pragma omp simd
      for (Index c = 0; c < L; ++c) {
        sweep[n * L + c] = bottom[c] = state[n * L + c] - bottom_inverse * bottom[c];
      }
      bottom_inverse = inverse[n];
    };
    const auto substitute_top = [&](Index n) {
#pragma omp simd
      for (Index c = 0; c < L; ++c) {
        top[c] = (sweep[n * L + c] - top[c]) * inverse[n];
        state[n * L + c] -= change[n] * top[c];
      }
    };
    const auto substitute_bottom = [&](Index n) {
#pragma omp simd
      for (Index c = 0; c < L; ++c) {
        bottom[c] = (sweep[n * L + c] + bottom[c]) * inverse[n];
        state[n * L + c] -= change[n] * bottom[c];
      }
    };

    // m entries above the middle, m or m − 1 below it.
    const Index paired = order_ - 1 - m;
    for (Index i = 0; i < paired; ++i) {
      eliminate_top(i);
      eliminate_bottom(order_ - 1 - i);
    }
    if (paired < m) eliminate_top(m - 1);
#pragma omp simd
    for (Index c = 0; c < L; ++c) {
      const T rhs = m == 0 ? state[c] - u[c] : state[m * L + c];
      const T y = (rhs + top_inverse * top[c] - bottom_inverse * bottom[c]) * inverse[m];
      top[c] = bottom[c] = y;
      state[m * L + c] -= change[m] * y;
    }
    if (paired < m) substitute_top(m - 1);
    for (Index i = paired - 1; i >= 0; --i) {
      substitute_top(i);
      substitute_bottom(order_ - 1 - i);
    }
  }

  Index order_;
  double unit_;
  Vector<T> scale_;
};

}  // namespace

template <class T>
std::shared_ptr<const Stepper<T>> make_window_stepper(const System& system) {
  return std::make_shared<WindowStepper<T>>(system);
}

template std::shared_ptr<const Stepper<float>> make_window_stepper<float>(const System&);
template std::shared_ptr<const Stepper<double>> make_window_stepper<double>(const System&);

}  // namespace resolvent::hippo
