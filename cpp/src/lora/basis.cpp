#include "basis.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace resolvent::lora {
namespace {

/// The largest ratio of the diagonal of a Cholesky factor that the second pass makes good. The
/// Gram matrix is summed in double precision: its factor exists for condition numbers up to 10⁸.
template <class T>
constexpr double kMostSkewed = sizeof(T) == sizeof(float) ? 1e4 : 1e6;

/// What is left of a unit vector beside a space: less than this share of the 1/√n that a random
/// vector keeps beside all but one dimension means that the space is all.
constexpr double kLeastShare = 1e-3;

template <class T>
bool lies_within(const Vector<T>& rest) {
  return static_cast<double>(rest.norm()) * std::sqrt(static_cast<double>(rest.size())) <=
         kLeastShare;
}

/// The upper triangular R with RᵀR = G, or false where G is too near to a smaller rank.
bool cholesky(const Square& G, double most_skewed, double negligible, Square& R) {
  R.setZero();
  double largest = 0.0, smallest = std::numeric_limits<double>::infinity();
  for (Index c = 0; c < kPanel; ++c) {
    double pivot = G(c, c);
    for (Index k = 0; k < c; ++k) pivot -= R(k, c) * R(k, c);
    if (!(pivot > negligible * negligible)) return false;
    R(c, c) = std::sqrt(pivot);
    largest = std::max(largest, R(c, c));
    smallest = std::min(smallest, R(c, c));
    if (largest > most_skewed * smallest) return false;
    for (Index j = c + 1; j < kPanel; ++j) {
      double sum = G(c, j);
      for (Index k = 0; k < c; ++k) sum -= R(k, c) * R(k, j);
      R(c, j) = sum / R(c, c);
    }
  }
  return true;
}

/// R⁻¹ of an upper triangular R.
Square inverse(const Square& R) {
  Square X = Square::Zero();
  for (Index j = 0; j < kPanel; ++j) {
    X(j, j) = 1.0 / R(j, j);
    for (Index i = j - 1; i >= 0; --i) {
      double sum = 0.0;
      for (Index k = i + 1; k <= j; ++k) sum += R(i, k) * X(k, j);
      X(i, j) = -sum / R(i, i);
    }
  }
  return X;
}

}  // namespace

template <class T>
Matrix<double> Basis<T>::append(const Panel<T>& block, double negligible) {
  Matrix<double> C = Matrix<double>::Zero(vectors() + kPanel, kPanel);
  if (!append_at_once(block, negligible, C)) {
    C.setZero();
    append_by_columns(block, negligible, C);
  }
  return C;
}

template <class T>
bool Basis<T>::append_at_once(const Panel<T>& block, double negligible, Matrix<double>& C) {
  Panel<T> Y = block;
  Square R = Square::Identity();       // block = Σ_k panel_k C_k + Y R
  Square change = Square::Identity();  // what Y is still to be multiplied with
  for (int pass = 0; pass < 2; ++pass) {
    const auto overlap = apply_and_project(change, panels_, Y);
    Square factor;
    const double least = pass == 0 ? negligible : kLeastShare;
    if (!cholesky(subtract_and_square(panels_, overlap, Y), kMostSkewed<T>, least, factor)) {
      return false;
    }
    for (std::size_t k = 0; k < overlap.size(); ++k) {
      C.middleRows(static_cast<Index>(k) * kPanel, kPanel) += overlap[k] * R;
    }
    R = (factor * R).eval();
    change = inverse(factor);
  }
  apply_and_project(change, {}, Y);
  C.bottomRows(kPanel) = R;
  panels_.push_back(std::move(Y));
  return true;
}

template <class T>
Vector<T> Basis<T>::random_unit() {
  Vector<T> v(dimension_);
  for (Index i = 0; i < dimension_; ++i) {
    v[i] = static_cast<T>(static_cast<double>(random_() >> 11) * 0x1p-53 - 0.5);
  }
  return v / v.norm();
}

template <class T>
void Basis<T>::append_by_columns(const Panel<T>& block, double negligible, Matrix<double>& C) {
  panels_.push_back(Panel<T>::Zero(dimension_, kPanel));
  Panel<T>& fresh = panels_.back();
  // y ← y − QQᵀy with all that is there; the coefficients are added to `column`.
  const auto project = [&](Vector<T>& y, Vector<double>& column) {
    for (std::size_t k = 0; k < panels_.size(); ++k) {
      const Vector<T> overlap = panels_[k].transpose() * y;
      y.noalias() -= panels_[k] * overlap;
      column.segment(static_cast<Index>(k) * kPanel, kPanel) += overlap.template cast<double>();
    }
  };
  Vector<double> ignored = Vector<double>::Zero(vectors());
  for (Index c = 0; c < kPanel; ++c) {
    Vector<T> y = block.col(c);
    Vector<double> column = Vector<double>::Zero(vectors());
    project(y, column);
    project(y, column);
    const auto length = static_cast<double>(y.norm());
    if (length > negligible) {
      y /= static_cast<T>(length);
      project(y, ignored);
      column[vectors() - kPanel + c] = length;
    } else {
      y = random_unit();
      project(y, ignored);
      y *= lies_within(y) ? T(0) : T(1) / y.norm();
      project(y, ignored);
    }
    const T norm = y.norm();
    if (norm > T(0)) fresh.col(c) = y / norm;
    C.col(c) = column;
  }
}

template <class T>
void Basis<T>::complete(Matrix<T>& Q, Index first) {
  for (Index c = first; c < Q.cols(); ++c) {
    Vector<T> y = Q.col(c);
    const auto project = [&] {
      const Vector<T> overlap = Q.leftCols(c).transpose() * y;
      y.noalias() -= Q.leftCols(c) * overlap;
    };
    for (;;) {
      project();
      project();
      if (!lies_within(y)) break;
      y = random_unit();
    }
    y /= y.norm();
    project();
    Q.col(c) = y / y.norm();
  }
}

template class Basis<float>;
template class Basis<double>;

}  // namespace resolvent::lora
