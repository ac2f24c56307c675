#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

/// The x86-64 levels that this CPU and its operating system run, best first; empty elsewhere.
std::vector<std::string> levels() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  // The levels of the x86-64 psABI. The compiler's builtin also asks whether the operating system
  // saves the vector registers; it does not know MOVBE, F16C and LZCNT by name everywhere.
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool has_leaf_1 = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0;
  const bool cx16 = has_leaf_1 && (ecx & bit_CMPXCHG16B) != 0;
  const bool movbe_f16c = has_leaf_1 && (ecx & bit_MOVBE) != 0 && (ecx & bit_F16C) != 0;
  const bool has_extended = __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) != 0;
  const bool lahf = has_extended && (ecx & bit_LAHF_LM) != 0;
  const bool lzcnt = has_extended && (ecx & (1U << 5)) != 0;

  const bool v2 = cx16 && lahf && __builtin_cpu_supports("popcnt") &&
                  __builtin_cpu_supports("sse3") && __builtin_cpu_supports("ssse3") &&
                  __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("sse4.2");
  const bool v3 = v2 && movbe_f16c && lzcnt && __builtin_cpu_supports("avx") &&
                  __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) found.emplace_back("x86_64_v4");
  if (v3) found.emplace_back("x86_64_v3");
  if (v2) found.emplace_back("x86_64_v2");
#endif
  return found;
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "What the CPU can run.";
  m.def("levels", &levels,
        "The x86-64 levels that this CPU runs, best first; empty on other architectures.");
}
