# ttt_cuda_kernels(): every .cu under src/kernels/cuda through nvcc, warnings as errors, for A100 (sm_80), Hopper (sm_90a) and, as PTX, what comes
# after. The assembler's registers and spills go to build/ptxas/NAME.log, and tools/check_ptxas.sh fails the build where a hot kernel spills.
# nvcc is called by itself: CMake's CUDA language wants a working toolkit before it configures, and these files need nothing but their headers.
function(ttt_cuda_kernels)
  if(NOT TTT_NVCC)
    return()
  endif()
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/cuda/*.cu)
  set(flags -std=c++20 -O3 -Xptxas -v -Xcompiler=-Wall,-Wextra
      -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a -gencode arch=compute_90,code=compute_90)
  if(TTT_WERROR)
    list(APPEND flags -Werror all-warnings)
  endif()
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/ptxas)
  foreach(source ${kernels})
    get_filename_component(name ${source} NAME_WE)
    set(object ${CMAKE_BINARY_DIR}/ptxas/${name}.o)
    set(log ${CMAKE_BINARY_DIR}/ptxas/${name}.log)
    add_custom_command(
      OUTPUT ${object} DEPENDS ${source} ${CMAKE_SOURCE_DIR}/tools/check_ptxas.sh DEPFILE ${object}.d
      COMMAND bash -c "'${TTT_NVCC}' \"$@\" >'${log}' 2>&1 || { cat '${log}' >&2; exit 1; }" nvcc
              ${flags} -I${CMAKE_SOURCE_DIR}/src -MD -MF ${object}.d -c ${source} -o ${object}
      COMMAND ${CMAKE_SOURCE_DIR}/tools/check_ptxas.sh ${log}
      COMMENT "nvcc ${name}.cu" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  add_custom_target(ttt_cuda_kernels ALL DEPENDS ${objects})
endfunction()
