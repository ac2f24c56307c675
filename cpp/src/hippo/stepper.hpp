#pragma once

#include <memory>
#include <span>

#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/types.hpp"
#include "resolvent/hippo/memory.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::hippo {

/// Channels that a tile advances side by side: 128 bytes, two AVX-512 or four AVX2 registers.
template <class T>
inline constexpr Index kLanes = 128 / static_cast<Index>(sizeof(T));

/// Steps per call of `Stepper::advance` at most; also the lanes of the single-channel wavefront.
template <class T>
inline constexpr Index kBlock = 2 * kLanes<T>;

/// Buffers of one thread, and what depends on the last step's weights.
class Workspace {
 public:
  virtual ~Workspace() = default;
};

/// Advances the states of a tile of channels. A state is an array (width × lanes): entry i of
/// lane c at [i·lanes + c]; lanes is 1 or kLanes<T>.
template <class T>
class Stepper {
 public:
  virtual ~Stepper() = default;

  /// Entries of a channel's state.
  virtual Index width() const = 0;

  /// Arithmetic operations per step and channel, roughly.
  virtual double work() const = 0;

  virtual std::unique_ptr<Workspace> workspace(Index lanes) const = 0;

  /// Takes steps.size() ≤ kBlock<T> steps, none of them `first`, with input[s·lanes + c].
  virtual void advance(std::span<const Step> steps, Index lanes, T* state, const T* input,
                       Workspace& workspace) const = 0;

  /// The state of a constant signal u[c].
  void settle(Index lanes, T* state, const T* u) const;

  /// Coefficients of one lane, in the normalisation of the system.
  virtual void coefficients(Index lanes, Index lane, const T* state, T* out) const = 0;

 protected:
  Vector<T> steady_;  ///< state of the constant signal 1
};

/// The stepper for a system and a rule. `regular` is the duration of a regular step on a clock
/// that has one (0 otherwise): exponentials are prepared for it.
template <class T>
std::shared_ptr<const Stepper<T>> make_stepper(const System& system, Rule rule, double regular);

// One maker per structure, each in its own file.
template <class T>
std::shared_ptr<const Stepper<T>> make_cascade_stepper(const System& system);
template <class T>
std::shared_ptr<const Stepper<T>> make_window_stepper(const System& system);
template <class T>
std::shared_ptr<const Stepper<T>> make_fourier_stepper(const System& system);
template <class T>
std::shared_ptr<const Stepper<T>> make_dense_stepper(const System& system);
template <class T>
std::shared_ptr<const Stepper<T>> make_exponential_stepper(const System& system, double regular);

}  // namespace resolvent::hippo
