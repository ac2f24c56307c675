#pragma once

#include <span>

#include "resolvent/core/types.hpp"

/// Sets in the complex plane that say what eigenvalues of a non-normal matrix do not.
namespace resolvent::spectral {

/// out(i, j) = the smallest singular value of (re[j] + i·im[i])·I − A.
///
/// One Schur form A = U T U* (none for a triangular A, whose entries are used as they are), then
/// for each point the Lanczos process for ((zI − T)*(zI − T))⁻¹ by two triangular solves per step,
/// until the residual of the largest Ritz value is below `tolerance` relative, or rounding lets it
/// fall no further (Trefethen & Embree 2005, §39). O(N³) once and O(N²) per step and point, points
/// in groups that share the loads of T. Below eps·‖A‖ a value says only that z is an eigenvalue to
/// working precision; below about 1e-77·‖A‖ it is 0.
void pseudospectrum(ConstRows<Complex> A, std::span<const double> re, std::span<const double> im,
                    double tolerance, Rows<double> out);

/// Points x*Ax on the boundary of the numerical range, x the unit eigenvector for the largest
/// eigenvalue h of the Hermitian part of e^{−iθ}A (Johnson 1978): the range lies in
/// Re(e^{−iθ}z) ≤ h. One Hermitian eigenproblem for each angle.
void numerical_range(ConstRows<Complex> A, std::span<const double> angles,
                     Eigen::Ref<Vector<Complex>> boundary, Eigen::Ref<Vector<double>> support);

}  // namespace resolvent::spectral
