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

# What a source includes is told by the compiler (CCACHE_DEPEND): asking the preprocessor first takes a third of a compilation.
# -fpch-preprocess lets ccache see through GCC's precompiled headers.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_DEPEND=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-fpch-preprocess)
  else()
    add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
  endif()
endif()
