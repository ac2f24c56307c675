// Triangular systems: a step is one pass over the sections of the cascade (math::Section).
//
// Many channels: the lanes of a tile are channels; a section's four numbers serve them all.
// One channel: the lanes are consecutive time steps. Lane j works on section d − j at iteration d,
// on the value that lane j−1 left there one iteration before: a wavefront. Both evaluate the same
// operations in the same order, so a channel's numbers do not depend on which one it got.

#include <algorithm>
#include <utility>
#include <vector>

#include "resolvent/math/hippo.hpp"
#include "stepper.hpp"

namespace resolvent::hippo {
namespace {

template <class T>
class CascadeWorkspace final : public Workspace {
 public:
  explicit CascadeWorkspace(Index order) : pass(order), feed(order), keep(order), leak(order) {}

  Vector<T> pass, feed, keep, leak;
  T kappa{-1};  // weights that the sections belong to; −1: none yet
  T nu{-1};
};

template <class T>
class CascadeStepper final : public Stepper<T> {
 public:
  explicit CascadeStepper(const System& system) : order_(system.order()) {
    const Cascade cascade = system.cascade();
    const Vector<double> scale = system.scale();
    unit_ = system.unit();
    uniform_ = (cascade.drive.array() == 1.0).all();
    scale_ = scale.template cast<T>();
    diagonal_ = cascade.diagonal.template cast<T>();
    coupling_ = cascade.coupling.template cast<T>();
    drive_change_ = Vector<T>::Zero(order_);
    for (Index n = 0; n + 1 < order_; ++n) {
      drive_change_[n] = static_cast<T>(cascade.drive[n + 1] - cascade.drive[n]);
    }
    diagonal_reversed_ = reversed(diagonal_);
    coupling_reversed_ = reversed(coupling_);
    drive_change_reversed_ = reversed(drive_change_);
    this->steady_ = system.steady().cwiseQuotient(scale).template cast<T>();
  }

  Index width() const override { return order_; }
  double work() const override { return 6.0 * static_cast<double>(order_); }

  std::unique_ptr<Workspace> workspace(Index lanes) const override {
    static_cast<void>(lanes);
    return std::make_unique<CascadeWorkspace<T>>(order_);
  }

  void advance(std::span<const Step> steps, Index lanes, T* state, const T* input,
               Workspace& workspace) const override {
    if (lanes == 1 && static_cast<Index>(steps.size()) > kFewSteps) {
      uniform_ ? wavefront<true>(steps, state, input) : wavefront<false>(steps, state, input);
      return;
    }
    auto& sections = static_cast<CascadeWorkspace<T>&>(workspace);
    for (const Step& step : steps) {
      prepare(step, sections);
      const T weight = static_cast<T>(step.input / unit_);
      if (lanes == 1) {
        uniform_ ? tile<true, 1>(sections, weight, state, input)
                 : tile<false, 1>(sections, weight, state, input);
      } else {
        uniform_ ? tile<true, kLanes<T>>(sections, weight, state, input)
                 : tile<false, kLanes<T>>(sections, weight, state, input);
      }
      input += lanes;
    }
  }

  void coefficients(Index lanes, Index lane, const T* state, T* out) const override {
    for (Index n = 0; n < order_; ++n) out[n] = scale_[n] * state[n * lanes + lane];
  }

 private:
  static constexpr Index kWave = kBlock<T>;
  /// Up to here one step after the other is faster than a wavefront with idle lanes.
  static constexpr Index kFewSteps = kWave / 8;

  /// Entry n at [order − 1 − n + kWave]; zeros around, where a section changes nothing.
  Vector<T> reversed(const Vector<T>& values) const {
    Vector<T> padded = Vector<T>::Zero(order_ + 2 * kWave);
    padded.segment(kWave, order_) = values.reverse();
    return padded;
  }

