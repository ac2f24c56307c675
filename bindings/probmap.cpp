#include <pybind11/numpy.h>

#include <memory>
#include <string>
#include <utility>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/probmap/certificate.hpp"
#include "resolvent/probmap/maps.hpp"
#include "resolvent/probmap/perturb.hpp"
#include "resolvent/probmap/products.hpp"

namespace resolvent::bindings {

namespace pm = resolvent::probmap;
using namespace pybind11::literals;

namespace {

/// One number, or one for every row.
using Numbers = Array<double>;

pm::Parameter parameter_of(const Numbers& numbers) { return pm::Parameter(span_of(numbers)); }

pm::Empty empty_of(bool refuse) { return refuse ? pm::Empty::error : pm::Empty::uniform; }

pm::Normalizer normalizer_of(const std::string& f, int order) {
  if (f == "square") return {pm::Elementwise::square};
  if (f == "relu") return {pm::Elementwise::relu};
  if (f == "sigmoid") return {pm::Elementwise::sigmoid};
  if (f == "softplus") return {pm::Elementwise::softplus};
  require(f == "taylor", "f must be 'square', 'relu', 'sigmoid', 'softplus' or 'taylor', got '", f,
          "'");
  return {pm::Elementwise::taylor, order};
}

// ---- maps: rows x into rows out -----------------------------------------------------------------

template <class T>
void softmax(const Array<T>& x, const Numbers& temperature, bool refuse, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  pm::softmax<T>(rows_in(x), parameter_of(temperature), empty_of(refuse), rows);
}

template <class T>
void log_softmax(const Array<T>& x, const Numbers& temperature, bool refuse, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  pm::log_softmax<T>(rows_in(x), parameter_of(temperature), empty_of(refuse), rows);
}

template <class T>
Array<T> logsumexp(const Array<T>& x, const Numbers& temperature) {
  Vector<T> sums;
  {
    const py::gil_scoped_release released;
    pm::logsumexp<T>(rows_in(x), parameter_of(temperature), sums);
  }
  return from_vector(sums);
}

/// The maps with one parameter for every row.
template <class T>
using Parametric = void (*)(ConstRows<T>, pm::Parameter, pm::Parameter, pm::Empty, Rows<T>);

template <class T, Parametric<T> map>
void parametric(const Array<T>& x, const Numbers& parameter, const Numbers& temperature,
                bool refuse, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  map(rows_in(x), parameter_of(parameter), parameter_of(temperature), empty_of(refuse), rows);
}

template <class T>
void sparse_softmax(const Array<T>& x, Index count, double mass, const Numbers& temperature,
                    bool refuse, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  pm::sparse_softmax<T>(rows_in(x), {count, mass}, parameter_of(temperature), empty_of(refuse),
                        rows);
}

template <class T>
Array<T> sparse_softmax_last(const Array<T>& x, Index count, double mass,
                             const Numbers& temperature) {
  Vector<T> last;
  {
    const py::gil_scoped_release released;
    pm::sparse_softmax_last<T>(rows_in(x), {count, mass}, parameter_of(temperature), last);
  }
  return from_vector(last);
}

template <class T>
void normalize(const Array<T>& x, const std::string& f, int order, const Numbers& temperature,
               bool refuse, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  pm::normalize<T>(rows_in(x), normalizer_of(f, order), parameter_of(temperature), empty_of(refuse),
                   rows);
}

// ---- products with the Jacobian -----------------------------------------------------------------

template <class T>
using Product = void (*)(ConstRows<T>, ConstRows<T>, pm::Parameter, Rows<T>);

template <class T, Product<T> product>
void multiply(const Array<T>& p, const Array<T>& g, const Numbers& temperature, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  product(rows_in(p), rows_in(g), parameter_of(temperature), rows);
}

template <class T>
using ParametricProduct = void (*)(ConstRows<T>, ConstRows<T>, pm::Parameter, pm::Parameter,
                                   Rows<T>);

template <class T, ParametricProduct<T> product>
void multiply_parametric(const Array<T>& p, const Array<T>& g, const Numbers& parameter,
                         const Numbers& temperature, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  product(rows_in(p), rows_in(g), parameter_of(parameter), parameter_of(temperature), rows);
}

template <class T>
void normalize_product(const Array<T>& x, const Array<T>& g, const std::string& f, int order,
                       bool transposed, const Numbers& temperature, Array<T>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  pm::normalize_product<T>(rows_in(x), rows_in(g), normalizer_of(f, order), transposed,
                           parameter_of(temperature), rows);
}

// ---- perturbed maxima ---------------------------------------------------------------------------

/// A distribution given by Python functions of arrays.
class PythonNoise : public pm::Noise {
 public:
  PythonNoise(py::function pdf, py::function cdf, double center, double unit)
      : pdf_(std::move(pdf)), cdf_(std::move(cdf)), center_(center), unit_(unit) {}

