#pragma once

#include <cmath>
#include <compare>
#include <limits>

#include "resolvent/math/elementary.hpp"

namespace resolvent::attention {

/// Arithmetic that was done.
struct Operations {
  double multiplications = 0;
  double additions = 0;  // subtractions too
  double divisions = 0;
  double exponentials = 0;
  double roots = 0;
};

/// A double that counts what is done with it, on the thread that does it: run in its place, an
/// algorithm counts itself.
class Counted {
 public:
  Counted(double value = 0.0) : value_(value) {}  // NOLINT: converts as numbers do

  static Operations& count() {
    thread_local Operations operations;
    return operations;
  }

  double value() const { return value_; }

  friend Counted operator+(Counted a, Counted b) {
    return ++count().additions, a.value_ + b.value_;
  }
  friend Counted operator-(Counted a, Counted b) {
    return ++count().additions, a.value_ - b.value_;
  }
  friend Counted operator*(Counted a, Counted b) {
    return ++count().multiplications, a.value_ * b.value_;
  }
  friend Counted operator/(Counted a, Counted b) {
    return ++count().divisions, a.value_ / b.value_;
  }
  Counted& operator+=(Counted b) { return *this = *this + b; }
  Counted& operator*=(Counted b) { return *this = *this * b; }

  friend Counted sqrt(Counted a) { return ++count().roots, std::sqrt(a.value_); }
  friend Counted exp_nonpositive(Counted a) {
    return ++count().exponentials, math::exp_nonpositive(a.value_);
  }
  friend auto operator<=>(Counted a, Counted b) { return a.value_ <=> b.value_; }
  friend bool operator==(Counted a, Counted b) { return a.value_ == b.value_; }

 private:
  double value_;
};

}  // namespace resolvent::attention

template <>
struct std::numeric_limits<resolvent::attention::Counted> : std::numeric_limits<double> {};
