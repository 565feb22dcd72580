# Lacuna::torch: LibTorch 2.11 or newer, found by Torch_DIR or CMAKE_PREFIX_PATH. Installed beside LacunaConfig.cmake.
find_package(Torch REQUIRED)
if(Torch_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "LibTorch ${Torch_VERSION} is too old: 2.11 or newer is needed.")
endif()

if(NOT TARGET Lacuna::torch)
  add_library(Lacuna::torch INTERFACE IMPORTED GLOBAL)
  target_link_libraries(Lacuna::torch INTERFACE ${TORCH_LIBRARIES})
  target_include_directories(Lacuna::torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
endif()

# A CUDA wheel's nccl.h comes in a wheel of its own; lacuna/train/processes.cpp looks whether it is there.
find_path(LACUNA_NCCL_INCLUDE nccl.h PATHS ${TORCH_INSTALL_PREFIX}/../nvidia/nccl/include NO_DEFAULT_PATH)
if(LACUNA_NCCL_INCLUDE)
  target_include_directories(Lacuna::torch SYSTEM INTERFACE ${LACUNA_NCCL_INCLUDE})
endif()