  void evaluate(const Vector<double>& e, Vector<double>& log_cdf,
                Vector<double>& hazard) const override {
    const py::gil_scoped_acquire gil;
    const Array<double> places = from_vector(e);
    const Array<double> f = called(pdf_, places, "pdf");
    const Array<double> F = called(cdf_, places, "cdf");
    for (Index j = 0; j < e.size(); ++j) {
      const double below = F.data()[j];
      require(below >= 0.0 && below <= 1.0 && f.data()[j] >= 0.0,
              "noise must have pdf >= 0 and cdf in [0, 1], got ", f.data()[j], " and ", below,
              " at ", e[j]);
      log_cdf[j] = std::log(below);
      hazard[j] = f.data()[j] / below;
    }
  }

  double unit() const override { return unit_; }
  double center() const override { return center_; }
  bool is_concurrent() const override { return false; }

 private:
  static Array<double> called(const py::function& function, const Array<double>& places,
                              const char* name) {
    const Array<double> result(as_real(function(places), name));
    require<ShapeMismatch>(shape_of(result) == shape_of(places), name,
                           " must return an array of the shape of its argument, ",
                           shape_text(shape_of(places)), ", got ", shape_text(shape_of(result)));
    return result;
  }

  py::function pdf_;
  py::function cdf_;
  double center_;
  double unit_;
};

void perturb_max(const Array<double>& x, const pm::Noise& noise, const Numbers& temperature,
                 bool refuse, Array<double>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  pm::perturb_max(rows_in(x), noise, parameter_of(temperature), empty_of(refuse), rows);
}

void perturb_max_product(const Array<double>& x, const Array<double>& g, const pm::Noise& noise,
                         const Numbers& temperature, Array<double>& out) {
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  pm::perturb_max_product(rows_in(x), rows_in(g), noise, parameter_of(temperature), rows);
}

Array<double> perturb_max_jacobian(const Array<double>& x, const pm::Noise& noise,
                                   const Numbers& temperature) {
  Array<double> out({x.shape(0), x.shape(1), x.shape(1)});
  double* data = out.mutable_data();
  {
    const py::gil_scoped_release released;
    pm::perturb_max_jacobian(rows_in(x), noise, parameter_of(temperature), data);
  }
  return out;
}

// ---- thresholds ---------------------------------------------------------------------------------

py::tuple as_tuple(const pm::Certificate& found) {
  return py::make_tuple(from_vector(found.value), from_vector(found.residual),
                        from_vector(found.support));
}

py::tuple softmax_threshold(const Array<double>& x, const Numbers& temperature) {
  const auto found = [&] {
    const py::gil_scoped_release released;
    return pm::softmax_certificate(rows_in(x), parameter_of(temperature));
  }();
  return as_tuple(found);
}

using Certifier = pm::Certificate (*)(ConstRows<double>, pm::Parameter, pm::Parameter);

template <Certifier certify>
py::tuple threshold(const Array<double>& x, const Numbers& parameter, const Numbers& temperature) {
  const auto found = [&] {
    const py::gil_scoped_release released;
    return certify(rows_in(x), parameter_of(parameter), parameter_of(temperature));
  }();
  return as_tuple(found);
}

template <class T>
void bind_precision(py::module_& m) {
  const auto x = py::arg("x").noconvert();
  const auto p = py::arg("p").noconvert();
  const auto out = py::arg("out").noconvert();
  m.def("softmax", &softmax<T>, x, "temperature"_a, "refuse_empty"_a, out);
  m.def("log_softmax", &log_softmax<T>, x, "temperature"_a, "refuse_empty"_a, out);
  m.def("logsumexp", &logsumexp<T>, x, "temperature"_a);
  m.def("entmax", &parametric<T, &pm::entmax<T>>, x, "alpha"_a, "temperature"_a, "refuse_empty"_a,
        out);
  m.def("normmax", &parametric<T, &pm::normmax<T>>, x, "alpha"_a, "temperature"_a, "refuse_empty"_a,
        out);
  m.def("budget", &parametric<T, &pm::budget<T>>, x, "total"_a, "temperature"_a, "refuse_empty"_a,
        out);
  m.def("sparse_softmax", &sparse_softmax<T>, x, "count"_a, "mass"_a, "temperature"_a,
        "refuse_empty"_a, out);
  m.def("sparse_softmax_last", &sparse_softmax_last<T>, x, "count"_a, "mass"_a, "temperature"_a);
  m.def("normalize", &normalize<T>, x, "f"_a, "order"_a, "temperature"_a, "refuse_empty"_a, out);
  m.def("softmax_product", &multiply<T, &pm::softmax_product<T>>, p, "g"_a, "temperature"_a, out);
  m.def("budget_product", &multiply<T, &pm::budget_product<T>>, p, "g"_a, "temperature"_a, out);
  m.def("entmax_product", &multiply_parametric<T, &pm::entmax_product<T>>, p, "g"_a, "alpha"_a,
        "temperature"_a, out);
  m.def("normmax_product", &multiply_parametric<T, &pm::normmax_product<T>>, p, "g"_a, "alpha"_a,
        "temperature"_a, out);
  m.def("normalize_product", &normalize_product<T>, x, "g"_a, "f"_a, "order"_a, "transposed"_a,
        "temperature"_a, out);
}

}  // namespace

void bind_probmap(py::module_& m) {
  py::module_ s = m.def_submodule("probmap", "Maps from logits to probabilities.");
  bind_precision<float>(s);
  bind_precision<double>(s);
  py::class_<pm::Noise>(s, "Noise", "A distribution, as the quadrature needs it.");
  s.def("noise_named", &pm::noise_named, "name"_a, "df"_a);
  s.def(
      "noise_from",
      [](py::function pdf, py::function cdf, double center, double unit) {
        return std::unique_ptr<pm::Noise>(
            new PythonNoise(std::move(pdf), std::move(cdf), center, unit));
      },
      "pdf"_a, "cdf"_a, "center"_a, "unit"_a);
  s.def("perturb_max", &perturb_max, "x"_a, "noise"_a, "temperature"_a, "refuse_empty"_a,
        py::arg("out").noconvert());
  s.def("perturb_max_product", &perturb_max_product, "x"_a, "g"_a, "noise"_a, "temperature"_a,
        py::arg("out").noconvert());
  s.def("perturb_max_jacobian", &perturb_max_jacobian, "x"_a, "noise"_a, "temperature"_a);
  s.def("softmax_threshold", &softmax_threshold, "x"_a, "temperature"_a);
  s.def("entmax_threshold", &threshold<&pm::entmax_certificate>, "x"_a, "alpha"_a, "temperature"_a);
  s.def("normmax_threshold", &threshold<&pm::normmax_certificate>, "x"_a, "alpha"_a,
        "temperature"_a);
  s.def("budget_threshold", &threshold<&pm::budget_certificate>, "x"_a, "total"_a, "temperature"_a);
}

}  // namespace resolvent::bindings
