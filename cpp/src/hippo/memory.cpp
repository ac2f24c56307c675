#include "resolvent/hippo/memory.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "resolvent/core/error.hpp"
#include "resolvent/core/threads.hpp"
#include "stepper.hpp"

namespace resolvent::hippo {
namespace {

constexpr std::array<std::pair<Rule, std::string_view>, 7> kRuleNames{
    {{Rule::forward, "forward"},
     {Rule::backward, "backward"},
     {Rule::bilinear, "bilinear"},
     {Rule::bilinear_split, "bilinear-split"},
     {Rule::gbt, "gbt"},
     {Rule::zoh, "zoh"},
     {Rule::exact, "exact"}}};

bool is_exponential(Rule rule) { return rule == Rule::zoh || rule == Rule::exact; }

/// Channels [first, first + active) in a tile of `lanes`.
struct Tile {
  Index first;
  Index lanes;
  Index active;
};

/// Full tiles, then one padded tile, or single channels where the padding would cost more than
/// the wavefront (about five channels' worth of a tile's time each).
template <class T>
std::vector<Tile> tiles_of(Index channels) {
  constexpr Index L = kLanes<T>;
  std::vector<Tile> tiles;
  Index first = 0;
  for (; first + L <= channels; first += L) tiles.push_back({first, L, L});
  const Index rest = channels - first;
  if (rest > L / 5) {
    tiles.push_back({first, L, rest});
  } else {
    for (; first < channels; ++first) tiles.push_back({first, 1, 1});
  }
  return tiles;
}

}  // namespace

Rule rule_from_name(std::string_view name) {
  std::string valid;
  for (const auto& [rule, text] : kRuleNames) {
    if (text == name) return rule;
    valid += valid.empty() ? "'" : ", '";
    valid += std::string(text) + "'";
  }
  throw InvalidArgument(message("rule must be one of ", valid, "; got '", name, "'"));
}

std::string_view name_of(Rule rule) {
  for (const auto& [entry, text] : kRuleNames) {
    if (entry == rule) return text;
  }
  throw InvalidArgument("enumeration value out of range");
}

// ---- Timeline ----------------------------------------------------------------------------------

Timeline::Timeline(Clock clock, Rule rule, double alpha)
    : clock_(clock), rule_(rule), alpha_(alpha) {
  require(alpha >= 0.0 && alpha <= 1.0, "alpha must lie in [0, 1], got ", alpha);
}

Step Timeline::step(double from, double to) const {
  if (scaled() && from == 0.0) return {0.0, 0.0, 0.0, 0.0, true};
  const double h = to - from;
  const double before = scaled() ? h / from : h;
  const double after = scaled() ? h / to : h;
  switch (rule_) {
    case Rule::forward:
      return {before, 0.0, before, 0.0, false};
    case Rule::backward:
      return {0.0, after, after, 0.0, false};
    case Rule::bilinear:
      return {0.5 * before, 0.5 * after, before, 0.0, false};
    case Rule::bilinear_split:
      return {0.5 * before, 0.5 * after, 0.5 * (before + after), 0.0, false};
    case Rule::gbt: {
      const double kappa = (1.0 - alpha_) * before;
      const double nu = alpha_ * after;
      return {kappa, nu, kappa + nu, 0.0, false};
    }
    case Rule::zoh:
      return {0.0, 0.0, 0.0, after, false};
    default:  // exact
      return {0.0, 0.0, 0.0, scaled() ? std::log1p(before) : h, false};
  }
}

// ---- steppers ----------------------------------------------------------------------------------

template <class T>
void Stepper<T>::settle(Index lanes, T* state, const T* u) const {
  for (Index i = 0; i < width(); ++i) {
    for (Index c = 0; c < lanes; ++c) state[i * lanes + c] = steady_[i] * u[c];
  }
}

template <class T>
std::shared_ptr<const Stepper<T>> make_stepper(const System& system, Rule rule, double regular) {
  if (is_exponential(rule)) return make_exponential_stepper<T>(system, regular);
  if (system.is_cascade()) return make_cascade_stepper<T>(system);
  if (system.measure() == Measure::legt) return make_window_stepper<T>(system);
  if (system.measure() == Measure::fout) return make_fourier_stepper<T>(system);
  return make_dense_stepper<T>(system);
}

// ---- Memory ------------------------------------------------------------------------------------

template <class T>
struct Memory<T>::Request {
  ConstRows<T> u;
  std::span<const double> times;
  Index every;  // 0: no trajectory
  T* out;       // channels × (samples/every) × order
};

template <class T>
Memory<T>::Memory(const System& system, Rule rule, double alpha, double step, Index channels)
    : timeline_(system.clock(), rule, alpha),
      step_(step),
      channels_(channels),
      order_(system.order()) {
  require(std::isfinite(step) && step > 0.0, "step must be positive and finite, got ", step);
  require(channels >= 0, "channels must not be negative, got ", channels);
  require(!system.is_complex(), "a memory takes the real normalisations");
  const bool regular = is_exponential(rule) && system.clock() != Clock::scaled;
  stepper_ = make_stepper<T>(system, rule, regular ? step : 0.0);
  reset();
}

template <class T>
void Memory<T>::reset() {
  samples_ = 0;
  base_ = 0.0;
  state_.assign(static_cast<std::size_t>(channels_ * stepper_->width()), T(0));
}

template <class T>
void Memory<T>::restore(std::vector<T> state, Index samples, double base) {
  require<ShapeMismatch>(state.size() == state_.size(), "state must hold ", state_.size(),
                         " numbers, got ", state.size());
  state_ = std::move(state);
  samples_ = samples;
  base_ = base;
}

/// The step that takes sample k of a call. Regular steps count in units of the step, so on the
/// scaled clock, where only ratios matter, they are the same whatever the step.
template <class T>
Step Memory<T>::step_at(Index k, std::span<const double> times) const {
  if (!times.empty()) {
    const auto i = static_cast<std::size_t>(k);
    const double from = k == 0 ? time() : times[i - 1];
    const double to = times[i];
    // Instants that are regular but for their rounding need no new factorisation at every step.
    constexpr double kRounding = 4.0 * std::numeric_limits<double>::epsilon();
    const bool regular = !timeline_.scaled() && std::abs(to - from - step_) <= kRounding * to;
    return regular ? timeline_.step(0.0, step_) : timeline_.step(from, to);
  }
  if (!timeline_.scaled()) return timeline_.step(0.0, step_);
  const double from = base_ / step_ + static_cast<double>(samples_ + k);
  return timeline_.step(from, from + 1.0);
}

template <class T>
void Memory<T>::update(ConstRows<T> u, std::span<const double> times) {
  run({u, times, 0, nullptr});
}

template <class T>
void Memory<T>::update(ConstRows<T> u, std::span<const double> times, Index every, Rows<T> out) {
  require(every >= 1, "every must be at least 1, got ", every);
  const Index rows = channels_ * (u.cols() / every);
  require<ShapeMismatch>(out.rows() == rows && out.cols() == order_, "out must have shape (", rows,
                         ", ", order_, "), got (", out.rows(), ", ", out.cols(), ")");
  run({u, times, every, out.data()});
}

template <class T>
void Memory<T>::run(const Request& request) {
  const Index samples = request.u.cols();
  require<ShapeMismatch>(request.u.rows() == channels_, "u must have ", channels_,
                         " channels, got ", request.u.rows());
  require<ShapeMismatch>(
      request.times.empty() || static_cast<Index>(request.times.size()) == samples,
      "times must hold one instant for each of the ", samples, " samples, got ",
      request.times.size());
  double previous = time();
  for (std::size_t i = 0; i < request.times.size(); ++i) {
    require(std::isfinite(request.times[i]) && request.times[i] > previous,
            "times must increase from the memory's time, got times[", i, "] = ", request.times[i],
            " after ", previous);
    previous = request.times[i];
  }
  if (samples == 0) return;

  const std::vector<Tile> tiles = tiles_of<T>(channels_);
  std::vector<T> next(state_.size());
  const double work =
      stepper_->work() * static_cast<double>(samples) * static_cast<double>(channels_);
  parallel_for(static_cast<Index>(tiles.size()), work, [&](Index i, Checkpoint& checkpoint) {
    const Tile& tile = tiles[static_cast<std::size_t>(i)];
    advance_tile(request, tile.first, tile.lanes, tile.active, next, checkpoint);
  });
  state_ = std::move(next);
  if (request.times.empty()) {
    samples_ += samples;
  } else {
    samples_ = 0;
    base_ = request.times.back();
  }
}

template <class T>
void Memory<T>::advance_tile(const Request& request, Index first, Index lanes, Index active,
                             std::vector<T>& next, Checkpoint& checkpoint) const {
  const Index width = stepper_->width();
  const Index samples = request.u.cols();
  const auto stride = [](Index i) { return static_cast<std::size_t>(i); };
  std::vector<T> state(stride(width * lanes), T(0));
  for (Index c = 0; c < active; ++c) {
    const T* saved = state_.data() + (first + c) * width;
    for (Index i = 0; i < width; ++i) state[stride(i * lanes + c)] = saved[i];
  }
  const auto workspace = stepper_->workspace(lanes);
  std::vector<T> input(stride(kBlock<T> * lanes), T(0));
  std::vector<Step> steps;
  steps.reserve(stride(kBlock<T>));

  const auto take = [&](Index from) {  // advance by `steps`, whose inputs start at sample `from`
    const auto count = static_cast<Index>(steps.size());
    for (Index c = 0; c < active; ++c) {
      const T* u = request.u.data() + (first + c) * samples + from;
      for (Index s = 0; s < count; ++s) input[stride(s * lanes + c)] = u[s];
    }
    if (steps.front().first) {
      stepper_->settle(lanes, state.data(), input.data());
    } else {
      stepper_->advance(steps, lanes, state.data(), input.data(), *workspace);
    }
  };
  const auto record = [&](Index done) {
    const Index K = samples / request.every;
    for (Index c = 0; c < active; ++c) {
      T* row = request.out + ((first + c) * K + done / request.every - 1) * order_;
      stepper_->coefficients(lanes, c, state.data(), row);
    }
  };

  for (Index k = 0; k < samples;) {
    checkpoint();
    Index end = std::min(samples, k + kBlock<T>);
    if (request.every > 0) end = std::min(end, (k / request.every + 1) * request.every);
    steps.clear();
    for (Index i = k; i < end; ++i) {
      steps.push_back(step_at(i, request.times));
      if (steps.back().first) end = i + 1;  // only ever the first sample of all
    }
    take(k);
    k = end;
    if (request.every > 0 && k % request.every == 0) record(k);
  }
  for (Index c = 0; c < active; ++c) {
    T* saved = next.data() + (first + c) * width;
    for (Index i = 0; i < width; ++i) saved[i] = state[stride(i * lanes + c)];
  }
}

template <class T>
void Memory<T>::coefficients(Rows<T> out) const {
  require<ShapeMismatch>(out.rows() == channels_ && out.cols() == order_, "out must have shape (",
                         channels_, ", ", order_, "), got (", out.rows(), ", ", out.cols(), ")");
  for (Index c = 0; c < channels_; ++c) {
    stepper_->coefficients(1, 0, state_.data() + c * stepper_->width(), out.data() + c * order_);
  }
}

template class Memory<float>;
template class Memory<double>;
template class Stepper<float>;
template class Stepper<double>;
template std::shared_ptr<const Stepper<float>> make_stepper<float>(const System&, Rule, double);
template std::shared_ptr<const Stepper<double>> make_stepper<double>(const System&, Rule, double);

}  // namespace resolvent::hippo
