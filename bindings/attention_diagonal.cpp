#include <pybind11/complex.h>
#include <pybind11/numpy.h>

#include <algorithm>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/attention/diagonal.hpp"

namespace resolvent::bindings {

namespace at = resolvent::attention;
using namespace pybind11::literals;

namespace {

at::Schedule schedule_of(Index chunk, bool split) {
  require(chunk >= 1, "chunk must be at least 1, got ", chunk);
  return {chunk, split ? at::Order::split : at::Order::sequential};
}

template <class T>
Array<T> like(const Array<T>& a) {
  return Array<T>(shape_of(a));
}

template <class T>
Array<T> copy_of(const Array<T>& a) {
  Array<T> out(shape_of(a));
  std::copy_n(a.data(), a.size(), out.mutable_data());
  return out;
}

template <class T>
at::Selective<T> selective(const Array<T>& u, const Array<T>& dt, const Array<T>& A,
                           const Array<T>& B, const Array<T>& C, const Array<T>& D, bool zoh) {
  return {u.shape(0),
          u.shape(1),
          u.shape(2),
          A.shape(1),
          u.data(),
          dt.data(),
          A.data(),
          B.data(),
          C.data(),
          D.data(),
          zoh ? at::InputRule::zoh : at::InputRule::mamba};
}

template <class T>
py::tuple selective_scan(const Array<T>& u, const Array<T>& dt, const Array<T>& A,
                         const Array<T>& B, const Array<T>& C, const Array<T>& D,
                         const Array<T>& initial, bool zoh, Index chunk, bool split) {
  const auto model = selective(u, dt, A, B, C, D, zoh);
  const auto schedule = schedule_of(chunk, split);
  Array<T> y = like(u), state = copy_of(initial);
  {
    T *outputs = y.mutable_data(), *states = state.mutable_data();
    const py::gil_scoped_release released;
    at::selective_scan<T>(model, schedule, states, outputs);
  }
  return py::make_tuple(y, state);
}

template <class T>
py::tuple selective_scan_adjoint(const Array<T>& u, const Array<T>& dt, const Array<T>& A,
                                 const Array<T>& B, const Array<T>& C, const Array<T>& D,
                                 const Array<T>& initial, const Array<T>& g, bool zoh, Index chunk,
                                 bool split) {
  const auto model = selective(u, dt, A, B, C, D, zoh);
  const auto schedule = schedule_of(chunk, split);
  Array<T> by_u = like(u), by_dt = like(dt), by_A = like(A), by_B = like(B), by_C = like(C),
           by_D = like(D), by_initial = like(initial);
  {
    const at::SelectiveGradient<T> gradient{
        by_u.mutable_data(), by_dt.mutable_data(), by_A.mutable_data(),      by_B.mutable_data(),
        by_C.mutable_data(), by_D.mutable_data(),  by_initial.mutable_data()};
    const py::gil_scoped_release released;
    at::selective_scan_adjoint<T>(model, schedule, initial.data(), g.data(), gradient);
  }
  return py::make_tuple(by_u, by_dt, by_A, by_B, by_C, by_D, by_initial);
}

template <class T>
at::Wkv<T> wkv_model(const Array<T>& w, const Array<T>& u, const Array<T>& k, const Array<T>& v) {
  return {k.shape(0), k.shape(1), k.shape(2), w.data(), u.data(), k.data(), v.data()};
}

template <class T>
py::tuple wkv(const Array<T>& w, const Array<T>& u, const Array<T>& k, const Array<T>& v,
              const Array<T>& initial, Index chunk, bool split) {
  const auto model = wkv_model(w, u, k, v);
  const auto schedule = schedule_of(chunk, split);
  Array<T> y = like(v), state = copy_of(initial);
  {
    T *outputs = y.mutable_data(), *states = state.mutable_data();
    const py::gil_scoped_release released;
    at::wkv<T>(model, schedule, states, outputs);
  }
  return py::make_tuple(y, state);
}

template <class T>
py::tuple wkv_adjoint(const Array<T>& w, const Array<T>& u, const Array<T>& k, const Array<T>& v,
                      const Array<T>& initial, const Array<T>& g, Index chunk, bool split) {
  const auto model = wkv_model(w, u, k, v);
  const auto schedule = schedule_of(chunk, split);
  Array<T> by_w = like(w), by_u = like(u), by_k = like(k), by_v = like(v),
           by_initial = like(initial);
  {
    const at::WkvGradient<T> gradient{by_w.mutable_data(), by_u.mutable_data(), by_k.mutable_data(),
                                      by_v.mutable_data(), by_initial.mutable_data()};
    const py::gil_scoped_release released;
    at::wkv_adjoint<T>(model, schedule, initial.data(), g.data(), gradient);
  }
  return py::make_tuple(by_w, by_u, by_k, by_v, by_initial);
}

template <class T>
at::Diagonal<T> diagonal(const Array<T>& u, const Array<std::complex<T>>& eigenvalues,
                         const Array<std::complex<T>>& B, const Array<std::complex<T>>& C) {
  return {u.shape(0), u.shape(1), u.shape(2), eigenvalues.size(), C.shape(0), eigenvalues.data(),
          B.data(),   C.data(),   u.data()};
}

template <class T>
py::tuple diagonal_scan(const Array<T>& u, const Array<std::complex<T>>& eigenvalues,
                        const Array<std::complex<T>>& B, const Array<std::complex<T>>& C,
                        const Array<std::complex<T>>& initial, Index chunk, bool split) {
  const auto model = diagonal(u, eigenvalues, B, C);
  const auto schedule = schedule_of(chunk, split);
  Array<T> y({u.shape(0), u.shape(1), C.shape(0)});
  Array<std::complex<T>> state = copy_of(initial);
  {
    T* outputs = y.mutable_data();
    std::complex<T>* states = state.mutable_data();
    const py::gil_scoped_release released;
    at::diagonal_scan<T>(model, schedule, states, outputs);
  }
  return py::make_tuple(y, state);
}

template <class T>
py::tuple diagonal_scan_adjoint(const Array<T>& u, const Array<std::complex<T>>& eigenvalues,
                                const Array<std::complex<T>>& B, const Array<std::complex<T>>& C,
                                const Array<std::complex<T>>& initial, const Array<T>& g,
                                Index chunk, bool split) {
  const auto model = diagonal(u, eigenvalues, B, C);
  const auto schedule = schedule_of(chunk, split);
  Array<T> by_u = like(u);
  Array<std::complex<T>> by_eigenvalues = like(eigenvalues), by_B = like(B), by_C = like(C),
                         by_initial = like(initial);
  {
    const at::DiagonalGradient<T> gradient{by_u.mutable_data(), by_eigenvalues.mutable_data(),
                                           by_B.mutable_data(), by_C.mutable_data(),
                                           by_initial.mutable_data()};
    const py::gil_scoped_release released;
    at::diagonal_scan_adjoint<T>(model, schedule, initial.data(), g.data(), gradient);
  }
  return py::make_tuple(by_u, by_eigenvalues, by_B, by_C, by_initial);
}

template <class T>
void bind_precision(py::module_& m) {
  m.def("selective_scan", &selective_scan<T>, py::arg("u").noconvert(), "dt"_a, "A"_a, "B"_a, "C"_a,
        "D"_a, "initial"_a, "zoh"_a, "chunk"_a, "split"_a);
  m.def("selective_scan_adjoint", &selective_scan_adjoint<T>, py::arg("u").noconvert(), "dt"_a,
        "A"_a, "B"_a, "C"_a, "D"_a, "initial"_a, "g"_a, "zoh"_a, "chunk"_a, "split"_a);
  m.def("wkv", &wkv<T>, "w"_a, "u"_a, py::arg("k").noconvert(), "v"_a, "initial"_a, "chunk"_a,
        "split"_a);
  m.def("wkv_adjoint", &wkv_adjoint<T>, "w"_a, "u"_a, py::arg("k").noconvert(), "v"_a, "initial"_a,
        "g"_a, "chunk"_a, "split"_a);
  m.def("diagonal_scan", &diagonal_scan<T>, py::arg("u").noconvert(), "eigenvalues"_a, "B"_a, "C"_a,
        "initial"_a, "chunk"_a, "split"_a);
  m.def("diagonal_scan_adjoint", &diagonal_scan_adjoint<T>, py::arg("u").noconvert(),
        "eigenvalues"_a, "B"_a, "C"_a, "initial"_a, "g"_a, "chunk"_a, "split"_a);
}

}  // namespace

void bind_attention_diagonal(py::module_& m) {
  bind_precision<float>(m);
  bind_precision<double>(m);
}

}  // namespace resolvent::bindings
