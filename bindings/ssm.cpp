#include <pybind11/numpy.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/hippo/system.hpp"
#include "resolvent/ssm/response.hpp"
#include "resolvent/ssm/sums.hpp"
#include "resolvent/ssm/time.hpp"

namespace resolvent::bindings {

namespace hp = resolvent::hippo;
namespace ss = resolvent::ssm;
using namespace pybind11::literals;

namespace {

ss::Terms terms_of(bool conjugate) { return conjugate ? ss::Terms::conjugate : ss::Terms::single; }

template <class T>
Vector<T> row_vector(const Array<T>& a, Index row) {
  return rows_in(a).row(a.shape(0) == 1 ? 0 : row).transpose();
}

// ---- sums ---------------------------------------------------------------------------------------

template <class T>
Array<std::complex<T>> cauchy(const Array<std::complex<T>>& v, const Array<Complex>& z,
                              const Array<Complex>& eigenvalues, bool conjugate) {
  Array<std::complex<T>> out({v.shape(0), z.shape(1)});
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  ss::cauchy<T>(rows_in(v), rows_in(z), rows_in(eigenvalues), terms_of(conjugate), rows);
  return out;
}

template <class T>
py::tuple cauchy_adjoint(const Array<std::complex<T>>& v, const Array<Complex>& z,
                         const Array<Complex>& eigenvalues, const Array<std::complex<T>>& g,
                         bool conjugate) {
  Array<std::complex<T>> v_out(shape_of(v));
  Array<std::complex<T>> z_out({v.shape(0), z.shape(1)});
  Array<std::complex<T>> eigenvalues_out(shape_of(v));
  {
    const auto first = rows_out(v_out);
    const auto second = rows_out(z_out);
    const auto third = rows_out(eigenvalues_out);
    const py::gil_scoped_release released;
    ss::cauchy_adjoint<T>(rows_in(v), rows_in(z), rows_in(eigenvalues), rows_in(g),
                          terms_of(conjugate), first, second, third);
  }
  return py::make_tuple(v_out, z_out, eigenvalues_out);
}

template <class T>
py::array vandermonde(const Array<std::complex<T>>& v, const Array<Complex>& eigenvalues,
                      Index length, bool conjugate) {
  if (conjugate) {
    Array<T> out({v.shape(0), length});
    {
      const auto rows = rows_out(out);
      const py::gil_scoped_release released;
      ss::vandermonde_real<T>(rows_in(v), rows_in(eigenvalues), rows);
    }
    return out;
  }
  Array<std::complex<T>> out({v.shape(0), length});
  {
    const auto rows = rows_out(out);
    const py::gil_scoped_release released;
    ss::vandermonde<T>(rows_in(v), rows_in(eigenvalues), rows);
  }
  return out;
}

template <class T>
py::tuple vandermonde_adjoint(const Array<std::complex<T>>& v, const Array<Complex>& eigenvalues,
                              const Array<std::complex<T>>& g) {
  Array<std::complex<T>> v_out(shape_of(v));
  Array<std::complex<T>> eigenvalues_out(shape_of(v));
  {
    const auto first = rows_out(v_out);
    const auto second = rows_out(eigenvalues_out);
    const py::gil_scoped_release released;
    ss::vandermonde_adjoint<T>(rows_in(v), rows_in(eigenvalues), rows_in(g), first, second);
  }
  return py::make_tuple(v_out, eigenvalues_out);
}

// ---- time ---------------------------------------------------------------------------------------

ss::ConvolutionMethod method_of(const std::string& name) {
  if (name == "fft") return ss::ConvolutionMethod::fft;
  if (name == "direct") return ss::ConvolutionMethod::direct;
  require(name == "auto", "method must be 'auto', 'fft' or 'direct', got '", name, "'");
  return ss::ConvolutionMethod::automatic;
}

template <class T>
Array<T> convolve(const Array<T>& u, const Array<T>& kernel, const std::string& method) {
  const ss::ConvolutionMethod chosen = method_of(method);
  Array<T> out(shape_of(u));
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  ss::convolve<T>(rows_in(u), rows_in(kernel), chosen, rows);
  return out;
}

template <class T>
Array<T> scan(const Array<T>& a, const Array<T>& b, const Array<T>& x0, bool reverse) {
  Array<T> out(shape_of(b));
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  ss::scan<T>(rows_in(a), rows_in(b), x0.data(), reverse, rows);
  return out;
}

/// Parameters (H|1, M), low-rank parts (H|1, r, M); row 0 serves all channels where there is one.
struct DiagonalParameters {
  Array<Complex> eigenvalues, P, Q, B, C;
  Array<double> weight;
  bool real;

