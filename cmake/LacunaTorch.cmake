# LibTorch is the one inside the Python wheel. TORCH_PYTHON (default: .venv of this tree, else python3) finds it,
# unless CMAKE_PREFIX_PATH or Torch_DIR already does.
if(NOT Torch_DIR AND NOT CMAKE_PREFIX_PATH MATCHES "torch")
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/.venv/bin/python)
    set(torch_python_default ${CMAKE_CURRENT_SOURCE_DIR}/.venv/bin/python)
  else()
    set(torch_python_default python3)
  endif()
  set(TORCH_PYTHON ${torch_python_default} CACHE STRING "Python whose torch wheel holds LibTorch")
  # Without importing torch: it takes seconds.
  execute_process(COMMAND ${TORCH_PYTHON} -c
      "import importlib.util as u, pathlib as p; print(p.Path(u.find_spec('torch').origin).parent / 'share' / 'cmake')"
    OUTPUT_VARIABLE torch_prefix OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE torch_missing ERROR_QUIET)
  if(torch_missing)
    message(FATAL_ERROR "No torch wheel in ${TORCH_PYTHON}: run `make setup`, or pass -DTorch_DIR or -DTORCH_PYTHON.")
  endif()
  list(APPEND CMAKE_PREFIX_PATH ${torch_prefix})
endif()

find_package(Torch REQUIRED)
if(Torch_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "LibTorch ${Torch_VERSION} is too old: 2.11 or newer is needed.")
endif()

add_library(lacuna_torch INTERFACE)
add_library(Lacuna::torch ALIAS lacuna_torch)
set_target_properties(lacuna_torch PROPERTIES EXPORT_NAME torch)
target_link_libraries(lacuna_torch INTERFACE ${TORCH_LIBRARIES})
target_include_directories(lacuna_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})

# A CUDA wheel's nccl.h comes in a wheel of its own; lacuna/train/processes.cpp looks whether it is there.
find_path(LACUNA_NCCL_INCLUDE nccl.h PATHS ${TORCH_INSTALL_PREFIX}/../nvidia/nccl/include NO_DEFAULT_PATH)
if(LACUNA_NCCL_INCLUDE)
  target_include_directories(lacuna_torch SYSTEM INTERFACE ${LACUNA_NCCL_INCLUDE})
endif()
