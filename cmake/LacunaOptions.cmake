# Warnings, sanitizers and ccache for our own code; nothing here reaches users of the library.
add_library(lacuna_options INTERFACE)
add_library(Lacuna::options ALIAS lacuna_options)
target_compile_options(lacuna_options INTERFACE -Wall -Wextra -Werror $<$<CXX_COMPILER_ID:GNU>:-Wshadow=local>
                       -Wnon-virtual-dtor -Woverloaded-virtual -Wno-unknown-pragmas -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 reports these falsely where std::string is concatenated (GCC bugs 105329, 105651).
  target_compile_options(lacuna_options INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()

if(LACUNA_SANITIZE)
  target_compile_options(lacuna_options INTERFACE -fsanitize=${LACUNA_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize=vptr -fno-sanitize-recover=undefined)
  target_link_options(lacuna_options INTERFACE -fsanitize=${LACUNA_SANITIZE})
endif()

# -fpch-preprocess lets ccache see through GCC's precompiled headers.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)
  else()
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
  endif()
endif()

# Loading the precompiled torch.h takes 3 s; a file that does not touch tensors compiles in less without it. Such files are
# found by what they include, directly or through our headers.
function(lacuna_skip_pch)
  foreach(source IN LISTS ARGN)
    set(pending ${source})
    set(seen)
    set(uses_torch FALSE)
    while(pending AND NOT uses_torch)
      list(POP_FRONT pending file)
      list(APPEND seen ${file})
      file(STRINGS ${file} includes REGEX "^#include ")
      if(includes MATCHES "<(torch|ATen|c10)/")
        set(uses_torch TRUE)
      endif()
      string(REGEX MATCHALL "\"lacuna/[^\"]+\"" ours "${includes}")
      foreach(header IN LISTS ours)
        string(REPLACE "\"" "" header ${header})
        set(header ${CMAKE_CURRENT_SOURCE_DIR}/${header})
        if(NOT header IN_LIST seen AND EXISTS ${header})
          list(APPEND pending ${header})
        endif()
      endforeach()
    endwhile()
    if(NOT uses_torch)
      set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
      message(DEBUG "no precompiled header for ${source}")
    endif()
  endforeach()
endfunction()
