#pragma once

#include <span>

#include "resolvent/core/types.hpp"

/// Maps from rows of logits to the simplex, and what they are differentiated with.
///
/// Everywhere: x is (H, n), one row each; entries of −∞ are masked and get exactly 0. +∞ and NaN
/// throw `InvalidArgument` with the first place, as do parameters out of range; the output is
/// unspecified then. p is map(x/τ). The
/// output must not overlap the input. Results do not depend on the number of threads, nor on what
/// the other rows are. Nothing is allocated that grows with the input, unless it is said. Sources:
/// Martins, Astudillo 2016 (sparsemax), Peters, Niculae, Martins 2019 (entmax), Blondel, Martins,
/// Niculae 2020 (normmax).
namespace resolvent::probmap {

/// What a row whose entries are all masked gives: 1/n everywhere, or `InvalidArgument`.
enum class Empty { uniform, error };

/// A number for every row, or the same for all.
class Parameter {
 public:
  explicit Parameter(std::span<const double> values) : values_(values) {}

  double operator[](Index row) const {
    return values_[values_.size() == 1 ? 0 : static_cast<std::size_t>(row)];
  }
  bool is_shared() const { return values_.size() == 1; }
  std::span<const double> values() const { return values_; }

 private:
  std::span<const double> values_;
};

/// p = e^{(x − max)/τ}/Σ. Relative error some eps(4 + |x − max|/τ); three passes over a row. Here x
/// and p may be the same.
template <class T>
void softmax(ConstRows<T> x, Parameter temperature, Empty empty, Rows<T> p);

/// x/τ − log Σ e^{x/τ}; masked entries are −∞.
template <class T>
void log_softmax(ConstRows<T> x, Parameter temperature, Empty empty, Rows<T> out);

/// log Σ e^{x/τ} of every row, −∞ for a masked one.
template <class T>
void logsumexp(ConstRows<T> x, Parameter temperature, Vector<T>& out);

/// p = ((α−1)x/τ − λ)_+^{1/(α−1)} with Σp = 1, for α in [1, ∞]: softmax at 1, sparsemax at 2, the
/// entries that equal the maximum at ∞.
///
/// With u = 1 − v − (α−1)(max − x)/τ and q = 1/(α−1) the equation is ‖u_+‖_q = 1 in v. For α ≤ 2
/// its left side is convex and decreasing in v, and Newton's method rises to the root from any v to
/// the left, such as the root for a few of the entries. It needs 3 to 6 passes as a rule, no sort,
/// and is linear as α → 1 or where the entries are equal. For α > 2 Newton's method is kept inside
/// a bracket. v is carried in two parts, so that Σp = 1 to rounding for many small entries too.
template <class T>
void entmax(ConstRows<T> x, Parameter alpha, Parameter temperature, Empty empty, Rows<T> p);

/// argmax_p ⟨x/τ, p⟩ − ‖p‖_α for α in [1, ∞]: p ∝ u^{q−1} with u = (x/τ − λ)_+, q = α/(α−1),
/// ‖u‖_q = 1. The entries that equal the maximum at 1, those that sparsemax keeps at ∞.
template <class T>
void normmax(ConstRows<T> x, Parameter alpha, Parameter temperature, Empty empty, Rows<T> p);

/// p = clip(x/τ − λ, 0, 1) with Σp = total: the point of {0 ≤ p ≤ 1, Σp = total} nearest to x/τ.
/// `InvalidArgument` unless 0 < total ≤ the number of entries that are not masked.
template <class T>
void budget(ConstRows<T> x, Parameter total, Parameter temperature, Empty empty, Rows<T> p);

/// The entries that sparse_softmax keeps: the `count` largest, or, where that is 0, the fewest
/// whose softmax is at least `mass`. All that equal the last one are kept with it.
struct Kept {
  Index count = 0;
  double mass = 1.0;
};

/// softmax over the largest entries, 0 elsewhere.
template <class T>
void sparse_softmax(ConstRows<T> x, Kept kept, Parameter temperature, Empty empty, Rows<T> p);

/// The smallest entry of every row that sparse_softmax keeps, −∞ for a masked row.
template <class T>
void sparse_softmax_last(ConstRows<T> x, Kept kept, Parameter temperature, Vector<T>& last);

/// f(x_i/τ)/Σ f(x_j/τ), f one of these; taylor is Σ_{m ≤ order} x^m/m! with an even order. A row
/// whose f are all 0 is empty, and uniform means over the entries that are not masked.
enum class Elementwise { square, relu, sigmoid, softplus, taylor };

struct Normalizer {
  Elementwise function;
  int order = 2;
};

template <class T>
void normalize(ConstRows<T> x, Normalizer f, Parameter temperature, Empty empty, Rows<T> p);

}  // namespace resolvent::probmap
