#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace resolvent {

/// Base of everything that the library throws on purpose.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument has a value outside its range.
class InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// Two arrays, or an array and a size, do not fit together.
class ShapeMismatch : public Error {
 public:
  using Error::Error;
};

/// An array's element type cannot be taken without losing information.
class DtypeError : public Error {
 public:
  using Error::Error;
};

/// An iteration ended without reaching its tolerance.
class NotConverged : public Error {
 public:
  using Error::Error;
};

/// The device that was asked for is not there.
class DeviceUnavailable : public Error {
 public:
  using Error::Error;
};

/// The caller asked for the work to stop (Ctrl-C in Python).
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted") {}
};

/// Joins its arguments into one message.
template <class... Parts>
std::string message(Parts&&... parts) {
  std::ostringstream text;
  text.precision(17);
  (text << ... << std::forward<Parts>(parts));
  return std::move(text).str();
}

/// Throws `E` with the joined message unless `condition` holds.
template <class E = InvalidArgument, class... Parts>
void require(bool condition, Parts&&... parts) {
  if (!condition) throw E(message(std::forward<Parts>(parts)...));
}

}  // namespace resolvent
