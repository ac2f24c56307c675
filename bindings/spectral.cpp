#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/spectral/eigen.hpp"
#include "resolvent/spectral/normal.hpp"
#include "resolvent/spectral/regions.hpp"

namespace resolvent::bindings {

namespace hp = resolvent::hippo;
namespace sp = resolvent::spectral;
using namespace pybind11::literals;

namespace {

py::tuple normal_spectrum(const hp::System& system) {
  sp::NormalSpectrum spectrum;
  {
    const py::gil_scoped_release released;
    spectrum = sp::normal_spectrum(system);
  }
  return py::make_tuple(from_vector(spectrum.mu), from_vector(spectrum.weights), spectrum.shift);
}

/// Values and slopes of the phase at each μ, in units of time in which the window is 1.
py::tuple phase(const hp::System& system, const Array<double>& mu) {
  const sp::PhaseFunction function(system);
  Array<double> value(shape_of(mu));
  Array<double> slope(shape_of(mu));
  double* value_at = value.mutable_data();
  double* slope_at = slope.mutable_data();
  const double work = 300.0 * static_cast<double>(mu.size()) * static_cast<double>(system.order());
  {
    const py::gil_scoped_release released;
    const double* at = mu.data();
    parallel_for(mu.size(), work, [&](Index i, Checkpoint& checkpoint) {
      checkpoint();
      const auto found = function(at[i]);
      value_at[i] = found.value;
      slope_at[i] = found.slope;
    });
  }
  return py::make_tuple(value, slope);
}

Array<Complex> vectors(const sp::NormalForm& form) {
  Array<Complex> out({form.order(), static_cast<Index>(form.mu().size())});
  const auto rows = rows_of(out, form.mu().size());
  const py::gil_scoped_release released;
  form.vectors(rows);
  return out;
}

Array<Complex> transform(const sp::NormalForm& form, const Array<Complex>& C) {
  require_last_axis(C, form.order(), "C");
  Array<Complex> out(with_last_axis(shape_of(C), form.mu().size()));
  const auto in_rows = rows_of(C, form.order());
  const auto out_rows = rows_of(out, form.mu().size());
  const py::gil_scoped_release released;
  form.transform(in_rows, out_rows);
  return out;
}

Array<Complex> inverse_transform(const sp::NormalForm& form, const Array<Complex>& C) {
  require_last_axis(C, form.mu().size(), "C");
  Array<Complex> out(with_last_axis(shape_of(C), form.order()));
  const auto in_rows = rows_of(C, form.mu().size());
  const auto out_rows = rows_of(out, form.order());
  const py::gil_scoped_release released;
  form.inverse_transform(in_rows, out_rows);
  return out;
}

py::tuple eigensystem(const Array<Complex>& A) {
  sp::Eigensystem system;
  {
    const py::gil_scoped_release released;
    system = sp::eigensystem(matrix_of(A));
  }
  return py::make_tuple(from_vector(system.values), from_matrix(system.vectors));
}

Array<Complex> eigenvalues(const Array<Complex>& A) {
  Vector<Complex> values;
  {
    const py::gil_scoped_release released;
    values = sp::eigenvalues(matrix_of(A));
  }
  return from_vector(values);
}

py::tuple triangular_vectors(const hp::System& system, bool with_condition) {
  sp::TriangularVectors v;
  {
    const py::gil_scoped_release released;
    v = sp::triangular_vectors(system, with_condition);
  }
  return py::make_tuple(from_matrix(v.vectors), from_matrix(v.sign), from_matrix(v.log_magnitude),
                        from_vector(v.log10_condition), v.log10_matrix_condition);
}

Array<double> triangular_conditions(const hp::System& system) {
  Vector<double> conditions;
  {
    const py::gil_scoped_release released;
    conditions = sp::triangular_conditions(system);
  }
  return from_vector(conditions);
}

py::tuple dense_conditioning(const Array<Complex>& A) {
  sp::DenseConditioning c;
  {
    const py::gil_scoped_release released;
    c = sp::dense_conditioning(matrix_of(A));
  }
  return py::make_tuple(from_vector(c.values), from_vector(c.log10_eigenvalue_condition),
                        c.log10_matrix_condition, c.departure);
}

Array<double> pseudospectrum(const Array<Complex>& A, const Array<double>& re,
                             const Array<double>& im, double tolerance) {
  Array<double> out({im.size(), re.size()});
  const auto rows = rows_of(out, re.size());
  const py::gil_scoped_release released;
  sp::pseudospectrum(matrix_of(A), span_of(re), span_of(im), tolerance, rows);
  return out;
}

py::tuple numerical_range(const Array<Complex>& A, const Array<double>& angles) {
  Vector<Complex> boundary(angles.size());
  Vector<double> support(angles.size());
  {
    const py::gil_scoped_release released;
    sp::numerical_range(matrix_of(A), span_of(angles), boundary, support);
  }
  return py::make_tuple(from_vector(boundary), from_vector(support));
}

}  // namespace

void bind_spectral(py::module_& m) {
  py::module_ spectral = m.def_submodule("spectral", "Spectral structure of HiPPO systems.");
  spectral.def("normal_spectrum", &normal_spectrum, "system"_a);
  spectral.def("phase", &phase, "system"_a, "mu"_a);
  py::class_<sp::NormalForm>(spectral, "NormalForm")
      .def(py::init<const hp::System&>(), "system"_a, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("shift", &sp::NormalForm::shift)
      .def_property_readonly("scale",
                             [](const sp::NormalForm& f) { return from_vector(f.scale()); })
      .def_property_readonly("mu", [](const sp::NormalForm& f) { return from_vector(f.mu()); })
      .def_property_readonly("P", [](const sp::NormalForm& f) { return from_matrix(f.P()); })
      .def_property_readonly("B", [](const sp::NormalForm& f) { return from_vector(f.B()); })
      .def("vectors", &vectors)
      .def("transform", &transform, "C"_a)
      .def("inverse_transform", &inverse_transform, "C"_a);
  spectral.def("eigensystem", &eigensystem, "A"_a);
  spectral.def("eigenvalues", &eigenvalues, "A"_a);
  spectral.def("triangular_vectors", &triangular_vectors, "system"_a, "with_condition"_a);
  spectral.def("triangular_conditions", &triangular_conditions, "system"_a);
  spectral.def("dense_conditioning", &dense_conditioning, "A"_a);
  spectral.def("pseudospectrum", &pseudospectrum, "A"_a, "re"_a, "im"_a, "tolerance"_a);
  spectral.def("numerical_range", &numerical_range, "A"_a, "angles"_a);
}

}  // namespace resolvent::bindings
