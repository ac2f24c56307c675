#include <pybind11/numpy.h>

#include <string>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/matrix_functions.hpp"
#include "resolvent/discretize/dense.hpp"
#include "resolvent/discretize/rules.hpp"
#include "resolvent/hippo/propagator.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::bindings {

namespace dz = resolvent::discretize;
namespace hp = resolvent::hippo;
using namespace pybind11::literals;

namespace {

/// Several matrices of one shape, one after the other.
template <class T>
Array<T> stacked(const std::vector<Matrix<T>>& matrices) {
  const auto count = static_cast<py::ssize_t>(matrices.size());
  Array<T> out({count, count > 0 ? matrices[0].rows() : 0, count > 0 ? matrices[0].cols() : 0});
  T* target = out.mutable_data();
  for (const Matrix<T>& m : matrices) target = std::copy_n(m.data(), m.size(), target);
  return out;
}

/// (A, B, B_next or None) of every step, by `one(step)`.
template <class T, class One>
py::tuple for_steps(const Array<double>& steps, One&& one) {
  std::vector<Matrix<T>> A, B, B_next;
  {
    const py::gil_scoped_release released;
    Checkpoint checkpoint;  // one for all steps, each of which may be too short to be asked
    for (const double step : span_of(steps)) {
      checkpoint();
      dz::Discretization<T> d = one(step);
      A.push_back(std::move(d.A));
      B.push_back(std::move(d.B));
      if (d.B_next.size() > 0) B_next.push_back(std::move(d.B_next));
    }
  }
  py::object next = py::none();
  if (!B_next.empty()) next = stacked(B_next);
  return py::make_tuple(stacked(A), stacked(B), next);
}

py::tuple discretize_system(const hp::System& system, const Array<double>& steps,
                            const std::string& rule, double alpha) {
  const dz::Rule chosen = dz::rule_from_name(rule);
  return for_steps<double>(
      steps, [&](double step) { return dz::discretize(system, step, chosen, alpha); });
}

template <class T>
py::tuple discretize_matrices(const Array<T>& A, const Array<T>& B, const Array<double>& steps,
                              const std::string& rule, double alpha) {
  const dz::Rule chosen = dz::rule_from_name(rule);
  const Matrix<T> state = matrix_of(A);
  const Matrix<T> input = matrix_of(B);
  return for_steps<T>(
      steps, [&](double step) { return dz::discretize<T>(state, input, step, chosen, alpha); });
}

/// A (K, N, N) → f(A_k) for every k.
template <class T, class One>
Array<T> for_matrices(const Array<T>& A, One&& one) {
  const Index size = A.shape(1) * A.shape(2);
  Array<T> out(shape_of(A));
  T* target = out.mutable_data();
  const py::gil_scoped_release released;
  Checkpoint checkpoint;
  for (Index k = 0; k < A.shape(0); ++k) {
    checkpoint();
    const Matrix<T> result =
        one(Matrix<T>(ConstRows<T>(A.data() + k * size, A.shape(1), A.shape(2))));
    std::copy_n(result.data(), size, target + k * size);
  }
  return out;
}

template <class T>
Array<T> matrix_phi(const Array<T>& A, Index order) {
  return for_matrices(A, [order](const Matrix<T>& m) {
    return order == 0 ? exponential(m) : std::move(phi_functions(m, order).back());
  });
}

Array<double> system_exponential(const hp::System& system, double t) {
  Matrix<double> result;
  {
    const py::gil_scoped_release released;
    result = hp::exponential(system, t);
  }
  Array<double> out({result.rows(), result.cols()});
  std::copy_n(result.data(), result.size(), out.mutable_data());
  return out;
}

Array<Complex> scalar_phi(const Array<Complex>& z, Index order) {
  Array<Complex> out(shape_of(z));
  const std::span<Complex> target(out.mutable_data(), static_cast<std::size_t>(out.size()));
  const py::gil_scoped_release released;
  dz::phi(span_of(z), order, target);
  return out;
}

Array<Complex> local_error(const Array<Complex>& eigenvalues, const Array<double>& steps,
                           const std::string& rule, double alpha, const std::string& of) {
  Array<Complex> out({steps.size(), eigenvalues.size()});
  const dz::Rule chosen = dz::rule_from_name(rule);
  const dz::Part part = dz::part_from_name(of);
  Rows<Complex> rows(out.mutable_data(), steps.size(), eigenvalues.size());
  const py::gil_scoped_release released;
  dz::local_error(span_of(eigenvalues), span_of(steps), chosen, alpha, part, rows);
  return out;
}

Array<double> growth(const Array<double>& real, const Array<double>& imag, const std::string& rule,
                     double alpha) {
  Array<double> out({imag.size(), real.size()});
  const dz::Rule chosen = dz::rule_from_name(rule);
  Rows<double> rows(out.mutable_data(), imag.size(), real.size());
  const py::gil_scoped_release released;
  dz::growth(span_of(real), span_of(imag), chosen, alpha, rows);
  return out;
}

double largest_step(const Array<Complex>& eigenvalues, const std::string& rule, double alpha,
                    double tolerance) {
  const dz::Rule chosen = dz::rule_from_name(rule);
  const py::gil_scoped_release released;
  return dz::largest_step(span_of(eigenvalues), chosen, alpha, tolerance);
}

}  // namespace

void bind_discretize(py::module_& m) {
  py::module_ d = m.def_submodule("discretize", "Rules from x' = Ax + Bu to x+ = Ax + Bu.");
  d.def("discretize_system", &discretize_system, "system"_a, "steps"_a, "rule"_a, "alpha"_a);
  d.def("discretize_real", &discretize_matrices<double>, "A"_a, "B"_a, "steps"_a, "rule"_a,
        "alpha"_a);
  d.def("discretize_complex", &discretize_matrices<Complex>, "A"_a, "B"_a, "steps"_a, "rule"_a,
        "alpha"_a);
  d.def("phi_real", &matrix_phi<double>, "A"_a, "order"_a);
  d.def("phi_complex", &matrix_phi<Complex>, "A"_a, "order"_a);
  d.def("system_exponential", &system_exponential, "system"_a, "t"_a);
  d.def("phi_scalar", &scalar_phi, "z"_a, "order"_a);
  d.def("local_error", &local_error, "eigenvalues"_a, "steps"_a, "rule"_a, "alpha"_a, "of"_a);
  d.def("growth", &growth, "real"_a, "imag"_a, "rule"_a, "alpha"_a);
  d.def("largest_step", &largest_step, "eigenvalues"_a, "rule"_a, "alpha"_a, "tolerance"_a);
}

}  // namespace resolvent::bindings
