#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <mutex>
#include <optional>
#include <string>
#include <tuple>

#include "bindings.hpp"
#include "numpy.hpp"
#include "resolvent/core/quadrature.hpp"
#include "resolvent/hippo/memory.hpp"
#include "resolvent/hippo/projection.hpp"
#include "resolvent/hippo/propagator.hpp"
#include "resolvent/hippo/system.hpp"

namespace resolvent::bindings {

namespace hp = resolvent::hippo;
using namespace pybind11::literals;

namespace {

hp::System make_system(const std::string& measure, Index order, double window,
                       const std::string& normalization, const std::string& closure,
                       const std::optional<Array<double>>& poles, double alpha, double beta,
                       bool frozen) {
  hp::Config config;
  config.measure = hp::measure_from_name(measure);
  config.order = order;
  config.window = window;
  config.normalization = hp::normalization_from_name(normalization);
  config.closure = hp::closure_from_name(closure);
  if (poles) config.poles = ConstVectorView<double>(poles->data(), poles->size());
  config.alpha = alpha;
  config.beta = beta;
  config.frozen = frozen;
  return hp::System(std::move(config));
}

hp::System make_dense(const Array<double>& A, const Array<double>& B, const std::string& clock,
                      double window) {
  return hp::System(ConstRows<double>(A.data(), A.shape(0), A.shape(1)),
                    ConstVectorView<double>(B.data(), B.size()), hp::clock_from_name(clock),
                    window);
}

py::array system_A(const hp::System& s) {
  if (s.is_complex()) return from_matrix(s.complex_A());
  return from_matrix(s.A());
}

py::array system_B(const hp::System& s) {
  if (s.is_complex()) return from_vector(s.complex_B());
  return from_vector(s.B());
}

template <class T>
Array<T> apply(const hp::System& s, const Array<T>& x) {
  require_last_axis(x, s.order(), "x");
  Array<T> out(shape_of(x));
  const auto in_rows = rows_of(x, s.order());
  const auto out_rows = rows_of(out, s.order());
  const py::gil_scoped_release released;
  s.apply<T>(in_rows, out_rows);
  return out;
}

template <class T>
Array<T> solve(const hp::System& s, T lam, const Array<T>& v) {
  require_last_axis(v, s.order(), "v");
  Array<T> out(shape_of(v));
  const auto in_rows = rows_of(v, s.order());
  const auto out_rows = rows_of(out, s.order());
  const py::gil_scoped_release released;
  s.solve<T>(lam, in_rows, out_rows);
  return out;
}

Array<double> positions(const hp::System& s, const Array<double>& times, double now) {
  Array<double> out(shape_of(times));
  for (py::ssize_t i = 0; i < times.size(); ++i) {
    out.mutable_data()[i] = hp::position(s, times.data()[i], now);
  }
  return out;
}

Array<double> basis(const hp::System& s, const Array<double>& at) {
  Matrix<double> table;
  {
    const py::gil_scoped_release released;
    hp::basis(s, span_of(at), table);
  }
  return from_matrix(table);
}

Array<double> reconstruct(const hp::System& s, const Array<double>& coefficients,
                          const Array<double>& at) {
  require_last_axis(coefficients, s.order(), "coefficients");
  Array<double> out(with_last_axis(shape_of(coefficients), at.size()));
  const auto in_rows = rows_of(coefficients, s.order());
  Rows<double> out_rows(out.mutable_data(), in_rows.rows(), at.size());
  const py::gil_scoped_release released;
  hp::reconstruct(s, in_rows, span_of(at), out_rows);
  return out;
}

/// u (…, L) → (…, at, N).
Array<double> optimal(const hp::System& s, const Array<double>& u, const Array<double>& edges,
                      const Array<double>& at) {
  auto shape = with_last_axis(shape_of(u), at.size());
  shape.push_back(s.order());
  Array<double> out(shape);
  const auto in_rows = rows_of(u, u.shape(u.ndim() - 1));
  const auto out_rows = rows_of(out, s.order());
  const py::gil_scoped_release released;
  hp::optimal(s, in_rows, span_of(edges), span_of(at), out_rows);
  return out;
}

py::tuple propagator(const hp::System& s, double t) {
  const hp::Propagator p = hp::propagator(s, t);
  return py::make_tuple(from_matrix(p.phi), from_vector(p.gamma));
}

void bind_system(py::module_& m) {
  py::class_<hp::System>(m, "System")
      .def(py::init(&make_system), "measure"_a, "order"_a, "window"_a, "normalization"_a,
           "closure"_a, "poles"_a, "alpha"_a, "beta"_a, "frozen"_a)
      .def_static("dense", &make_dense, "A"_a, "B"_a, "clock"_a, "window"_a)
      .def_property_readonly("clock",
                             [](const hp::System& s) { return std::string(name_of(s.clock())); })
      .def_property_readonly("is_complex", &hp::System::is_complex)
      .def("A", &system_A)
      .def("B", &system_B)
      .def("scale", [](const hp::System& s) { return from_vector(s.scale()); })
      .def("steady", [](const hp::System& s) { return from_vector(s.steady()); })
      .def("apply", &apply<double>, "x"_a)
      .def("apply_complex", &apply<Complex>, "x"_a)
      .def("solve", &solve<double>, "lam"_a, "v"_a)
      .def("solve_complex", &solve<Complex>, "lam"_a, "v"_a)
      .def("positions", &positions, "times"_a, "now"_a)
      .def("basis", &basis, "at"_a)
      .def("reconstruct", &reconstruct, "coefficients"_a, "at"_a)
      .def("optimal", &optimal, "u"_a, "edges"_a, "at"_a)
      .def("propagator", &propagator, "t"_a);
}

/// A memory that several Python threads may hold: one at a time works on it, without the GIL.
template <class T>
class SharedMemory {
 public:
  using Memory = hp::Memory<T>;

