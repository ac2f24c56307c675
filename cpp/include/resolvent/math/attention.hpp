#pragma once

#include "resolvent/math/config.hpp"
#include "resolvent/math/elementary.hpp"

/// Softmax attention as a recurrence over keys.
namespace resolvent::math {

/// What one key does to the state (m, z, a) = (largest logit, Σe^{s_i − m}, Σe^{s_i − m} v_i):
/// m' = max(m, s), then z' = keep·z + add and a' = keep·a + add·v.
template <class T>
struct KeyStep {
  T largest;
  T keep;
  T add;
};

/// keep = e^{m − m'}, add = e^{s − m'}; one of them is 1. m = −∞ is the empty state; s = −∞ is a
/// masked key, and changes nothing.
template <class T>
RESOLVENT_HD inline KeyStep<T> key_step(T largest, T logit, T lowest) {
  const T next = largest < logit ? logit : largest;
  const T centre = next < lowest ? lowest : next;  // −∞ − (−∞) is no number
  return {next, exp_nonpositive(largest - centre), exp_nonpositive(logit - centre)};
}

}  // namespace resolvent::math
