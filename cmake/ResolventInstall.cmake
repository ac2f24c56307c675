# Installs the library with a package config: find_package(resolvent) gives resolvent::core.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/resolvent)

install(TARGETS resolvent_core EXPORT resolventTargets COMPONENT cpp
  FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT cpp)
# A fetched FFTW goes along; an installed one is looked for again.
set(RESOLVENT_FFTW_INSIDE OFF)
if(TARGET fftw3)
  set(RESOLVENT_FFTW_INSIDE ON)
  install(TARGETS fftw3 fftw3f EXPORT resolventTargets COMPONENT cpp)
endif()
install(EXPORT resolventTargets NAMESPACE resolvent:: DESTINATION ${package_dir} COMPONENT cpp)

configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/resolventConfig.cmake.in resolventConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(resolventConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/resolventConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/resolventConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/FindFFTW.cmake
  DESTINATION ${package_dir} COMPONENT cpp)
