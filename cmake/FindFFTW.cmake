# FFTW in both precisions: FFTW::double and FFTW::float.
#
# Debian and Ubuntu: libfftw3-dev. Used by the build and, installed beside the package config, by
# those who link the library.

find_path(FFTW_INCLUDE_DIR fftw3.h)
find_library(FFTW_DOUBLE_LIBRARY fftw3)
find_library(FFTW_FLOAT_LIBRARY fftw3f)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(FFTW
  REQUIRED_VARS FFTW_DOUBLE_LIBRARY FFTW_FLOAT_LIBRARY FFTW_INCLUDE_DIR)
mark_as_advanced(FFTW_INCLUDE_DIR FFTW_DOUBLE_LIBRARY FFTW_FLOAT_LIBRARY)

if(FFTW_FOUND AND NOT TARGET FFTW::double)
  foreach(precision double float)
    string(TOUPPER ${precision} name)
    add_library(FFTW::${precision} UNKNOWN IMPORTED)
    set_target_properties(FFTW::${precision} PROPERTIES
      IMPORTED_LOCATION ${FFTW_${name}_LIBRARY}
      INTERFACE_INCLUDE_DIRECTORIES ${FFTW_INCLUDE_DIR})
  endforeach()
endif()
