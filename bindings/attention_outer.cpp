#include <pybind11/numpy.h>

#include <algorithm>
#include <cstdint>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/attention/outer.hpp"

namespace resolvent::bindings {

namespace at = resolvent::attention;
using namespace pybind11::literals;

namespace {

/// Sequences (count, L, width), or with two axes (count, L) of single numbers, and which of them
/// each head uses.
template <class T>
at::Heads<T> heads_of(const Array<T>& a, const Array<std::int64_t>& place) {
  return {{a.data(), a.shape(0), a.shape(1), a.ndim() == 2 ? 1 : a.shape(2)}, span_of(place)};
}

template <class T>
struct OuterArguments {
  const Array<T>&q, &k, &v, &decay;
  const Array<std::int64_t>&q_place, &k_place, &v_place, &decay_place;

  at::OuterInputs<T> inputs() const {
    return {heads_of(q, q_place), heads_of(k, k_place), heads_of(v, v_place),
            heads_of(decay, decay_place)};
  }
};

/// → the outputs (H, L, D) and the states (H, N, D) after. chunk = 0: step by step.
template <class T>
py::tuple outer(const Array<T>& q, const Array<T>& k, const Array<T>& v, const Array<T>& decay,
                const Array<std::int64_t>& q_place, const Array<std::int64_t>& k_place,
                const Array<std::int64_t>& v_place, const Array<std::int64_t>& decay_place,
                const Array<T>& start, Index chunk) {
  const auto in =
      OuterArguments<T>{q, k, v, decay, q_place, k_place, v_place, decay_place}.inputs();
  Array<T> out({in.heads(), in.length(), in.values()});
  Array<T> state(shape_of(start));
  std::copy_n(start.data(), start.size(), state.mutable_data());
  T* outputs = out.mutable_data();
  T* states = state.mutable_data();
  {
    const py::gil_scoped_release released;
    if (chunk == 0) {
      at::outer_recurrent<T>(in, states, outputs);
    } else {
      at::outer_chunked<T>(in, chunk, states, outputs);
    }
  }
  return py::make_tuple(out, state);
}

/// → the gradients by q, k, v, decay (one for every step) and start, of every head.
template <class T>
py::tuple outer_adjoint(const Array<T>& q, const Array<T>& k, const Array<T>& v,
                        const Array<T>& decay, const Array<std::int64_t>& q_place,
                        const Array<std::int64_t>& k_place, const Array<std::int64_t>& v_place,
                        const Array<std::int64_t>& decay_place, const Array<T>& start,
                        const Array<T>& g, Index chunk) {
  const auto in =
      OuterArguments<T>{q, k, v, decay, q_place, k_place, v_place, decay_place}.inputs();
  Array<T> by_q({in.heads(), in.length(), in.keys()}), by_k({in.heads(), in.length(), in.keys()});
  Array<T> by_v(shape_of(g)), by_decay({in.heads(), in.length()}), by_start(shape_of(start));
  const at::OuterGradient<T> gradient{by_q.mutable_data(), by_k.mutable_data(), by_v.mutable_data(),
                                      by_decay.mutable_data(), by_start.mutable_data()};
  {
    const py::gil_scoped_release released;
    if (chunk == 0) {
      at::outer_recurrent_adjoint<T>(in, start.data(), g.data(), gradient);
    } else {
      at::outer_chunked_adjoint<T>(in, chunk, start.data(), g.data(), gradient);
    }
  }
  return py::make_tuple(by_q, by_k, by_v, by_decay, by_start);
}

template <class T>
void bind_precision(py::module_& m) {
  m.def("outer", &outer<T>, py::arg("q").noconvert(), "k"_a, "v"_a, "decay"_a, "q_place"_a,
        "k_place"_a, "v_place"_a, "decay_place"_a, "start"_a, "chunk"_a);
  m.def("outer_adjoint", &outer_adjoint<T>, py::arg("q").noconvert(), "k"_a, "v"_a, "decay"_a,
        "q_place"_a, "k_place"_a, "v_place"_a, "decay_place"_a, "start"_a, "g"_a, "chunk"_a);
}

}  // namespace

void bind_attention_outer(py::module_& m) {
  bind_precision<float>(m);
  bind_precision<double>(m);
}

}  // namespace resolvent::bindings
