#include <pybind11/numpy.h>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/rational/transfer.hpp"

namespace resolvent::bindings {

namespace rt = resolvent::rational;
using namespace pybind11::literals;

namespace {

template <class T>
Array<T> kernel_fft(const Array<T>& b, const Array<T>& a, Index length) {
  Array<T> out({b.shape(0), length});
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  rt::periodic_kernel<T>(rows_in(b), rows_in(a), rows);
  return out;
}

template <class T>
Array<T> kernel_series(const Array<T>& b, const Array<T>& a, Index length) {
  Array<T> out({b.shape(0), length});
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  rt::series_kernel<T>(rows_in(b), rows_in(a), rows);
  return out;
}

template <class T>
py::tuple recur(const Array<T>& u, const Array<T>& b, const Array<T>& a, const Array<T>& x0) {
  Array<T> y(shape_of(u));
  Array<T> state(shape_of(x0));
  std::copy_n(x0.data(), x0.size(), state.mutable_data());
  {
    const auto outputs = rows_out(y);
    const auto states = rows_out(state);
    const py::gil_scoped_release released;
    rt::run_companion<T>(rows_in(b), rows_in(a), rows_in(u), outputs, states);
  }
  return py::make_tuple(y, state);
}

template <class T>
Array<T> step_down(const Array<T>& a) {
  Array<T> out(shape_of(a));
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  rt::step_down<T>(rows_in(a), rows);
  return out;
}

template <class T>
Array<T> step_up(const Array<T>& k) {
  Array<T> out(shape_of(k));
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  rt::step_up<T>(rows_in(k), rows);
  return out;
}

template <class T>
Array<T> power_remainder(const Array<T>& a, Index exponent) {
  Array<T> out(shape_of(a));
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  rt::power_remainder<T>(rows_in(a), exponent, rows);
  return out;
}

template <class T>
void bind_series(py::module_& m) {
  m.def("kernel_series", &kernel_series<T>, py::arg("b").noconvert(), py::arg("a").noconvert(),
        "length"_a);
  m.def("recur", &recur<T>, py::arg("u").noconvert(), py::arg("b").noconvert(), "a"_a, "x0"_a);
}

template <class T>
void bind_polynomials(py::module_& m) {
  m.def("step_down", &step_down<T>, py::arg("a").noconvert());
  m.def("step_up", &step_up<T>, py::arg("k").noconvert());
  m.def("power_remainder", &power_remainder<T>, py::arg("a").noconvert(), "exponent"_a);
}

}  // namespace

void bind_rational(py::module_& m) {
  py::module_ r = m.def_submodule("rational", "Rational transfer functions.");
  r.def("kernel_fft", &kernel_fft<float>, py::arg("b").noconvert(), py::arg("a").noconvert(),
        "length"_a);
  r.def("kernel_fft", &kernel_fft<double>, py::arg("b").noconvert(), py::arg("a").noconvert(),
        "length"_a);
  bind_series<float>(r);
  bind_series<double>(r);
  bind_series<Complex>(r);
  bind_polynomials<double>(r);
  bind_polynomials<Complex>(r);
}

}  // namespace resolvent::bindings
