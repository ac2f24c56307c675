#include <pybind11/numpy.h>

#include <vector>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/distill/mixture.hpp"

namespace resolvent::bindings {

namespace ds = resolvent::distill;
using namespace pybind11::literals;

namespace {

using Numbers = Array<double>;

/// weights (K,), means (K, d), covariances (K, d, d).
void require_mixture(const Numbers& weights, const Numbers& means, const Numbers& covariances) {
  require<ShapeMismatch>(weights.ndim() == 1 && means.ndim() == 2 && covariances.ndim() == 3,
                         "weights, means and covariances must have one, two and three axes, got ",
                         shape_text(shape_of(weights)), ", ", shape_text(shape_of(means)), " and ",
                         shape_text(shape_of(covariances)));
  const py::ssize_t K = means.shape(0), d = means.shape(1);
  require<ShapeMismatch>(K > 0 && d > 0 && weights.size() == K &&
                             shape_of(covariances) == std::vector<py::ssize_t>{K, d, d},
                         "weights and covariances must have shapes ", shape_text({K}), " and ",
                         shape_text({K, d, d}), " to fit means, got ",
                         shape_text(shape_of(weights)), " and ", shape_text(shape_of(covariances)));
}

/// Points (n, d) and the mixture that they are put into.
template <class T>
struct Problem {
  ds::Mixture<T> mixture() const { return {weights, means, covariances}; }

  ConstRows<T> x;
  ConstVectorView<double> weights;
  ConstRows<double> means;
  ConstRows<double> covariances;
};

template <class T>
Problem<T> problem_of(const Array<T>& x, const Numbers& weights, const Numbers& means,
                      const Numbers& covariances) {
  require_mixture(weights, means, covariances);
  const py::ssize_t K = means.shape(0), d = means.shape(1);
  require<ShapeMismatch>(x.ndim() == 2 && x.shape(1) == d, "x must have shape (n, ", d, "), got ",
                         shape_text(shape_of(x)));
  return {rows_in(x), {weights.data(), K}, rows_in(means), {covariances.data(), K, d * d}};
}

/// slopes (K, o, d) and offsets (K, o).
ds::AffineMaps maps_of(const Numbers& slopes, const Numbers& offsets, ConstRows<double> means) {
  const py::ssize_t K = means.rows(), d = means.cols();
  require<ShapeMismatch>(
      slopes.ndim() == 3 && offsets.ndim() == 2 && slopes.shape(0) == K && slopes.shape(2) == d &&
          offsets.shape(0) == K && offsets.shape(1) == slopes.shape(1),
      "slopes and offsets must have shapes (", K, ", o, ", d, ") and (", K, ", o), got ",
      shape_text(shape_of(slopes)), " and ", shape_text(shape_of(offsets)));
  return {{slopes.data(), K, slopes.shape(1) * d}, rows_in(offsets)};
}

template <class T>
VectorView<T> vector_out(Array<T>& a) {
  return {a.mutable_data(), a.size()};
}

/// An array of this shape, filled without the GIL by fill(mixture, its rows, one for each point).
template <class T, class Fill>
Array<T> filled(const Problem<T>& problem, std::vector<py::ssize_t> shape, Index columns,
                Fill&& fill) {
  Array<T> out(std::move(shape));
  const Rows<T> rows{out.mutable_data(), problem.x.rows(), columns};
  const py::gil_scoped_release released;
  fill(problem.mixture(), rows);
  return out;
}

template <class T>
Array<T> log_density(const Array<T>& x, const Numbers& weights, const Numbers& means,
                     const Numbers& covariances) {
  const auto problem = problem_of<T>(x, weights, means, covariances);
  return filled<T>(problem, {x.shape(0)}, 1, [&](const ds::Mixture<T>& mixture, Rows<T> out) {
    mixture.log_density(problem.x, {out.data(), out.rows()});
  });
}

template <class T>
py::tuple responsibilities(const Array<T>& x, const Numbers& weights, const Numbers& means,
                           const Numbers& covariances) {
  const auto problem = problem_of<T>(x, weights, means, covariances);
  const py::ssize_t K = means.shape(0);
  Array<T> density(x.shape(0));
  const auto log = vector_out(density);
  const Array<T> shares =
      filled<T>(problem, {x.shape(0), K}, K, [&](const ds::Mixture<T>& mixture, Rows<T> out) {
        mixture.responsibilities(problem.x, out, log);
      });
  return py::make_tuple(shares, density);
}

template <class T>
Array<T> score(const Array<T>& x, const Numbers& weights, const Numbers& means,
               const Numbers& covariances) {
  const auto problem = problem_of<T>(x, weights, means, covariances);
  return filled<T>(
      problem, shape_of(x), x.shape(1),
      [&](const ds::Mixture<T>& mixture, Rows<T> out) { mixture.score(problem.x, out); });
}

template <class T>
Array<T> hessian(const Array<T>& x, const Numbers& weights, const Numbers& means,
                 const Numbers& covariances) {
  const auto problem = problem_of<T>(x, weights, means, covariances);
  const py::ssize_t d = means.shape(1);
  return filled<T>(
      problem, {x.shape(0), d, d}, d * d,
      [&](const ds::Mixture<T>& mixture, Rows<T> out) { mixture.hessian(problem.x, out); });
}

template <class T>
Array<T> blend(const Array<T>& x, const Numbers& weights, const Numbers& means,
               const Numbers& covariances, const Numbers& slopes, const Numbers& offsets) {
  const auto problem = problem_of<T>(x, weights, means, covariances);
  const ds::AffineMaps maps = maps_of(slopes, offsets, problem.means);
  const py::ssize_t o = offsets.shape(1);
  return filled<T>(problem, {x.shape(0), o}, o, [&](const ds::Mixture<T>& mixture, Rows<T> out) {
    mixture.blend(problem.x, maps, out);
  });
}

template <class T>
Array<T> blend_jacobian(const Array<T>& x, const Numbers& weights, const Numbers& means,
                        const Numbers& covariances, const Numbers& slopes, const Numbers& offsets) {
  const auto problem = problem_of<T>(x, weights, means, covariances);
  const ds::AffineMaps maps = maps_of(slopes, offsets, problem.means);
  const py::ssize_t o = offsets.shape(1), d = means.shape(1);
  return filled<T>(problem, {x.shape(0), o, d}, o * d,
                   [&](const ds::Mixture<T>& mixture, Rows<T> out) {
                     mixture.blend_jacobian(problem.x, maps, out);
                   });
}

template <class T>
void bind_for(py::module_& m) {
  const auto x = py::arg("x").noconvert();
  m.def("log_density", &log_density<T>, x, "weights"_a, "means"_a, "covariances"_a);
  m.def("responsibilities", &responsibilities<T>, x, "weights"_a, "means"_a, "covariances"_a);
  m.def("score", &score<T>, x, "weights"_a, "means"_a, "covariances"_a);
  m.def("hessian", &hessian<T>, x, "weights"_a, "means"_a, "covariances"_a);
  m.def("blend", &blend<T>, x, "weights"_a, "means"_a, "covariances"_a, "slopes"_a, "offsets"_a);
  m.def("blend_jacobian", &blend_jacobian<T>, x, "weights"_a, "means"_a, "covariances"_a,
        "slopes"_a, "offsets"_a);
}

}  // namespace

void bind_distill(py::module_& parent) {
  py::module_ m = parent.def_submodule("distill", "Gaussian mixtures at many points.");
  bind_for<double>(m);
  bind_for<float>(m);
}

}  // namespace resolvent::bindings
