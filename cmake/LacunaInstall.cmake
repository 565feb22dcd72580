# cmake --install build/release --prefix PREFIX: library, headers, CMake package, program, recipes.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(lacuna_package ${CMAKE_INSTALL_LIBDIR}/cmake/Lacuna)
foreach(target IN ITEMS lacuna lacuna_program)
  if(TARGET ${target})
    # LibTorch stays where it was at build time (INSTALL_RPATH_USE_LINK_PATH would leave out a .venv inside our tree).
    set_target_properties(${target} PROPERTIES INSTALL_RPATH
                          "$ORIGIN/../${CMAKE_INSTALL_LIBDIR};${TORCH_INSTALL_PREFIX}/lib")
  endif()
endforeach()
install(TARGETS lacuna EXPORT LacunaTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET lacuna_program)
  install(TARGETS lacuna_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

foreach(room IN LISTS LACUNA_ROOMS)
  if(NOT room STREQUAL "cli")
    install(DIRECTORY lacuna/${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lacuna FILES_MATCHING PATTERN "*.h"
            PATTERN image_formats.h EXCLUDE)
  endif()
endforeach()
install(DIRECTORY recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/lacuna)

install(EXPORT LacunaTargets NAMESPACE Lacuna:: DESTINATION ${lacuna_package})
configure_package_config_file(cmake/LacunaConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/LacunaConfig.cmake
                              INSTALL_DESTINATION ${lacuna_package})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/LacunaConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/LacunaConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/LacunaConfigVersion.cmake
              cmake/LacunaTorchTarget.cmake DESTINATION ${lacuna_package})
