#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/attention/causal.hpp"
#include "resolvent/attention/stack.hpp"

namespace resolvent::bindings {

namespace at = resolvent::attention;
using namespace pybind11::literals;

namespace {

using Integers = Array<std::int64_t>;

// ---- one layer ----------------------------------------------------------------------------------

template <class T>
at::Sequences<T> sequences_of(const Array<T>& a) {
  return {a.data(), a.shape(0), a.shape(1), a.shape(2)};
}

template <class T>
using Causal = void (*)(const at::Sequences<T>&, const at::Sequences<T>&, const at::Sequences<T>&,
                        const at::Indices&, const at::CausalOptions&, T*);

/// `places`: rows of which q, k, v and mask each result is made.
template <class T, Causal<T> attend>
void causal(const Array<T>& q, const Array<T>& k, const Array<T>& v, const Array<bool>& mask,
            const Integers& places, double scale, bool refuse_empty, std::vector<Index> batch,
            Array<T>& out) {
  const auto count = static_cast<std::size_t>(places.shape(1));
  const auto row = [&](py::ssize_t i) {
    return std::span<const std::int64_t>(places.data(i), count);
  };
  const at::Indices indices{row(0), row(1), row(2), row(3)};
  const at::CausalOptions options{scale, mask.size() == 0 ? nullptr : mask.data(),
                                  refuse_empty ? at::Empty::error : at::Empty::zero,
                                  std::move(batch)};
  T* to = out.mutable_data();
  const py::gil_scoped_release released;
  attend(sequences_of(q), sequences_of(k), sequences_of(v), indices, options, to);
}

// ---- stacks -------------------------------------------------------------------------------------

/// The five arrays of a stack, which are kept alive as long as something is made of them.
template <class T>
struct Arrays {
  Array<T> embedding, query, key, value, output;
  Index heads;

  at::StackWeights<T> weights() const {
    return {query.shape(0), heads,      query.shape(1), embedding.data(),
            query.data(),   key.data(), value.data(),   output.data()};
  }
};

at::Route route_of(const std::string& route) {
  if (route == "full") return at::Route::full;
  if (route == "cached") return at::Route::cached;
  if (route == "streaming") return at::Route::streaming;
  require(route == "recompute", "route must be 'full', 'cached', 'streaming' or 'recompute', got '",
          route, "'");
  return at::Route::recompute;
}

template <class T>
Array<T> forward(const Arrays<T>& arrays, const Integers& tokens, const std::string& route) {
  const auto weights = arrays.weights();
  Array<T> out({tokens.size(), weights.width});
  T* to = out.mutable_data();
  const at::Route way = route_of(route);
  const py::gil_scoped_release released;
  at::forward<T>(weights, span_of(tokens), way, to);
  return out;
}

template <class T>
Array<T> last(const Arrays<T>& arrays, const Integers& tokens) {
  const auto weights = arrays.weights();
  Array<T> out(weights.width);
  T* to = out.mutable_data();
  const py::gil_scoped_release released;
  at::last<T>(weights, span_of(tokens), to);
  return out;
}

/// Arithmetic and bytes of a run that counts them; the weights do not matter.
py::dict count(Index length, Index layers, Index heads, Index width, const std::string& route) {
  const at::Route way = route_of(route);
  at::Operations before, after;
  at::Ledger ledger;
  {
    const py::gil_scoped_release released;
    const std::vector<at::Counted> embedding(static_cast<std::size_t>(width), 1.0);
    const std::vector<at::Counted> matrices(static_cast<std::size_t>(layers * width * width), 0.0);
    const at::Counted* W = matrices.data();
    const at::StackWeights<at::Counted> weights{layers, heads, width, embedding.data(), W, W, W, W};
    const std::vector<std::int64_t> tokens(static_cast<std::size_t>(length), 0);
    std::vector<at::Counted> out(static_cast<std::size_t>(length * width));
    before = at::Counted::count();
    ledger = at::forward<at::Counted>(weights, tokens, way, out.data());
    after = at::Counted::count();
  }
  return py::dict("multiplications"_a = after.multiplications - before.multiplications,
                  "additions"_a = after.additions - before.additions,
                  "divisions"_a = after.divisions - before.divisions,
                  "exponentials"_a = after.exponentials - before.exponentials,
                  "roots"_a = after.roots - before.roots, "peak_bytes"_a = ledger.peak);
}

/// A cache and the arrays that it reads.
template <class T>
class KeptCache {
 public:
  explicit KeptCache(Arrays<T> arrays) : arrays_(std::move(arrays)), cache_(arrays_.weights()) {}

  Array<T> step(std::int64_t token) {
    Array<T> out(arrays_.weights().width);
    cache_.step(token, out.mutable_data());
    return out;
  }

  Index length() const { return cache_.length(); }
  Index bytes() const { return cache_.ledger().held; }

 private:
  Arrays<T> arrays_;
  at::Cache<T> cache_;
};

template <class T>
void bind_for(py::module_& m, const char* arrays, const char* cache) {
  m.def("streaming", &causal<T, at::streaming<T>>, "q"_a.noconvert(), "k"_a.noconvert(),
        "v"_a.noconvert(), "mask"_a.noconvert(), "places"_a.noconvert(), "scale"_a,
        "refuse_empty"_a, "batch"_a, "out"_a.noconvert());
  m.def("recompute", &causal<T, at::recompute<T>>, "q"_a.noconvert(), "k"_a.noconvert(),
        "v"_a.noconvert(), "mask"_a.noconvert(), "places"_a.noconvert(), "scale"_a,
        "refuse_empty"_a, "batch"_a, "out"_a.noconvert());
  py::class_<Arrays<T>>(m, arrays)
      .def(py::init([](Array<T> embedding, Array<T> query, Array<T> key, Array<T> value,
                       Array<T> output, Index heads) {
             return Arrays<T>{std::move(embedding), std::move(query),  std::move(key),
                              std::move(value),     std::move(output), heads};
           }),
           "embedding"_a.noconvert(), "query"_a.noconvert(), "key"_a.noconvert(),
           "value"_a.noconvert(), "output"_a.noconvert(), "heads"_a)
      .def("forward", &forward<T>, "tokens"_a, "route"_a)
      .def("last", &last<T>, "tokens"_a)
      .def("cache", [](const Arrays<T>& self) { return KeptCache<T>(self); });
  py::class_<KeptCache<T>>(m, cache)
      .def("step", &KeptCache<T>::step, "token"_a)
      .def_property_readonly("length", &KeptCache<T>::length)
      .def_property_readonly("bytes", &KeptCache<T>::bytes);
}

}  // namespace

void bind_attention(py::module_& parent) {
  py::module_ m =
      parent.def_submodule("attention", "Causal attention, stacks of it, and linear recurrences.");
  bind_for<double>(m, "StackWeights64", "StackCache64");
  bind_for<float>(m, "StackWeights32", "StackCache32");
  m.attr("epsilon") = at::kEpsilon;
  m.def("count", &count, "length"_a, "layers"_a, "heads"_a, "width"_a, "route"_a);
  bind_attention_outer(m);
  bind_attention_diagonal(m);
}

}  // namespace resolvent::bindings
