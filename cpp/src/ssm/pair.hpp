#pragma once

#include "resolvent/core/types.hpp"
#include "resolvent/math/discretize.hpp"

namespace resolvent::ssm {

/// Complex numbers in formulas: as pairs, which multiply without std::complex's care for
/// infinities.
using Pair = math::ComplexPair<double>;

inline Pair pair_of(Complex c) { return {c.real(), c.imag()}; }

}  // namespace resolvent::ssm
