# Build type, instruction sets and the flags of our own targets.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# RESOLVENT_LEVELS: the builds to make, the most portable one first. RESOLVENT_MARCH_<level>: the
# value of -march for each, empty for the compiler's default.
if(RESOLVENT_ISA STREQUAL "native")
  set(RESOLVENT_LEVELS native)
  set(RESOLVENT_MARCH_native native)
elseif(RESOLVENT_ISA STREQUAL "all" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(RESOLVENT_LEVELS x86_64_v2 x86_64_v3 x86_64_v4)
  set(RESOLVENT_MARCH_x86_64_v2 x86-64-v2)
  set(RESOLVENT_MARCH_x86_64_v3 x86-64-v3)
  set(RESOLVENT_MARCH_x86_64_v4 x86-64-v4)
elseif(RESOLVENT_ISA MATCHES "^(baseline|all)$")
  set(RESOLVENT_LEVELS baseline)
  set(RESOLVENT_MARCH_baseline "")
else()
  message(FATAL_ERROR "RESOLVENT_ISA must be baseline, native or all, got '${RESOLVENT_ISA}'")
endif()

if(RESOLVENT_SANITIZE AND NOT RESOLVENT_SANITIZE MATCHES "^(address,undefined|thread)$")
  message(FATAL_ERROR
    "RESOLVENT_SANITIZE must be empty, 'address,undefined' or 'thread', got '${RESOLVENT_SANITIZE}'")
endif()

# Applies our flags to `target`, built for `level`.
#
# -ffp-contract=off: the compiler never fuses a multiplication and an addition, so our loops give the
# same bits on every instruction set, vector width, block size and thread count. (Eigen's products of
# dense matrices fuse by themselves where the CPU can.) -fno-math-errno and
# -fno-trapping-math give up only errno and floating-point traps; NaN and infinity keep their meaning.
function(resolvent_compile_options target level)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
    -ffp-contract=off -fno-math-errno -fno-trapping-math)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 reports its own AVX-512 intrinsics, which start from an undefined register on purpose.
    target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized -Wno-uninitialized)
  elseif(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    # '#pragma omp simd' is a permission: a loop that stays scalar at -O1 is not worth a word.
    target_compile_options(${target} PRIVATE -Wno-pass-failed)
  endif()
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
  if(RESOLVENT_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(RESOLVENT_MARCH_${level})
    target_compile_options(${target} PRIVATE -march=${RESOLVENT_MARCH_${level}})
  endif()
  if(RESOLVENT_SANITIZE)
    target_compile_options(${target} PRIVATE
      -fsanitize=${RESOLVENT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${RESOLVENT_SANITIZE})
  endif()
endfunction()
