#include "numpy.hpp"

#include <pybind11/stl.h>
#include <algorithm>

#include <cmath>
#include <limits>
#include <string>

#include "bindings.hpp"

namespace resolvent::bindings {
namespace {

/// A numpy.ma array with at least one masked entry, which plain arrays would show as data.
bool is_masked(const py::object& value) {
  if (!py::isinstance<py::array>(value) || !py::hasattr(value, "mask")) return false;
  return value.attr("mask").attr("any")().cast<bool>();
}

py::array as_array(const py::object& value, const char* name) {
  if (is_masked(value)) {
    throw DtypeError(message(name, " must not have masked entries; fill them first"));
  }
  py::array array = py::array::ensure(value);  // swallows the error of a failed conversion
  if (!array) {
    throw DtypeError(message(name, " must be an array of numbers, got ",
                             std::string(py::str(py::type::of(value).attr("__name__")))));
  }
  return array;
}

std::string dtype_text(const py::array& array) { return py::str(array.dtype().attr("name")); }

bool is_float(const py::array& a, bool single) {
  return a.dtype().kind() == 'f' && a.dtype().itemsize() == (single ? 4 : 8);
}

/// The array as T, C-contiguous and in native byte order; itself where it is that already.
template <class T>
py::array converted(const py::array& array) {
  constexpr int kFlags = py::array::c_style | py::array::forcecast;
  const bool aligned = array.attr("flags").attr("aligned").cast<bool>();
  return py::array_t<T, kFlags>(aligned ? array : array.attr("copy")().cast<py::array>());
}

py::array converted_real(const py::array& array, const char* name, const char* expected) {
  switch (array.dtype().kind()) {
    case 'b':
    case 'i':
    case 'u':
      return converted<double>(array);
    case 'f':
      if (is_float(array, true)) return converted<float>(array);
      if (is_float(array, false)) return converted<double>(array);
      throw DtypeError(message(name, " must be float32 or float64, got ", dtype_text(array),
                               "; cast it, for example with ", name, ".astype(numpy.float32)"));
    default:
      throw DtypeError(message(name, " must be ", expected, ", got ", dtype_text(array)));
  }
}

bool is_finite(double x) { return std::isfinite(x); }

template <class T>
bool is_finite(const std::complex<T>& z) {
  return std::isfinite(z.real()) && std::isfinite(z.imag());
}

/// Throws with the first entry that is not `allowed`; `expected` says what is.
template <class T, class F>
void require_entries(const py::array& values, const char* name, const char* expected,
                     const char* hint, F&& allowed) {
  const Array<T> array(values);
  const T* data = array.data();
  // A block at a time without a branch, so that it goes by vectors; entries are looked at singly
  // only where a block has a bad one.
  constexpr py::ssize_t kBlock = 1024;
  py::ssize_t i = 0;
  for (bool sound = true; i < array.size(); i += kBlock) {
    const py::ssize_t end = std::min(i + kBlock, array.size());
    for (py::ssize_t j = i; j < end; ++j) sound &= allowed(data[j]);
    if (!sound) break;
  }
  for (; i < array.size(); ++i) {
    if (allowed(data[i])) continue;
    // Unravel i, to name the place.
    std::vector<py::ssize_t> place(static_cast<std::size_t>(array.ndim()));
    py::ssize_t rest = i;
    for (py::ssize_t axis = array.ndim() - 1; axis >= 0; --axis) {
      place[static_cast<std::size_t>(axis)] = rest % array.shape(axis);
      rest /= array.shape(axis);
    }
    std::string where;
    for (const py::ssize_t p : place) where += (where.empty() ? "" : ", ") + std::to_string(p);
    throw InvalidArgument(message(name, " must be ", expected, ", got ", name,
                                  where.empty() ? "" : "[" + where + "]", " = ", data[i], hint));
  }
}

template <class T>
void require_finite_as(const py::array& values, const char* name, const char* hint) {
  require_entries<T>(values, name, "finite", hint, [](const T& x) { return is_finite(x); });
}

template <class T>
void require_logits_as(const py::array& values, const char* name) {
  require_entries<T>(values, name, "finite or -inf", "",
                     [](T x) { return x < std::numeric_limits<T>::infinity(); });
}

}  // namespace

py::array as_real(const py::object& value, const char* name) {
  return converted_real(as_array(value, name), name, "real");
}

py::array as_number(const py::object& value, const char* name) {
  const py::array array = as_array(value, name);
  if (array.dtype().kind() != 'c') return converted_real(array, name, "real or complex");
  if (array.dtype().itemsize() == 8) return converted<std::complex<float>>(array);
  require<DtypeError>(array.dtype().itemsize() == 16, name,
                      " must be complex64 or complex128, got ", dtype_text(array),
                      "; cast it, for example with ", name, ".astype(numpy.complex128)");
  return converted<Complex>(array);
}

void require_finite(const py::array& values, const char* name, const char* hint) {
  const bool is_complex = values.dtype().kind() == 'c';
  if (is_complex && values.dtype().itemsize() == 8) {
    require_finite_as<std::complex<float>>(values, name, hint);
  } else if (is_complex) {
    require_finite_as<Complex>(values, name, hint);
  } else if (is_float(values, true)) {
    require_finite_as<float>(values, name, hint);
  } else {
    require_finite_as<double>(values, name, hint);
  }
}

void require_logits(const py::array& values, const char* name) {
  if (is_float(values, true)) {
    require_logits_as<float>(values, name);
  } else {
    require_logits_as<double>(values, name);
  }
}

std::string shape_text(const std::vector<py::ssize_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

py::array checked_out(const py::object& out, const std::vector<py::ssize_t>& shape,
                      const py::dtype& dtype) {
  if (!py::isinstance<py::array>(out)) {
    throw DtypeError(message("out must be a NumPy array, got ",
                             std::string(py::str(py::type::of(out).attr("__name__")))));
  }
  py::array array = py::reinterpret_borrow<py::array>(out);
  require<ShapeMismatch>(shape_of(array) == shape, "out must have shape ", shape_text(shape),
                         ", got ", shape_text(shape_of(array)));
  require<DtypeError>(array.dtype().equal(dtype), "out must have dtype ",
                      std::string(py::str(dtype)), ", got ", dtype_text(array));
  require((array.flags() & py::array::c_style) != 0, "out must be C-contiguous");
  require(array.attr("flags").attr("aligned").cast<bool>(), "out must be aligned in memory");
  require(array.writeable(), "out must be writable, got a read-only array");
  return array;
}

void require_last_axis(const py::array& a, Index size, const char* name) {
  require<ShapeMismatch>(a.ndim() >= 1 && a.shape(a.ndim() - 1) == size, name,
                         " must have shape (..., ", size, "), got ", shape_text(shape_of(a)));
}

std::vector<py::ssize_t> with_last_axis(std::vector<py::ssize_t> shape, Index size) {
  shape.back() = size;
  return shape;
}

void bind_arrays(py::module_& m) {
  m.def("as_real", &as_real, py::arg("value"), py::arg("name"),
        "A C-contiguous float32 or float64 array of `value`; refuses anything else.");
  m.def("as_number", &as_number, py::arg("value"), py::arg("name"),
        "As as_real, but keeps complex64 and complex128.");
  m.def("require_finite", &require_finite, py::arg("values"), py::arg("name"), py::arg("hint") = "",
        "Raises InvalidArgument with the place of the first NaN or infinity.");
  m.def("require_logits", &require_logits, py::arg("values"), py::arg("name"),
        "Raises InvalidArgument with the place of the first NaN or +inf.");
  m.def("checked_out", &checked_out, py::arg("out"), py::arg("shape"), py::arg("dtype"),
        "`out`, if it is a writable C-contiguous array of this shape and dtype.");
}

}  // namespace resolvent::bindings
