#pragma once

#include <Eigen/Core>

#include <complex>

namespace resolvent {

using Index = Eigen::Index;
using Complex = std::complex<double>;

template <class T>
using Vector = Eigen::Matrix<T, Eigen::Dynamic, 1>;

/// Dense matrix, row-major like a NumPy array in C order.
template <class T>
using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A batch of vectors: one per row, the last axis contiguous.
template <class T>
using Rows = Eigen::Map<Matrix<T>>;

template <class T>
using ConstRows = Eigen::Map<const Matrix<T>>;

template <class T>
using VectorView = Eigen::Map<Vector<T>>;

template <class T>
using ConstVectorView = Eigen::Map<const Vector<T>>;

}  // namespace resolvent
