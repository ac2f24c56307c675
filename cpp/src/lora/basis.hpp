#pragma once

#include <random>
#include <vector>

#include "panel.hpp"

namespace resolvent::lora {

/// A growing set of orthonormal vectors of one length, in panels. A direction that a block lacks is
/// replaced by a random one, and by zero once the whole space is spanned.
template <class T>
class Basis {
 public:
  Basis(Index dimension, std::uint64_t seed) : dimension_(dimension), random_(seed) {}

  /// Orthonormalises a block against all before it and within itself, and keeps it. Returns C,
  /// (vectors × kPanel), with block = Σ_k panel_k C_k, the new panel's square last. Entries of
  /// columns below `negligible` in length are rounding and count as zero.
  ///
  /// Classical Gram–Schmidt against the basis and Cholesky factors of the block's Gram matrix, both
  /// twice; column by column where the block is too near to a smaller rank for that.
  Matrix<double> append(const Panel<T>& block, double negligible);

  const std::vector<Panel<T>>& panels() const { return panels_; }
  const Panel<T>& back() const { return panels_.back(); }
  Index vectors() const { return static_cast<Index>(panels_.size()) * kPanel; }

  /// Makes the columns of Q from `first` on orthonormal to each other and to those before them,
  /// with random directions for those that are nearly zero or dependent.
  void complete(Matrix<T>& Q, Index first);

 private:
  bool append_at_once(const Panel<T>& block, double negligible, Matrix<double>& C);
  void append_by_columns(const Panel<T>& block, double negligible, Matrix<double>& C);
  Vector<T> random_unit();

  Index dimension_;
  std::mt19937_64 random_;
  std::vector<Panel<T>> panels_;
};

}  // namespace resolvent::lora
