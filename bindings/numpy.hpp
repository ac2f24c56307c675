#pragma once

#include <pybind11/numpy.h>

#include <span>
#include <vector>

#include "resolvent/core/error.hpp"
#include "resolvent/core/types.hpp"

/// The array policy of the package. float32, float64, complex64 and complex128 are kept; integers
/// and booleans become float64; what would lose information is refused. Contiguous input is not
/// copied. The last axis is the vector, the leading axes are a batch.
namespace resolvent::bindings {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

/// An array-like as a C-contiguous real array (float32 or float64). `DtypeError` for complex and
/// anything else that is no number.
py::array as_real(const py::object& value, const char* name);

/// As `as_real`, but complex64 and complex128 are kept too.
py::array as_number(const py::object& value, const char* name);

/// Throws `InvalidArgument` with the first position of a NaN or infinity, and the hint.
void require_finite(const py::array& values, const char* name, const char* hint);

/// The same for what is neither finite nor −∞.
void require_logits(const py::array& values, const char* name);

/// `out` if it is a writable C-contiguous array of this shape and dtype; says both where it is not.
py::array checked_out(const py::object& out, const std::vector<py::ssize_t>& shape,
                      const py::dtype& dtype);

/// "(2, 3)".
std::string shape_text(const std::vector<py::ssize_t>& shape);

inline std::vector<py::ssize_t> shape_of(const py::array& a) {
  return {a.shape(), a.shape() + a.ndim()};
}

/// Throws `ShapeMismatch` unless the last axis has `size` entries.
void require_last_axis(const py::array& a, Index size, const char* name);

/// A batch (…, n) as rows.
template <class T>
ConstRows<T> rows_of(const Array<T>& a, Index columns) {
  return {a.data(), columns == 0 ? 0 : a.size() / columns, columns};
}

template <class T>
Rows<T> rows_of(Array<T>& a, Index columns) {
  return {a.mutable_data(), columns == 0 ? 0 : a.size() / columns, columns};
}

/// An array of two axes as rows.
template <class T>
ConstRows<T> rows_in(const Array<T>& a) {
  return {a.data(), a.shape(0), a.shape(1)};
}

template <class T>
Rows<T> rows_out(Array<T>& a) {
  return {a.mutable_data(), a.shape(0), a.shape(1)};
}

/// The shape with its last axis replaced.
std::vector<py::ssize_t> with_last_axis(std::vector<py::ssize_t> shape, Index size);

/// Copies into new arrays.
template <class T>
Array<T> from_vector(const Vector<T>& v) {
  Array<T> out(v.size());
  VectorView<T>(out.mutable_data(), v.size()) = v;
  return out;
}

template <class T>
Array<T> from_matrix(const Matrix<T>& m) {
  Array<T> out({m.rows(), m.cols()});
  Rows<T>(out.mutable_data(), m.rows(), m.cols()) = m;
  return out;
}

/// Looks into an array: all entries, or a matrix.
template <class T>
std::span<const T> span_of(const Array<T>& a) {
  return {a.data(), static_cast<std::size_t>(a.size())};
}

template <class T>
ConstRows<T> matrix_of(const Array<T>& a) {
  return {a.data(), a.shape(0), a.shape(1)};
}

}  // namespace resolvent::bindings
