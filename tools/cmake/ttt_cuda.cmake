# The .cu files under src/kernels/cuda, compiled twice.
#
# ttt_cuda_emulated: by the C++ compiler, for tests: kernels run by emulated lanes.
# ttt_cuda_gpu: by nvcc where there is one, for TTT_CUDA_ARCHS: machine code for each, and PTX of the first, which is
# what later GPUs compile. By default A100 (80) and Hopper (90a); kernels use nothing that came after sm_80. The assembler's
# registers and spills go to build/ptxas/NAME.log and from there into the program. With TTT_STRICT, which the tests' build sets, nvcc's
# warnings are errors and tools/check_ptxas.sh fails the build where a hot kernel spills. nvcc is called by itself: CMake's CUDA language wants a working toolkit before it configures. The program links this library where it
# links LibTorch's CUDA half.
set(TTT_CUDA_ARCHS 80 90a CACHE STRING "GPU architectures with machine code of their own, such as 80;90a;100;120; the first as PTX, too")

function(ttt_cuda_kernels)
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/cuda/*.cu)
  if(TTT_TESTS)
    set_source_files_properties(${kernels} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
    add_library(ttt_cuda_emulated STATIC EXCLUDE_FROM_ALL ${kernels})
    target_link_libraries(ttt_cuda_emulated PUBLIC ttt_kernels)
  endif()
  if(NOT nvcc OR TTT_SANITIZE)
    return()
  endif()
  # -O1 is for the host's code, which only launches; the GPU's is at -O3 unless told otherwise.
  set(flags -std=c++20 -O1 -Xptxas -v -Xcompiler=-Wall,-Wextra)
  list(GET TTT_CUDA_ARCHS 0 oldest)
  foreach(arch ${TTT_CUDA_ARCHS})
    if(arch STREQUAL oldest)
      list(APPEND flags -gencode arch=compute_${arch},code=[sm_${arch},compute_${arch}])
    else()
      list(APPEND flags -gencode arch=compute_${arch},code=sm_${arch})
    endif()
  endforeach()
  set(gate true)
  if(TTT_STRICT)
    list(APPEND flags -Werror all-warnings)
    set(gate ${CMAKE_SOURCE_DIR}/tools/check_ptxas.sh)
  endif()
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/ptxas)
  foreach(source ${kernels})
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_BINARY_DIR}/ptxas/${name}.o)
    set(log ${CMAKE_BINARY_DIR}/ptxas/${name}.log)
    add_custom_command(
      OUTPUT ${object} BYPRODUCTS ${log} DEPENDS ${source} ${CMAKE_SOURCE_DIR}/tools/check_ptxas.sh DEPFILE ${object}.d
      COMMAND bash -c "'${nvcc}' \"$@\" >'${log}' 2>&1 || { cat '${log}' >&2; exit 1; }" nvcc
              ${flags} -I${CMAKE_SOURCE_DIR}/src -MD -MF ${object}.d -c ${source} -o ${object}
      COMMAND ${gate} ${log}
      COMMENT "nvcc ${name}.cu" VERBATIM)
    list(APPEND objects ${object})
    list(APPEND logs ${log})
  endforeach()
  set(table ${CMAKE_BINARY_DIR}/ptxas/kernel_resources.cpp)
  add_custom_command(
    OUTPUT ${table} DEPENDS ${objects} ${CMAKE_SOURCE_DIR}/tools/ptxas_table.sh
    COMMAND bash -c "'${CMAKE_SOURCE_DIR}/tools/ptxas_table.sh' \"$@\" >'${table}'" ptxas_table ${logs} VERBATIM)
  add_library(ttt_cuda_gpu STATIC ${objects} ${table} ${CMAKE_SOURCE_DIR}/src/kernels/cuda/gpu/kernel_resources.cpp)
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  target_link_libraries(ttt_cuda_gpu PUBLIC ttt_kernels)
  target_include_directories(ttt_cuda_gpu SYSTEM PRIVATE ${TTT_CUDA_INCLUDE})
  find_library(TTT_CUDART NAMES cudart libcudart.so.13 HINTS ${cuda_home}/lib64 ${cuda_home}/lib ${site}/nvidia/cu13/lib)
  if(TTT_CUDA_ENABLED)
    target_link_libraries(ttt_cuda_gpu PUBLIC ${TTT_CUDART})
  endif()
endfunction()
