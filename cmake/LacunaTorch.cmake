# LibTorch is the one inside the Python wheel. TORCH_PYTHON (default: the Python that pip builds for, else .venv of this
# tree, else python3) finds it, unless CMAKE_PREFIX_PATH or Torch_DIR already does.
if(NOT Torch_DIR AND NOT CMAKE_PREFIX_PATH MATCHES "torch")
  if(Python_EXECUTABLE)
    set(torch_python_default ${Python_EXECUTABLE})
  elseif(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/.venv/bin/python)
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
    message(FATAL_ERROR "No torch wheel in ${TORCH_PYTHON}: run `make setup`, pass -DTorch_DIR or -DTORCH_PYTHON, or (pip) --no-build-isolation.")
  endif()
  list(APPEND CMAKE_PREFIX_PATH ${torch_prefix})
endif()

include(LacunaTorchTarget)
