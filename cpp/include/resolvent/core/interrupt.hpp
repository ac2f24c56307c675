#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "resolvent/core/error.hpp"

namespace resolvent {

/// Answers whether the caller wants the running work to stop. Called at most every 50 ms and only
/// on the thread that entered the library.
using InterruptPoll = bool (*)();

/// Installs the poll (the Python module asks for pending signals there); null removes it.
void set_interrupt_poll(InterruptPoll poll);

/// Lets long loops notice Ctrl-C: loops call it once per block of work, on any thread.
class Checkpoint {
 public:
  /// Throws `Interrupted` once a stop was asked for.
  void operator()();

  /// Makes the other threads of the same work stop at their next call.
  void stop() { stopped_.store(true, std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;

  std::atomic<bool> stopped_{false};
  const std::thread::id caller_ = std::this_thread::get_id();
  Clock::time_point next_poll_ = Clock::now() + std::chrono::milliseconds(50);
};

}  // namespace resolvent
