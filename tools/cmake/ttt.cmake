# Compiler settings, LibTorch, system packages, and the two functions that the CMakeLists.txt files are written in.
include(ttt_libtorch)  # imported target ttt_torch

find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Eigen3 REQUIRED)
find_path(TTT_LBFGSPP LBFGS.h REQUIRED)  # headers in the compiler's own path

add_library(ttt_options INTERFACE)
target_compile_options(ttt_options INTERFACE -Wall -Wextra -Wshadow $<$<BOOL:${TTT_WERROR}>:-Werror>)
target_include_directories(ttt_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(ttt_options INTERFACE Threads::Threads)
if(TTT_SANITIZE)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "TTT_SANITIZE is for clang (libFuzzer, and half of gcc's build time); tools/sanitize.sh builds so")
  endif()
  # -O1 and short line tables: reports name the line, and half the tests' time is not spent in the compiler. Not vptr, which needs
  # type information that LibTorch does not export; nor null and object-size, which AddressSanitizer finds as well (a fifth of the time).
  add_compile_options(-O1)
  target_compile_options(ttt_options INTERFACE -g1 -fno-omit-frame-pointer -fsanitize=address,undefined
                         -fno-sanitize=vptr,null,object-size -fno-sanitize-recover=all)
  target_link_options(ttt_options INTERFACE -fsanitize=address,undefined)
  # The libraries of the readers that tests/fuzz drives count their branches for libFuzzer; in the others that would only take time.
  set(TTT_FUZZED base arch config tokenizer data checkpoint)
endif()
find_program(TTT_MOLD mold)
if(TTT_MOLD)
  # Without a RELRO segment: that of Debian 12's mold (1.10; fixed in 2.4) can begin in a page that is not mapped, by chance of the
  # sections' sizes, and then the program does not start (github.com/rui314/mold/issues/1151).
  add_link_options(-fuse-ld=mold -Wl,-z,norelro)
endif()
find_program(TTT_CCACHE ccache)
if(TTT_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${TTT_CCACHE})
  add_compile_options(-fpch-preprocess)
endif()

# One precompiled header that every target built on torch reuses. Not <torch/torch.h>: its many module templates would be
# instantiated again in every file (17 s a file instead of 10).
if(NOT EXISTS ${CMAKE_BINARY_DIR}/torch_pch.cpp)
  file(WRITE ${CMAKE_BINARY_DIR}/torch_pch.cpp "")
endif()
add_library(ttt_torch_pch OBJECT ${CMAKE_BINARY_DIR}/torch_pch.cpp)
target_link_libraries(ttt_torch_pch PRIVATE ttt_options ttt_torch)
set(TTT_TORCH_HEADERS <ATen/ATen.h> <torch/csrc/autograd/custom_function.h> <torch/nn/module.h> <torch/types.h> <torch/utils.h>)
target_precompile_headers(ttt_torch_pch PRIVATE ${TTT_TORCH_HEADERS})

# Tests are built less optimised than what they test: a fifth of the compiler's time, and with sanitizers half of it.
set(TTT_TEST_OPTIMISATION $<$<CONFIG:Release>:-O1>)
set(TTT_TEST_PCH ttt_torch_pch)
if(TTT_SANITIZE)
  set(TTT_TEST_OPTIMISATION -O0)
  set(TTT_TEST_PCH ttt_test_pch)  # clang takes no header of another level
  add_library(ttt_test_pch OBJECT ${CMAKE_BINARY_DIR}/torch_pch.cpp)
  target_link_libraries(ttt_test_pch PRIVATE ttt_options ttt_torch)
  target_compile_options(ttt_test_pch PRIVATE -O0)
  target_precompile_headers(ttt_test_pch PRIVATE ${TTT_TORCH_HEADERS})
endif()

