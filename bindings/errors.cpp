#include "resolvent/core/error.hpp"

#include "bindings.hpp"
#include "resolvent/core/interrupt.hpp"

namespace resolvent::bindings {

namespace py = pybind11;

namespace {

/// Runs Python's signal handlers; true if one raised, as Ctrl-C's does.
bool signal_pending() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

void translate_interruption(std::exception_ptr failure) {
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const Interrupted&) {
    // The handler's exception is already set on this thread.
    if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
  }
}

/// A subclass of ResolventError and of the builtin that callers already catch.
template <class E>
void bind_error(py::module_& m, const char* name, const py::object& base, PyObject* builtin) {
  const py::tuple bases = py::make_tuple(base, py::reinterpret_borrow<py::object>(builtin));
  py::register_exception<E>(m, name, bases.ptr());
}

}  // namespace

void bind_errors(py::module_& m) {
  const py::object base = py::register_exception<Error>(m, "ResolventError", PyExc_Exception);
  bind_error<InvalidArgument>(m, "InvalidArgument", base, PyExc_ValueError);
  bind_error<ShapeMismatch>(m, "ShapeMismatch", base, PyExc_ValueError);
  bind_error<DtypeError>(m, "DtypeError", base, PyExc_TypeError);
  bind_error<NotConverged>(m, "NotConverged", base, PyExc_RuntimeError);
  bind_error<DeviceUnavailable>(m, "DeviceUnavailable", base, PyExc_RuntimeError);
  py::register_exception_translator(&translate_interruption);
  set_interrupt_poll(&signal_pending);
}

}  // namespace resolvent::bindings