  void prepare(const Step& step, CascadeWorkspace<T>& w) const {
    const T kappa = static_cast<T>(step.kappa / unit_);
    const T nu = static_cast<T>(step.nu / unit_);
    if (w.kappa == kappa && w.nu == nu) return;
    w.kappa = kappa;
    w.nu = nu;
#pragma omp simd
    for (Index n = 0; n < order_; ++n) {
      const auto s = math::section(diagonal_[n], coupling_[n], kappa, nu);
      w.pass[n] = s.pass;
      w.feed[n] = s.feed;
      w.keep[n] = s.keep;
      w.leak[n] = s.leak;
    }
  }

  template <bool Uniform, Index L>
  void tile(const CascadeWorkspace<T>& w, T weight, T* __restrict state,
            const T* __restrict input) const {
    T drive[L];
    T carried[L];
    for (Index c = 0; c < L; ++c) carried[c] = drive[c] = weight * input[c];
    for (Index n = 0; n < order_; ++n) {
      const T pass = w.pass[n], feed = w.feed[n], keep = w.keep[n], leak = w.leak[n];
      const T change = Uniform ? T(0) : drive_change_[n];
      T* __restrict x = state + n * L;
#pragma omp simd
      for (Index c = 0; c < L; ++c) {
        const T old = x[c];
        x[c] = pass * old + feed * carried[c];
        carried[c] = keep * carried[c] - leak * old;
        if constexpr (!Uniform) carried[c] += change * drive[c];
      }
    }
  }

  template <bool Uniform>
  void wavefront(std::span<const Step> steps, T* __restrict state,
                 const T* __restrict input) const {
    constexpr Index W = kWave;
    const auto count = static_cast<Index>(steps.size());
    T kappa[W] = {}, nu[W] = {}, drive[W] = {}, carried[W] = {};
    for (Index j = 0; j < count; ++j) {
      const Step& step = steps[static_cast<std::size_t>(j)];
      kappa[j] = static_cast<T>(step.kappa / unit_);
      nu[j] = static_cast<T>(step.nu / unit_);
      carried[j] = drive[j] = static_cast<T>(step.input / unit_) * input[j];
    }
    // Two rows take turns: old[j] is lane j's input, made[j + 1] its output, lane j+1's next input.
    T first_row[W + 1] = {}, second_row[W + 1] = {};
    T* __restrict old = first_row;
    T* __restrict made = second_row;
    for (Index d = 0; d < order_ + count - 1; ++d) {
      old[0] = d < order_ ? state[d] : T(0);
      const Index start = order_ - 1 - d + W;
      const T* __restrict diagonal = diagonal_reversed_.data() + start;
      const T* __restrict coupling = coupling_reversed_.data() + start;
      const T* __restrict change = drive_change_reversed_.data() + start;
#pragma omp simd
      for (Index j = 0; j < W; ++j) {
        const auto s = math::section(diagonal[j], coupling[j], kappa[j], nu[j]);
        const T x = old[j];
        made[j + 1] = s.pass * x + s.feed * carried[j];
        carried[j] = s.keep * carried[j] - s.leak * x;
        if constexpr (!Uniform) carried[j] += change[j] * drive[j];
      }
      if (d >= count - 1) state[d - count + 1] = made[count];
      std::swap(old, made);
    }
  }

  Index order_;
  double unit_;
  bool uniform_;
  Vector<T> scale_;
  Vector<T> diagonal_, coupling_, drive_change_;
  Vector<T> diagonal_reversed_, coupling_reversed_, drive_change_reversed_;
};

}  // namespace

template <class T>
std::shared_ptr<const Stepper<T>> make_cascade_stepper(const System& system) {
  return std::make_shared<CascadeStepper<T>>(system);
}

template std::shared_ptr<const Stepper<float>> make_cascade_stepper<float>(const System&);
template std::shared_ptr<const Stepper<double>> make_cascade_stepper<double>(const System&);

}  // namespace resolvent::hippo
