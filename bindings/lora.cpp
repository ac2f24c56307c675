#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/lora/low_rank.hpp"
#include "resolvent/lora/problems.hpp"

namespace resolvent::bindings {

namespace lr = resolvent::lora;
using namespace pybind11::literals;

namespace {

using Labels = Array<std::int64_t>;

template <class T>
py::tuple low_rank(const Array<T>& M, Index rank, const std::string& method, Index oversample,
                   std::optional<Index> iterations, std::optional<double> tolerance, bool each,
                   std::uint64_t seed) {
  const bool krylov = method == "block-krylov";
  require(krylov || method == "subspace", "method must be 'block-krylov' or 'subspace' here, got '",
          method, "'");
  const lr::LowRankOptions options{oversample, iterations, tolerance, each, seed};
  lr::LowRank<T> found;
  {
    const py::gil_scoped_release released;
    found = krylov ? lr::block_krylov<T>(rows_in(M), rank, options)
                   : lr::subspace_iteration<T>(rows_in(M), rank, options);
  }
  return py::make_tuple(from_matrix(found.U), from_vector(found.sigma),
                        from_matrix<T>(found.V.transpose()), found.norm, found.residual,
                        from_vector(found.errors), found.products, found.iterations);
}

template <class T>
VectorView<T> vector_out(Array<T>& a) {
  return {a.mutable_data(), a.size()};
}

template <class T>
ConstVectorView<T> vector_in(const Array<T>& a) {
  return {a.data(), a.size()};
}

/// Shapes of one layer: W n × m, b of length m.
template <class T>
void require_layer(const Array<T>& W, const Array<T>& b, const char* weights, const char* biases) {
  require<ShapeMismatch>(W.ndim() == 2, weights, " must have two axes, got shape ",
                         shape_text(shape_of(W)));
  require<ShapeMismatch>(b.ndim() == 1 && b.size() == W.shape(1), biases, " must have ", W.shape(1),
                         " entries, one for each column of ", weights, ", got shape ",
                         shape_text(shape_of(b)));
}

template <class T>
void require_matrix(const Array<T>& x, const char* name) {
  require<ShapeMismatch>(x.ndim() == 2, name, " must have two axes, got shape ",
                         shape_text(shape_of(x)));
}

template <class T>
py::tuple softmax_regression(const Array<T>& x, const Labels& labels, const Array<T>& W,
                             const Array<T>& b) {
  require_matrix(x, "x");
  require_layer(W, b, "W", "b");
  Array<T> dW(shape_of(W)), db(shape_of(b));
  const auto dW_rows = rows_out(dW);
  const auto db_view = vector_out(db);
  lr::Score score;
  {
    const py::gil_scoped_release released;
    score = lr::softmax_regression<T>(rows_in(x), span_of(labels), rows_in(W), vector_in(b),
                                      dW_rows, db_view);
  }
  return py::make_tuple(score.loss, score.hits, dW, db);
}

template <class T>
py::tuple perceptron(const Array<T>& x, const Labels& labels, const Array<T>& W1,
                     const Array<T>& b1, const Array<T>& W2, const Array<T>& b2,
                     const std::string& activation) {
  require_matrix(x, "x");
  require_layer(W1, b1, "W1", "b1");
  require_layer(W2, b2, "W2", "b2");
  require<ShapeMismatch>(W2.shape(0) == W1.shape(1), "W2 must have ", W1.shape(1),
                         " rows, one for each column of W1, got ", W2.shape(0));
  require(activation == "relu" || activation == "tanh",
          "activation must be 'relu' or 'tanh', got '", activation, "'");
  const auto f = activation == "relu" ? lr::Activation::relu : lr::Activation::tanh;
  Array<T> dW1(shape_of(W1)), db1(shape_of(b1)), dW2(shape_of(W2)), db2(shape_of(b2));
  const lr::LayerGradient<T> hidden{rows_out(dW1), vector_out(db1)};
  const lr::LayerGradient<T> output{rows_out(dW2), vector_out(db2)};
  lr::Score score;
  {
    const py::gil_scoped_release released;
    score = lr::perceptron<T>(rows_in(x), span_of(labels), {rows_in(W1), vector_in(b1)},
                              {rows_in(W2), vector_in(b2)}, f, hidden, output);
  }
  return py::make_tuple(score.loss, score.hits, dW1, db1, dW2, db2);
}

template <class T>
void bind_for(py::module_& m) {
  m.def("low_rank", &low_rank<T>, "M"_a.noconvert(), "rank"_a, "method"_a, "oversample"_a,
        "iterations"_a, "tolerance"_a, "each"_a, "seed"_a);
  m.def("softmax_regression", &softmax_regression<T>, "x"_a.noconvert(), "labels"_a,
        "W"_a.noconvert(), "b"_a.noconvert());
  m.def("perceptron", &perceptron<T>, "x"_a.noconvert(), "labels"_a, "W1"_a.noconvert(),
        "b1"_a.noconvert(), "W2"_a.noconvert(), "b2"_a.noconvert(), "activation"_a);
}

}  // namespace

void bind_lora(py::module_& parent) {
  py::module_ m = parent.def_submodule("lora", "Low-rank approximation and training problems.");
  bind_for<double>(m);
  bind_for<float>(m);
}

}  // namespace resolvent::bindings