# Files of a library or test are compiled together, eight at a time: at the end of a file g++ instantiates what LibTorch's headers use,
# four seconds for a file that uses nothing. So no two of them may have the same name in their unnamed namespaces.
option(TTT_UNITY "compile several files at once; OFF: one by one, faster where single files change" ON)
set(CMAKE_UNITY_BUILD ${TTT_UNITY})
set(CMAKE_UNITY_BUILD_BATCH_SIZE 8)
if(TTT_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  add_compile_options(-Wno-subobject-linkage)  # a .cpp file's own classes, which g++ takes for a header's
endif()

# ttt_library(NAME [TORCH] [EXCLUDE pattern] LINK libs...): the static library ttt_NAME from every .cpp under src/NAME.
# TORCH: its files may include torch, through the precompiled header. EXCLUDE: leaves out files whose path matches.
function(ttt_library name)
  cmake_parse_arguments(ARG "TORCH" "EXCLUDE" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  if(ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX ${ARG_EXCLUDE})
  endif()
  if(sources)
    add_library(ttt_${name} STATIC ${sources})
    target_link_libraries(ttt_${name} PUBLIC ttt_options ${ARG_LINK})
    if(TTT_SANITIZE AND name IN_LIST TTT_FUZZED)
      target_compile_options(ttt_${name} PRIVATE -fsanitize-coverage=inline-8bit-counters,indirect-calls,trace-cmp,pc-table)
    endif()
    if(ARG_TORCH)
      target_link_libraries(ttt_${name} PUBLIC ttt_torch)
      target_precompile_headers(ttt_${name} REUSE_FROM ttt_torch_pch)
    endif()
  else()
    add_library(ttt_${name} INTERFACE)
    target_link_libraries(ttt_${name} INTERFACE ttt_options ${ARG_LINK})
  endif()
endfunction()

# ttt_test(NAME [TORCH] [SHARDED suites...] LINK libs...): the GoogleTest binary NAME_tests from every *_test.cpp under tests/NAME,
# each case a ctest. SHARDED: of these suites (Mixers/Law), which have many short cases, eight ctests have a share each: one process
# for a case would take most of its time to load LibTorch.
function(ttt_test name)
  cmake_parse_arguments(ARG "TORCH" "" "LINK;SHARDED" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${name}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_tests ${sources})
  target_link_libraries(${name}_tests PRIVATE ${ARG_LINK} ttt_test_base)
  if(ARG_TORCH)
    target_link_libraries(${name}_tests PRIVATE ttt_test_support ttt_torch)  # with a main() of its own
    target_precompile_headers(${name}_tests REUSE_FROM ${TTT_TEST_PCH})
  else()
    target_link_libraries(${name}_tests PRIVATE GTest::gtest_main)
  endif()
  target_compile_options(${name}_tests PRIVATE ${TTT_TEST_OPTIMISATION})
  add_dependencies(unit_tests ${name}_tests)
  set(others)
  if(ARG_SHARDED)
    list(TRANSFORM ARG_SHARDED APPEND ".*" OUTPUT_VARIABLE sharded)
    list(JOIN sharded ":" sharded)
    set(others TEST_FILTER "-${sharded}")
  endif()
  # Names without parameters' values and types: those have spaces, which break ctest's record of times, and addresses, which change.
  gtest_discover_tests(${name}_tests TEST_PREFIX ${name}. ${others} NO_PRETTY_TYPES NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
                       PROPERTIES TIMEOUT 600)
  foreach(suite ${ARG_SHARDED})
    foreach(index RANGE 0 7)
      math(EXPR number "${index} + 1")
      set(shard ${name}.${suite}.shard${number}of8)
      add_test(NAME ${shard} COMMAND ${name}_tests --gtest_filter=${suite}.*)
      # Where the suite has another name now, its cases are among the others, and this says so.
      set_tests_properties(${shard} PROPERTIES ENVIRONMENT "GTEST_TOTAL_SHARDS=8;GTEST_SHARD_INDEX=${index}" TIMEOUT 600 COST 50
                           FAIL_REGULAR_EXPRESSION "Running 0 tests")
    endforeach()
  endforeach()
endfunction()
