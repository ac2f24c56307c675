#pragma once

#include <pybind11/pybind11.h>

namespace resolvent::bindings {

/// Translates the core's exceptions and makes its loops notice Ctrl-C.
void bind_errors(pybind11::module_& m);
/// The array policy (numpy.hpp), for the Python side of the package.
void bind_arrays(pybind11::module_& m);
void bind_hippo(pybind11::module_& m);
void bind_spectral(pybind11::module_& m);
void bind_discretize(pybind11::module_& m);
void bind_ssm(pybind11::module_& m);
void bind_rational(pybind11::module_& m);
void bind_probmap(pybind11::module_& m);
void bind_lora(pybind11::module_& m);
void bind_attention(pybind11::module_& m);
/// Linear recurrences with matrices and with vectors as states, into the module of attention.
void bind_attention_outer(pybind11::module_& m);
void bind_attention_diagonal(pybind11::module_& m);
void bind_distill(pybind11::module_& m);

}  // namespace resolvent::bindings
