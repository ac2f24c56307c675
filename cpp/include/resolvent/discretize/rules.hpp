#pragma once

#include <span>
#include <string_view>

#include "resolvent/core/types.hpp"

/// From x' = A x + B u to x⁺ = Ā x + B̄ u with a step ε: rules, and what they do to an eigenvalue.
namespace resolvent::discretize {

/// forward, backward, bilinear: the generalised bilinear rule `gbt` with α = 0, 1, ½.
/// zoh: exact for an input that is constant over a step; foh: for one that is linear.
/// mamba: e^{εA} with the input weight εB of the forward rule.
enum class Rule { forward, backward, bilinear, gbt, zoh, foh, mamba };

Rule rule_from_name(std::string_view name);
std::string_view name_of(Rule rule);

/// Whether R is a rational function; α is then that of gbt.
bool is_rational(Rule rule);

/// α of a rational rule: the one given for gbt, its own for the others. Throws `InvalidArgument`
/// unless 0 ≤ alpha ≤ 1.
double weight_of(Rule rule, double alpha);

/// What a rule is compared with: e^{ελ} (state), or φ_1(ελ), the weight of a constant input in
/// units of ε (input).
enum class Part { state, input };

Part part_from_name(std::string_view name);

/// out(i, j) = R(ε_iλ_j) − e^{ε_iλ_j}, or B̄/ε − φ_1(ε_iλ_j) for B = 1 (foh: both weights together),
/// with a small relative error as ε_iλ_j → 0 too. Zero for zoh and foh.
void local_error(std::span<const Complex> eigenvalues, std::span<const double> steps, Rule rule,
                 double alpha, Part part, Rows<Complex> out);

/// out(i, j) = |R(real_j + i·imag_i)|, infinite at a pole.
void growth(std::span<const double> real, std::span<const double> imag, Rule rule, double alpha,
            Rows<double> out);

/// φ_order of each value.
void phi(std::span<const Complex> z, Index order, std::span<Complex> out);

/// The largest ε with |R(ε'λ) − e^{ε'λ}| ≤ tolerance for all ε' ≤ ε and all eigenvalues λ; infinite
/// where there is no bound. The first crossing along each ray is found by steps that bounds of the
/// error's derivative allow, so that none is jumped over. Relative error some 10⁻¹⁰.
double largest_step(std::span<const Complex> eigenvalues, Rule rule, double alpha,
                    double tolerance);

}  // namespace resolvent::discretize
