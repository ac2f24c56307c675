#include <pybind11/pybind11.h>

#include <Eigen/Core>
#include <string>

#include "bindings.hpp"
#include "resolvent/core/fft.hpp"
#include "resolvent/core/threads.hpp"
#include "resolvent/core/version.hpp"

namespace py = pybind11;
namespace rb = resolvent::bindings;

namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

std::string eigen_version() {
  return std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." +
         std::to_string(EIGEN_MINOR_VERSION);
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of resolvent.";
  m.attr("__version__") = resolvent::kVersion;
  m.attr("isa") = RESOLVENT_ISA_LEVEL;
  m.attr("compiler") = compiler();
  m.attr("eigen") = eigen_version();
  m.attr("fft") = resolvent::fft_library();
  rb::bind_errors(m);
  m.def("set_threads", &resolvent::set_threads, py::arg("count"));
  m.def("get_threads", &resolvent::get_threads);
  rb::bind_arrays(m);
  rb::bind_hippo(m);
  rb::bind_spectral(m);
  rb::bind_discretize(m);
  rb::bind_ssm(m);
  rb::bind_rational(m);
  rb::bind_probmap(m);
  rb::bind_lora(m);
  rb::bind_attention(m);
  rb::bind_distill(m);
}
