#include "resolvent/core/threads.hpp"

#include <omp.h>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <exception>
#include <string_view>

namespace resolvent {
namespace {

/// Below this many operations a thread team costs more (some 10 µs) than it saves.
constexpr double kWorkPerTeam = 2e5;

int initial_threads() {
  const char* variable = std::getenv("RESOLVENT_NUM_THREADS");
  if (variable == nullptr || *variable == '\0') return std::max(1, omp_get_max_threads());
  const std::string_view text(variable);
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  require(error == std::errc() && end == text.data() + text.size() && count >= 1,
          "RESOLVENT_NUM_THREADS must be a whole number of at least 1, got '", text, "'");
  return count;
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{initial_threads()};
  return count;
}

std::atomic<InterruptPoll> interrupt_poll{nullptr};

/// True in a child process forked after the first thread team: OpenMP's threads did not come along,
/// and waiting for them would never end, so the child works on one thread.
std::atomic<bool> orphaned{false};

void watch_for_forks() {
#if defined(__unix__) || defined(__APPLE__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] { orphaned.store(true); });
  static_cast<void>(registered);
#endif
}

}  // namespace

void set_threads(int count) {
  require(count >= 1, "threads must be at least 1, got ", count);
  thread_count().store(count);
}

int get_threads() { return thread_count().load(); }

void set_interrupt_poll(InterruptPoll poll) { interrupt_poll.store(poll); }

void Checkpoint::operator()() {
  if (stopped_.load(std::memory_order_relaxed)) throw Interrupted();
  if (std::this_thread::get_id() != caller_ || Clock::now() < next_poll_) return;
  next_poll_ = Clock::now() + std::chrono::milliseconds(50);
  const InterruptPoll poll = interrupt_poll.load();
  if (poll != nullptr && poll()) {
    stop();
    throw Interrupted();
  }
}

void parallel_for(Index count, double work, const std::function<void(Index, Checkpoint&)>& body) {
  Checkpoint checkpoint;
  const auto team = static_cast<int>(std::min<Index>(count, get_threads()));
  if (team <= 1 || work < kWorkPerTeam || orphaned.load()) {
    for (Index i = 0; i < count; ++i) body(i, checkpoint);
    return;
  }
  watch_for_forks();
  // The stop that one thread's failure causes must not hide the failure itself, so the first
  // exception in time is the one that is kept.
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
  for (Index i = 0; i < count; ++i) {
    try {
      body(i, checkpoint);
    } catch (...) {
#pragma omp critical(resolvent_parallel_for)
      if (!failure) failure = std::current_exception();
      checkpoint.stop();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace resolvent
