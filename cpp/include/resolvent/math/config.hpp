#pragma once

/// Marks a scalar formula that both the CPU loops and device kernels may call.
#if defined(__CUDACC__)
#define RESOLVENT_HD __host__ __device__
#else
#define RESOLVENT_HD
#endif
