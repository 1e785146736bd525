# What base/build_info.cpp reports: versions known now, and the git revision, looked up at every build.
set(cuda_release "")
if(TTT_CUDA_ENABLED AND nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE nvcc_version)
  string(REGEX MATCH "release ([0-9.]+)" _ "${nvcc_version}")
  set(cuda_release "${CMAKE_MATCH_1}")
endif()
set_source_files_properties(src/base/build_info.cpp PROPERTIES COMPILE_DEFINITIONS
  "TTT_VERSION=\"${PROJECT_VERSION}\";TTT_BUILD_TYPE=\"${CMAKE_BUILD_TYPE}\";TTT_SANITIZERS=\"$<$<BOOL:${TTT_SANITIZE}>:address,undefined>\";TTT_LIBTORCH_VERSION=\"${torch_version}\";TTT_CUDA_VERSION=\"${cuda_release}\"")
set(revision_header ${CMAKE_BINARY_DIR}/generated/base/git_revision.h)
add_custom_target(ttt_git_revision BYPRODUCTS ${revision_header} COMMENT ""
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DHEADER=${revision_header} -P ${CMAKE_SOURCE_DIR}/tools/cmake/git_revision.cmake)
add_dependencies(ttt_base ttt_git_revision)
set_source_files_properties(src/base/build_info.cpp PROPERTIES INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/generated)