  SharedMemory(const hp::System& system, const std::string& rule, double alpha, double step,
               Index channels)
      : memory_(system, hp::rule_from_name(rule), alpha, step, channels) {}

  template <class Work>
  auto with(Work&& work) {
    const py::gil_scoped_release released;
    const std::lock_guard<std::mutex> lock(mutex_);
    return work(memory_);
  }

 private:
  Memory memory_;
  std::mutex mutex_;
};

template <class T>
void bind_memory(py::module_& m, const char* name) {
  using Shared = SharedMemory<T>;
  using Memory = hp::Memory<T>;
  using Times = std::optional<Array<double>>;
  const auto instants = [](const Times& times) {
    return times ? span_of(*times) : std::span<const double>();
  };
  const auto samples = [](const Array<T>& u) {
    return ConstRows<T>(u.data(), u.shape(0), u.shape(1));
  };
  py::class_<Shared>(m, name)
      .def(py::init<const hp::System&, const std::string&, double, double, Index>(), "system"_a,
           "rule"_a, "alpha"_a, "step"_a, "channels"_a, py::call_guard<py::gil_scoped_release>())
      .def(
          "update",
          [=](Shared& shared, const Array<T>& u, const Times& times) {
            shared.with([rows = samples(u), ends = instants(times)](Memory& memory) {
              memory.update(rows, ends);
            });
          },
          "u"_a, "times"_a = py::none())
      .def(
          "record",
          [=](Shared& shared, const Array<T>& u, const Times& times, Index every, Array<T> out) {
            const auto target = rows_of(out, out.shape(out.ndim() - 1));
            shared.with([=, rows = samples(u), ends = instants(times)](Memory& memory) {
              memory.update(rows, ends, every, target);
            });
          },
          "u"_a, "times"_a, "every"_a, "out"_a.noconvert())
      .def(
          "coefficients",
          [](Shared& shared, Array<T> out) {
            const auto target = rows_of(out, out.shape(out.ndim() - 1));
            shared.with([=](Memory& memory) { memory.coefficients(target); });
          },
          "out"_a.noconvert())
      .def("reset", [](Shared& shared) { shared.with([](Memory& memory) { memory.reset(); }); })
      .def_property_readonly(
          "time",
          [](Shared& shared) { return shared.with([](Memory& memory) { return memory.time(); }); })
      .def("save",
           [](Shared& shared) {
             const auto [state, count, base] = shared.with([](Memory& memory) {
               return std::tuple(memory.state(), memory.samples(), memory.base());
             });
             Array<T> copy(static_cast<py::ssize_t>(state.size()));
             std::copy(state.begin(), state.end(), copy.mutable_data());
             return py::make_tuple(copy, count, base);
           })
      .def(
          "restore",
          [](Shared& shared, const Array<T>& state, Index count, double base) {
            std::vector<T> copy(state.data(), state.data() + state.size());
            shared.with([&](Memory& memory) { memory.restore(std::move(copy), count, base); });
          },
          "state"_a, "samples"_a, "base"_a);
}

}  // namespace

void bind_hippo(py::module_& m) {
  py::module_ hippo = m.def_submodule("hippo", "HiPPO systems and memories.");
  bind_system(hippo);
  bind_memory<double>(hippo, "Memory64");
  bind_memory<float>(hippo, "Memory32");
  hippo.def(
      "normalizations",
      [](const std::string& measure) {
        std::vector<std::string> names;
        for (const auto n : hp::normalizations_of(hp::measure_from_name(measure))) {
          names.emplace_back(name_of(n));
        }
        return names;
      },
      "measure"_a, "The normalisations that a measure has, its default first.");
  hippo.def(
      "gauss_legendre",
      [](Index count) {
        const Quadrature rule = gauss_legendre(count);
        return py::make_tuple(from_vector(rule.nodes), from_vector(rule.weights));
      },
      "count"_a, "Nodes and weights of the Gauss-Legendre rule on [-1, 1].");
}

}  // namespace resolvent::bindings
