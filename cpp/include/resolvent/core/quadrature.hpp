#pragma once

#include "resolvent/core/types.hpp"

namespace resolvent {

/// Nodes (ascending) and weights of a quadrature rule on [−1, 1].
struct Quadrature {
  Vector<double> nodes;
  Vector<double> weights;
};

/// Gauss–Legendre rule with `count` nodes, exact for polynomials of degree 2·count − 1.
/// Newton's method on P_count from Tricomi's estimate of its zeros, in the distance from the end of
/// the interval; nodes to 2 ulp, weights to about √count·eps relative, the end ones too.
/// Cost O(count²).
Quadrature gauss_legendre(Index count);

}  // namespace resolvent
