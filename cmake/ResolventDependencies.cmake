# Every package is looked for on the system first; what is missing is fetched, pinned by hash.

include(FetchContent)

find_package(OpenMP REQUIRED COMPONENTS CXX)

FetchContent_Declare(Eigen3
  URL https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.bz2
  URL_HASH SHA256=b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  FIND_PACKAGE_ARGS 3.4 CONFIG)

FetchContent_Declare(Catch2
  URL https://github.com/catchorg/Catch2/archive/v3.7.1.tar.gz
  URL_HASH SHA256=c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  FIND_PACKAGE_ARGS CONFIG)

FetchContent_Declare(pybind11
  URL https://github.com/pybind/pybind11/archive/refs/tags/v3.0.1.tar.gz
  URL_HASH SHA256=741633da746b7c738bb71f1854f957b9da660bcd2dce68d71949037f0969d0ca
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  FIND_PACKAGE_ARGS 2.13 CONFIG)

FetchContent_Declare(FFTW
  URL https://www.fftw.org/fftw-3.3.10.tar.gz
  URL_HASH SHA256=56c932549852cddcfafdab3820b0200c7742675be92179e59e6215b340e26467
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  FIND_PACKAGE_ARGS MODULE)

# A fetched Eigen is only its headers to us: no tests, no documentation.
function(resolvent_find_eigen)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
  set(BUILD_TESTING OFF)
  set(EIGEN_BUILD_DOC OFF)
  set(EIGEN_BUILD_PKGCONFIG OFF)
  FetchContent_MakeAvailable(Eigen3)
endfunction()
resolvent_find_eigen()

# A fetched FFTW is built twice, once per precision, as static libraries.
function(resolvent_find_fftw)
  find_package(FFTW MODULE QUIET)
  if(FFTW_FOUND)
    return()
  endif()
  FetchContent_GetProperties(FFTW)
  if(NOT fftw_POPULATED)
    FetchContent_Populate(FFTW)
  endif()
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
  set(CMAKE_POLICY_VERSION_MINIMUM 3.5)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  set(BUILD_SHARED_LIBS OFF)
  set(BUILD_TESTS OFF)
  foreach(precision double float)
    set(ENABLE_FLOAT OFF)
    set(library fftw3)
    if(precision STREQUAL "float")
      set(ENABLE_FLOAT ON)
      set(library fftw3f)
    endif()
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
      set(ENABLE_SSE2 ON)
      set(ENABLE_AVX ON)
      set(ENABLE_AVX2 ON)
    endif()
    add_subdirectory(${fftw_SOURCE_DIR} ${fftw_BINARY_DIR}/${precision} EXCLUDE_FROM_ALL)
    target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${fftw_SOURCE_DIR}/api>)
    add_library(FFTW::${precision} ALIAS ${library})
  endforeach()
endfunction()
resolvent_find_fftw()

if(RESOLVENT_BUILD_TESTS)
  FetchContent_MakeAvailable(Catch2)
  if(DEFINED catch2_SOURCE_DIR)
    list(APPEND CMAKE_MODULE_PATH ${catch2_SOURCE_DIR}/extras)
  endif()
endif()

if(RESOLVENT_BUILD_PYTHON)
  set(PYBIND11_FINDPYTHON ON)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
  FetchContent_MakeAvailable(pybind11)
endif()
