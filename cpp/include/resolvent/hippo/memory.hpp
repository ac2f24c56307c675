#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/types.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::hippo {

/// How a step from time t₀ to t₁ = t₀ + h treats c' = A c + B u (or its 1/t form) for an input that
/// is constant on the step. All rules but the last two have the form
///   c⁺ = (I − νA)⁻¹((I + κA) c + μ B u);
/// on the window and invariant clocks μ = κ + ν = h, on the scaled clock, with p = h/t₀, q = h/t₁:
///   forward (κ, ν, μ) = (p, 0, p); backward (0, q, q); bilinear (p/2, q/2, p);
///   bilinear_split (p/2, q/2, (p+q)/2); gbt ((1−α)p, αq, κ+ν).
///   zoh: e^{Ah} with the matching input, 1/t frozen at t₁ on the scaled clock;
///   exact: e^{A ln(t₁/t₀)} on the scaled clock, zoh elsewhere.
enum class Rule { forward, backward, bilinear, bilinear_split, gbt, zoh, exact };

Rule rule_from_name(std::string_view name);
std::string_view name_of(Rule rule);

/// What a rule does in one step.
struct Step {
  double kappa;     ///< weight of the explicit half
  double nu;        ///< weight of the implicit half
  double input;     ///< weight of B u
  double duration;  ///< argument of the exponential (zoh, exact), in units of the clock
  bool first;       ///< from time 0 on the scaled clock: the projection of a constant
};

/// Turns instants into steps.
class Timeline {
 public:
  Timeline(Clock clock, Rule rule, double alpha);

  bool scaled() const { return clock_ == Clock::scaled; }

  /// The step between two instants, to > from ≥ 0.
  Step step(double from, double to) const;

 private:
  Clock clock_;
  Rule rule_;
  double alpha_;
};

template <class T>
class Stepper;

/// Streaming coefficients of a batch of signals: one row per channel.
///
/// Sample k holds on [k·step, (k+1)·step). Cost per sample and channel: O(N) for the rational
/// rules on legs, legt, lagt, glagt, malmquist and fout; O(N²) for dense systems and for zoh and
/// exact. How the samples are cut into calls, the values of other channels and the number of
/// threads change no bit of the result; for the O(N) recurrences nor does the number of channels,
/// and all instruction sets give the same bits (the build forbids contraction to fused
/// multiply-adds).
template <class T>
class Memory {
 public:
  /// `alpha` is gbt's weight in [0, 1]. Throws `InvalidArgument` for step ≤ 0.
  Memory(const System& system, Rule rule, double alpha, double step, Index channels);

  /// Absorbs the columns of u (channels × samples). `times`, if not empty, holds for each sample
  /// the instant at which its interval ends: increasing, the first after `time()`. An exception,
  /// an interruption too, leaves the memory as it was.
  void update(ConstRows<T> u, std::span<const double> times = {});

  /// As `update`, and row (channel·K + i) of `out` receives the coefficients after sample
  /// (i+1)·every − 1, i < K = samples/every.
  void update(ConstRows<T> u, std::span<const double> times, Index every, Rows<T> out);

  /// The coefficients now, one row per channel.
  void coefficients(Rows<T> out) const;

  /// Back to time 0.
  void reset();

  Index channels() const { return channels_; }
  Index order() const { return order_; }

  /// Regular samples since the last irregular one (or since the start).
  Index samples() const { return samples_; }
  /// The instant of the last irregular sample, 0 without one.
  double base() const { return base_; }
  double time() const { return base_ + static_cast<double>(samples_) * step_; }

  /// The inner state, for saving; `restore` takes it back. Sizes are checked.
  const std::vector<T>& state() const { return state_; }
  void restore(std::vector<T> state, Index samples, double base);

 private:
  struct Request;

  Step step_at(Index k, std::span<const double> times) const;
  void advance_tile(const Request& request, Index first, Index lanes, Index active,
                    std::vector<T>& next, Checkpoint& checkpoint) const;
  void run(const Request& request);

  Timeline timeline_;
  std::shared_ptr<const Stepper<T>> stepper_;
  double step_;
  Index channels_;
  Index order_;
  Index samples_ = 0;
  double base_ = 0.0;
  std::vector<T> state_;  // channels × stepper width
};

extern template class Memory<float>;
extern template class Memory<double>;

}  // namespace resolvent::hippo
