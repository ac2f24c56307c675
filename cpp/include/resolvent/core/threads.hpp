#pragma once

#include <functional>

#include "resolvent/core/interrupt.hpp"
#include "resolvent/core/types.hpp"

namespace resolvent {

/// Sets how many threads the library may use. Throws `InvalidArgument` for count < 1.
void set_threads(int count);

/// The number of threads the library may use: `set_threads`, else the environment variable
/// RESOLVENT_NUM_THREADS, else what OpenMP offers.
int get_threads();

/// Calls `body(i, checkpoint)` for i = 0 … count−1, spread over threads when `work`, the number of
/// arithmetic operations of all calls together, pays for starting them. The calls must be
/// independent of each other; which thread runs which is not specified, so results cannot depend
/// on the thread count. The first exception of a call stops the others and is thrown again here.
void parallel_for(Index count, double work, const std::function<void(Index, Checkpoint&)>& body);

}  // namespace resolvent