  Index order() const { return eigenvalues.shape(1); }
  Index rank() const { return P.shape(1); }
  Matrix<Complex> low_rank(const Array<Complex>& a, Index h) const {
    const Index row = a.shape(0) == 1 ? 0 : h;
    return ConstRows<Complex>(a.data() + row * rank() * order(), rank(), order());
  }
};

/// u (H, L) real or complex as complex; y (H, L) or none; the states (H, M) after.
py::tuple run_diagonal(const Array<Complex>& eigenvalues, const Array<Complex>& P,
                       const Array<Complex>& Q, const Array<Complex>& B, const Array<Complex>& C,
                       const Array<double>& weight, bool real, const Array<Complex>& u,
                       const Array<Complex>& x0) {
  const DiagonalParameters p{eigenvalues, P, Q, B, C, weight, real};
  const Index channels = u.shape(0);
  const Index length = u.shape(1);
  Array<Complex> y({channels, length});
  Array<Complex> state({channels, p.order()});
  std::copy_n(x0.data(), x0.size(), state.mutable_data());
  {
    Complex* outputs = y.mutable_data();
    Complex* states = state.mutable_data();
    const Complex* inputs = u.data();
    const double work = 20.0 * static_cast<double>(channels * length) *
                        static_cast<double>(p.order() * (1 + p.rank()));
    const py::gil_scoped_release released;
    parallel_for(channels, work, [&](Index h, Checkpoint& checkpoint) {
      checkpoint();
      const ss::DiagonalStep step{row_vector(p.eigenvalues, h),
                                  row_vector(p.B, h),
                                  row_vector(p.C, h),
                                  p.low_rank(p.P, h),
                                  p.low_rank(p.Q, h),
                                  row_vector(p.weight, h),
                                  p.real};
      ss::run_diagonal(step, inputs + h * length, length, outputs + h * length,
                       states + h * p.order(), checkpoint);
    });
  }
  return py::make_tuple(y, state);
}

/// `steps` steps without input: the states (H, M) after.
Array<Complex> coast_diagonal(const Array<Complex>& eigenvalues, const Array<Complex>& P,
                              const Array<Complex>& Q, const Array<double>& weight, bool real,
                              const Array<Complex>& x0, Index steps) {
  const DiagonalParameters p{eigenvalues, P, Q, eigenvalues, eigenvalues, weight, real};
  Array<Complex> state(shape_of(x0));
  std::copy_n(x0.data(), x0.size(), state.mutable_data());
  Complex* states = state.mutable_data();
  const Index channels = state.shape(0);
  const double work = 20.0 * static_cast<double>(channels * steps) *
                      static_cast<double>(p.order() * (1 + p.rank()));
  const py::gil_scoped_release released;
  parallel_for(channels, work, [&](Index h, Checkpoint& checkpoint) {
    checkpoint();
    const Vector<Complex> none = Vector<Complex>::Zero(p.order());
    const ss::DiagonalStep step{
        row_vector(p.eigenvalues, h), none,  none, p.low_rank(p.P, h), p.low_rank(p.Q, h),
        row_vector(p.weight, h),      p.real};
    ss::run_diagonal(step, nullptr, steps, nullptr, states + h * p.order(), checkpoint);
  });
  return state;
}

template <class T>
ConstVectorView<T> vector_in(const Array<T>& a) {
  return {a.data(), a.size()};
}

template <class T>
py::tuple run_dense(const Array<T>& A, const Array<T>& B, const Array<T>& C, const Array<T>& u,
                    const Array<T>& x0) {
  Array<T> y(shape_of(u));
  Array<T> state(shape_of(x0));
  std::copy_n(x0.data(), x0.size(), state.mutable_data());
  {
    const auto outputs = rows_out(y);
    const auto states = rows_out(state);
    const py::gil_scoped_release released;
    ss::run_dense<T>(matrix_of(A), vector_in(B), vector_in(C), rows_in(u), outputs, states);
  }
  return py::make_tuple(y, state);
}

template <class T>
Array<T> power_action(const Array<T>& C, const Array<T>& A, Index exponent) {
  Array<T> out(shape_of(C));
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  ss::power_action<T>(rows_in(C), matrix_of(A), exponent, rows);
  return out;
}

/// A (G, N, N), B (G, N), C (G, R, N) → (G, R, length).
template <class T>
Array<T> power_kernel(const Array<T>& A, const Array<T>& B, const Array<T>& C, Index length) {
  const Index models = A.shape(0);
  const Index order = A.shape(1);
  const Index rows = C.shape(1);
  Array<T> out({models, rows, length});
  T* target = out.mutable_data();
  const auto n = static_cast<double>(order);
  const double work =
      static_cast<double>(models) *
      (20.0 * n * n * n + 4.0 * n * static_cast<double>(length) * static_cast<double>(rows));
  const py::gil_scoped_release released;
  parallel_for(models, work, [&](Index g, Checkpoint& checkpoint) {
    checkpoint();
    ss::power_kernel<T>({A.data() + g * order * order, order, order}, {B.data() + g * order, order},
                        {C.data() + g * rows * order, rows, order},
                        {target + g * rows * length, rows, length}, checkpoint);
  });
  return out;
}

// ---- frequency ----------------------------------------------------------------------------------

template <class T>
Array<Complex> frequency_response(const Array<T>& A, const Array<T>& B, const Array<T>& C,
                                  const Array<Complex>& zeta) {
  Array<Complex> out({C.shape(0), zeta.size()});
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  ss::frequency_response<T>(matrix_of(A), vector_in(B), rows_in(C), span_of(zeta), rows);
  return out;
}

/// The cascade of a system whose inner drive is all ones.
hp::Cascade product_cascade(const hp::System& system) {
  require(system.is_cascade(), "the product form is for legs, lagt, glagt and malmquist");
  hp::Cascade cascade = system.cascade();
  require((cascade.drive.array() == 1.0).all(), "the product form needs alpha = 0");
  return cascade;
}

/// C (R, N) in the system's coordinates as one of the inner ones.
Matrix<double> inner_read_out(const hp::System& system, const Array<double>& C) {
  Matrix<double> inner = rows_in(C);
  inner.array().rowwise() *= system.scale().transpose().array();
  return inner;
}

/// C(sI − A)⁻¹B.
Array<Complex> cascade_response(const hp::System& system, const Array<double>& C,
                                const Array<Complex>& s) {
  Array<Complex> out({C.shape(0), s.size()});
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  const hp::Cascade cascade = product_cascade(system);
  const Matrix<double> inner = inner_read_out(system, C);
  const Vector<Complex> scaled = system.unit() * ConstVectorView<Complex>(s.data(), s.size());
  ss::cascade_response(cascade, {inner.data(), inner.rows(), inner.cols()},
                       {scaled.data(), static_cast<std::size_t>(scaled.size())}, rows);
  return out;
}

/// C (H, N), steps (H) → the L-periodic kernels (H, L).
Array<double> cascade_kernel(const hp::System& system, const Array<double>& C,
                             const Array<double>& steps, double alpha, Index length) {
  Array<double> out({C.shape(0), length});
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  const hp::Cascade cascade = product_cascade(system);
  const Matrix<double> inner = inner_read_out(system, C);
  const double unit = system.unit();
  const ss::CircleNodes nodes(length, alpha, /*real=*/true);
  Vector<Complex> gains(inner.rows());
  for (Index h = 0; h < inner.rows(); ++h) gains[h] = inner.row(h).dot(cascade.coupling) / unit;
  const double work = 24.0 * static_cast<double>(nodes.size()) * static_cast<double>(inner.cols());
  ss::circle_kernels<double>(
      nodes, span_of(steps), {gains.data(), static_cast<std::size_t>(gains.size())}, work,
      [&](Index h, std::span<const Complex> s, std::span<Complex> response) {
        const Vector<Complex> scaled =
            unit * ConstVectorView<Complex>(s.data(), static_cast<Index>(s.size()));
        ss::cascade_points(cascade, {inner.row(h).data(), 1, inner.cols()},
                           {scaled.data(), s.size()},
                           {response.data(), 1, static_cast<Index>(response.size())});
      },
      rows);
  return out;
}

ss::DplrModel dplr_model(const DiagonalParameters& p, Index h) {
  return {row_vector(p.eigenvalues, h),
          row_vector(p.B, h),
          row_vector(p.C, h),
          p.low_rank(p.P, h),
          p.low_rank(p.Q, h),
          row_vector(p.weight, h),
          p.real};
}

/// s (H|1, K) → C(sI − A)⁻¹B of every channel, (H, K).
Array<Complex> dplr_response(const Array<Complex>& eigenvalues, const Array<Complex>& P,
                             const Array<Complex>& Q, const Array<Complex>& B,
                             const Array<Complex>& C, const Array<double>& weight, bool real,
                             const Array<Complex>& s) {
  const DiagonalParameters p{eigenvalues, P, Q, B, C, weight, real};
  const Index channels = C.shape(0);
  Array<Complex> out({channels, s.shape(1)});
  Complex* target = out.mutable_data();
  const Index points = s.shape(1);
  const double work = 60.0 * static_cast<double>(channels * p.order() * points);
  constexpr Index kBlock = 4096;  // so that one channel is spread over threads too
  const Index blocks = (points + kBlock - 1) / kBlock;
  const py::gil_scoped_release released;
  std::vector<ss::DplrResponse> responses;
  for (Index h = 0; h < channels; ++h) responses.emplace_back(dplr_model(p, h));
  parallel_for(channels * blocks, work, [&](Index i, Checkpoint& checkpoint) {
    checkpoint();
    const Index h = i / blocks;
    const Index first = (i % blocks) * kBlock;
    const auto some = static_cast<std::size_t>(std::min(kBlock, points - first));
    const Complex* at = s.data() + (s.shape(0) == 1 ? 0 : h * points);
    responses[h].evaluate({at + first, some}, {target + h * points + first, some});
  });
  return out;
}

template <class T>
Array<T> dplr_kernel_as(const DiagonalParameters& p, const Array<double>& steps, double alpha,
                        Index length) {
  const Index channels = steps.size();
  Array<T> out({channels, length});
  const auto rows = rows_out(out);
  const py::gil_scoped_release released;
  const ss::CircleNodes nodes(length, alpha, p.real);
  std::vector<ss::DplrResponse> responses;
  Vector<Complex> gains(channels);
  for (Index h = 0; h < channels; ++h) {
    const ss::DplrModel model = dplr_model(p, h);
    const Vector<Complex> products = model.C.cwiseProduct(model.B);
    gains[h] = p.real ? Complex(products.real().dot(model.weight)) : products.sum();
    responses.emplace_back(model);
  }
  const auto sums = static_cast<double>((1 + p.rank()) * (1 + p.rank()));
  const double work =
      (20.0 + 4.0 * sums) * static_cast<double>(nodes.size()) * static_cast<double>(p.order());
  ss::circle_kernels<T>(
      nodes, span_of(steps), {gains.data(), static_cast<std::size_t>(channels)}, work,
      [&](Index h, std::span<const Complex> s, std::span<Complex> response) {
        responses[h].evaluate(s, response);
      },
      rows);
  return out;
}

py::array dplr_kernel(const Array<Complex>& eigenvalues, const Array<Complex>& P,
                      const Array<Complex>& Q, const Array<Complex>& B, const Array<Complex>& C,
                      const Array<double>& weight, bool real, const Array<double>& steps,
                      double alpha, Index length) {
  const DiagonalParameters p{eigenvalues, P, Q, B, C, weight, real};
  if (real) return dplr_kernel_as<double>(p, steps, alpha, length);
  return dplr_kernel_as<Complex>(p, steps, alpha, length);
}

// ---- names --------------------------------------------------------------------------------------

template <class T>
void bind_precision(py::module_& m) {
  m.def("cauchy", &cauchy<T>, py::arg("v").noconvert(), "z"_a, "eigenvalues"_a, "conjugate"_a);
  m.def("cauchy_adjoint", &cauchy_adjoint<T>, py::arg("v").noconvert(), "z"_a, "eigenvalues"_a,
        "g"_a, "conjugate"_a);
  m.def("vandermonde", &vandermonde<T>, py::arg("v").noconvert(), "eigenvalues"_a, "length"_a,
        "conjugate"_a);
  m.def("vandermonde_adjoint", &vandermonde_adjoint<T>, py::arg("v").noconvert(), "eigenvalues"_a,
        "g"_a);
}

template <class T>
void bind_samples(py::module_& m) {
  m.def("convolve", &convolve<T>, py::arg("u").noconvert(), py::arg("kernel").noconvert(),
        "method"_a);
  m.def("scan", &scan<T>, py::arg("a").noconvert(), py::arg("b").noconvert(),
        py::arg("x0").noconvert(), "reverse"_a);
}

template <class T>
void bind_matrices(py::module_& m) {
  m.def("run_dense", &run_dense<T>, py::arg("A").noconvert(), "B"_a, "C"_a, "u"_a, "x0"_a);
  m.def("power_action", &power_action<T>, py::arg("C").noconvert(), "A"_a, "exponent"_a);
  m.def("power_kernel", &power_kernel<T>, py::arg("A").noconvert(), "B"_a, "C"_a, "length"_a);
  m.def("frequency_response", &frequency_response<T>, py::arg("A").noconvert(), "B"_a, "C"_a,
        "zeta"_a);
}

}  // namespace

void bind_ssm(py::module_& m) {
  py::module_ s = m.def_submodule("ssm", "Kernels of state-space models.");
  bind_precision<float>(s);
  bind_precision<double>(s);
  bind_samples<float>(s);
  bind_samples<double>(s);
  bind_samples<std::complex<float>>(s);
  bind_samples<Complex>(s);
  bind_matrices<double>(s);
  bind_matrices<Complex>(s);
  s.def("run_diagonal", &run_diagonal, "eigenvalues"_a, "P"_a, "Q"_a, "B"_a, "C"_a, "weight"_a,
        "real"_a, "u"_a, "x0"_a);
  s.def("coast_diagonal", &coast_diagonal, "eigenvalues"_a, "P"_a, "Q"_a, "weight"_a, "real"_a,
        "x0"_a, "steps"_a);
  s.def("cascade_response", &cascade_response, "system"_a, "C"_a, "s"_a);
  s.def("cascade_kernel", &cascade_kernel, "system"_a, "C"_a, "steps"_a, "alpha"_a, "length"_a);
  s.def("dplr_response", &dplr_response, "eigenvalues"_a, "P"_a, "Q"_a, "B"_a, "C"_a, "weight"_a,
        "real"_a, "s"_a);
  s.def("dplr_kernel", &dplr_kernel, "eigenvalues"_a, "P"_a, "Q"_a, "B"_a, "C"_a, "weight"_a,
        "real"_a, "steps"_a, "alpha"_a, "length"_a);
}

}  // namespace resolvent::bindings
