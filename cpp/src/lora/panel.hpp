#pragma once

#include <vector>

#include "resolvent/core/types.hpp"

namespace resolvent::lora {

/// Columns of a panel. The products below read a matrix once for as many columns; 16 make them as
/// fast as the arithmetic allows while M comes from the cache, and keep Krylov blocks small.
inline constexpr Index kPanel = 16;

/// kPanel vectors side by side, n × kPanel row-major.
template <class T>
using Panel = Eigen::Matrix<T, Eigen::Dynamic, kPanel, Eigen::RowMajor>;

/// What two panels have with each other.
using Square = Eigen::Matrix<double, kPanel, kPanel, Eigen::RowMajor>;

/// out = M X. Cost 2·n·m·kPanel operations, M read once. Sums run over pieces of 256 entries, whose
/// partial sums are added in order: the error grows like eps(256 + m/256). No sum depends on the
/// number of threads or on the width of the vector registers.
template <class T>
void multiply(ConstRows<T> M, const Panel<T>& X, Panel<T>& out);

/// out = Mᵀ X, with the same cost and the same guarantees.
template <class T>
void multiply_transposed(ConstRows<T> M, const Panel<T>& X, Panel<T>& out);

/// ΣM² in double precision; NaN or infinite if an entry is, or if a square is out of range.
template <class T>
double sum_of_squares(ConstRows<T> M);

/// out = Mᵀ Ω for a sparse Ω, n × kPanel, with one entry ±factor in each row (a count sketch;
/// Clarkson and Woodruff 2013, arXiv 1207.6365): n·m additions instead of a product with a dense Ω.
template <class T>
void sketch_rows(ConstRows<T> M, std::uint64_t seed, T factor, Panel<T>& out);

/// Y ← Y F, then XᵀY for every panel X of a basis.
template <class T>
std::vector<Square> apply_and_project(const Square& F, const std::vector<Panel<T>>& basis,
                                      Panel<T>& Y);

/// Y ← Y − Σ_k basis[k] coefficients[k]; returns YᵀY, summed in double precision.
template <class T>
Square subtract_and_square(const std::vector<Panel<T>>& basis,
                           const std::vector<Square>& coefficients, Panel<T>& Y);

/// Σ_k basis[k] coefficients(16k … 16k + 15, :) over as many panels as there are coefficients; any
/// number of columns.
template <class T>
Matrix<T> combine(const std::vector<Panel<T>>& basis, const Matrix<double>& coefficients);

}  // namespace resolvent::lora
