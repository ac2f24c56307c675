// FouT. With Â = Ω − c·bbᵀ a step rotates every (cos, sin) pair and adds the same number, the
// feedback f, along the fixed vector (I − νΩ)⁻¹b:
//   x⁺ = y + f (I − νΩ)⁻¹ b,  y = (I − νΩ)⁻¹(I + κΩ) x,
//   f = c (μu − bᵀ(κx + νy)) / (1 + cν bᵀ(I − νΩ)⁻¹b).
// State: the constant, then all cosines, then all sines (one that the order lacks stays 0).

#include <numbers>
#include <vector>

#include "resolvent/math/hippo.hpp"
#include "stepper.hpp"

namespace resolvent::hippo {
namespace {

template <class T>
class FourierWorkspace final : public Workspace {
 public:
  FourierWorkspace(Index pairs, Index lanes)
      : even(pairs), odd(pairs), cos_response(pairs), sin_response(pairs), sums(pairs * lanes) {}

  Vector<T> even, odd, cos_response, sin_response, sums;
  T gain{0};
  T kappa{-1};  // weights that these belong to; −1: none yet
  T nu{-1};
};

template <class T>
class FourierStepper final : public Stepper<T> {
 public:
  explicit FourierStepper(const System& system)
      : order_(system.order()),
        pairs_(system.order() / 2),
        unit_(system.unit()),
        closure_(static_cast<T>(system.kappa())),
        omega_(pairs_) {
    const Vector<double> frequencies = system.frequencies();
    for (Index j = 0; j < pairs_; ++j) omega_[j] = static_cast<T>(frequencies[2 * j + 1]);
    this->steady_ = Vector<T>::Zero(width());
    this->steady_[0] = T(1);
  }

  Index width() const override { return 1 + 2 * pairs_; }
  double work() const override { return 6.0 * static_cast<double>(order_); }

  std::unique_ptr<Workspace> workspace(Index lanes) const override {
    return std::make_unique<FourierWorkspace<T>>(pairs_, lanes);
  }

  void advance(std::span<const Step> steps, Index lanes, T* state, const T* input,
               Workspace& workspace) const override {
    auto& w = static_cast<FourierWorkspace<T>&>(workspace);
    for (const Step& step : steps) {
      prepare(step, w);
      const T weight = static_cast<T>(step.input / unit_);
      lanes == 1 ? single(w, weight, state, *input) : tile(w, weight, state, input);
      input += lanes;
    }
  }

  void coefficients(Index lanes, Index lane, const T* state, T* out) const override {
    out[0] = state[lane];
    for (Index n = 1; n < order_; ++n) {
      const Index entry = n % 2 == 1 ? 1 + n / 2 : pairs_ + n / 2;
      out[n] = state[entry * lanes + lane];
    }
  }

 private:
  static constexpr T kRoot2 = std::numbers::sqrt2_v<T>;

  void prepare(const Step& step, FourierWorkspace<T>& w) const {
    const T kappa = static_cast<T>(step.kappa / unit_);
    const T nu = static_cast<T>(step.nu / unit_);
    if (w.kappa == kappa && w.nu == nu) return;
    w.kappa = kappa;
    w.nu = nu;
    T response(1);
    for (Index j = 0; j < pairs_; ++j) {
      const auto r = math::rotation(omega_[j], kRoot2, kappa, nu);
      w.even[j] = r.even;
      w.odd[j] = r.odd;
      w.cos_response[j] = r.cos_response;
      w.sin_response[j] = r.sin_response;
      response += kRoot2 * r.cos_response;
    }
    w.gain = closure_ / (T(1) + closure_ * nu * response);
  }

  /// One channel: the pairs side by side, but their sum in order, as in a tile.
  void single(FourierWorkspace<T>& w, T weight, T* __restrict state, T u) const {
    T* __restrict cosine = state + 1;
    T* __restrict sine = state + 1 + pairs_;
    T* __restrict sums = w.sums.data();
    const T* __restrict even = w.even.data();
    const T* __restrict odd = w.odd.data();
#pragma omp simd
    for (Index j = 0; j < pairs_; ++j) {
      const T c = cosine[j], s = sine[j];
      const T turned = even[j] * c + odd[j] * s;
      sine[j] = even[j] * s - odd[j] * c;
      cosine[j] = turned;
      sums[j] = w.kappa * c + w.nu * turned;
    }
    T sum(0);
    for (Index j = 0; j < pairs_; ++j) sum += sums[j];
    const T feedback = (weight * u - ((w.kappa + w.nu) * state[0] + kRoot2 * sum)) * w.gain;
    state[0] += feedback;
    const T* __restrict cos_response = w.cos_response.data();
    const T* __restrict sin_response = w.sin_response.data();
#pragma omp simd
    for (Index j = 0; j < pairs_; ++j) {
      cosine[j] += cos_response[j] * feedback;
      sine[j] += sin_response[j] * feedback;
    }
  }

  void tile(FourierWorkspace<T>& w, T weight, T* __restrict state, const T* __restrict u) const {
    constexpr Index L = kLanes<T>;
    T* __restrict cosine = state + L;
    T* __restrict sine = state + (1 + pairs_) * L;
    T sum[L] = {}, feedback[L];
    for (Index j = 0; j < pairs_; ++j) {
      const T even = w.even[j], odd = w.odd[j], kappa = w.kappa, nu = w.nu;
      T* __restrict cj = cosine + j * L;
      T* __restrict sj = sine + j * L;
#pragma omp simd
      for (Index i = 0; i < L; ++i) {
        const T c = cj[i], s = sj[i];
        const T turned = even * c + odd * s;
        sj[i] = even * s - odd * c;
        cj[i] = turned;
        sum[i] += kappa * c + nu * turned;
      }
    }
    for (Index i = 0; i < L; ++i) {
      feedback[i] = (weight * u[i] - ((w.kappa + w.nu) * state[i] + kRoot2 * sum[i])) * w.gain;
      state[i] += feedback[i];
    }
    for (Index j = 0; j < pairs_; ++j) {
      const T cos_response = w.cos_response[j], sin_response = w.sin_response[j];
      T* __restrict cj = cosine + j * L;
      T* __restrict sj = sine + j * L;
#pragma omp simd
      for (Index i = 0; i < L; ++i) {
        cj[i] += cos_response * feedback[i];
        sj[i] += sin_response * feedback[i];
      }
    }
  }

  Index order_;
  Index pairs_;
  double unit_;
  T closure_;
  Vector<T> omega_;
};

}  // namespace

template <class T>
std::shared_ptr<const Stepper<T>> make_fourier_stepper(const System& system) {
  return std::make_shared<FourierStepper<T>>(system);
}

template std::shared_ptr<const Stepper<float>> make_fourier_stepper<float>(const System&);
template std::shared_ptr<const Stepper<double>> make_fourier_stepper<double>(const System&);

}  // namespace resolvent::hippo
