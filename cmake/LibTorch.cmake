# Imported target densityd::torch: libtorch_cpu.so and libc10.so, linked directly; with DENSITYD_CUDA the CUDA ones too.
#
# find_package(Torch) is not used: on the PyPI wheel it insists on a CUDA toolkit even for a CPU build. The folder (the
# one with include/ and lib/ in it) is DENSITYD_LIBTORCH (CMake variable or environment) where that is set. Otherwise it
# is looked for in CMAKE_PREFIX_PATH and then in the cache folder of scripts/setup.
if(DEFINED ENV{DENSITYD_LIBTORCH})
  set(DENSITYD_LIBTORCH $ENV{DENSITYD_LIBTORCH} CACHE PATH "LibTorch folder" FORCE)
elseif(NOT DENSITYD_LIBTORCH)
  set(torch_folders ${CMAKE_PREFIX_PATH})
  foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
    list(APPEND torch_folders ${prefix}/../..)  # torch.utils.cmake_prefix_path is <torch>/share/cmake
  endforeach()
  find_path(DENSITYD_LIBTORCH lib/libtorch_cpu.so
    HINTS ${torch_folders} ENV CMAKE_PREFIX_PATH ${DENSITYD_CACHE}/libtorch-2.11.0/torch
    NO_DEFAULT_PATH DOC "LibTorch folder, with include/ and lib/ in it")
endif()
set(torch_config ${DENSITYD_LIBTORCH}/share/cmake/Torch)
set(PACKAGE_VERSION "")
include(${torch_config}/TorchConfigVersion.cmake OPTIONAL)
set(torch_old_abi "")
if(EXISTS ${torch_config}/TorchConfig.cmake)
  file(STRINGS ${torch_config}/TorchConfig.cmake torch_old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
endif()
set(torch_folder ${DENSITYD_LIBTORCH})
if(NOT EXISTS ${torch_folder}/lib/libtorch_cpu.so OR PACKAGE_VERSION VERSION_LESS 2.4 OR torch_old_abi)
  unset(DENSITYD_LIBTORCH CACHE)
  message(FATAL_ERROR "LibTorch 2.4 or newer with the C++11 ABI is not in '${torch_folder}'. Run ./scripts/setup, or set "
                      "DENSITYD_LIBTORCH to its folder (the one with include/, lib/ and share/ in it).")
endif()
message(STATUS "LibTorch ${PACKAGE_VERSION}: ${DENSITYD_LIBTORCH}")

# LibTorch ships headers of protobuf 3.13 in include/google, which would shadow the system's. A folder of links to
# everything else keeps them out whichever LibTorch it is.
set(torch_include ${PROJECT_BINARY_DIR}/libtorch-include)
file(REMOVE_RECURSE ${torch_include})
file(MAKE_DIRECTORY ${torch_include})
file(GLOB torch_headers RELATIVE ${DENSITYD_LIBTORCH}/include ${DENSITYD_LIBTORCH}/include/*)
list(REMOVE_ITEM torch_headers google)
foreach(entry IN LISTS torch_headers)
  file(CREATE_LINK ${DENSITYD_LIBTORCH}/include/${entry} ${torch_include}/${entry} SYMBOLIC)
endforeach()

add_library(densityd::torch INTERFACE IMPORTED)
target_include_directories(densityd::torch SYSTEM INTERFACE ${torch_include} ${torch_include}/torch/csrc/api/include)
target_link_libraries(densityd::torch INTERFACE
  ${DENSITYD_LIBTORCH}/lib/libtorch_cpu.so ${DENSITYD_LIBTORCH}/lib/libc10.so)

if(DENSITYD_CUDA)
  if(NOT EXISTS ${DENSITYD_LIBTORCH}/lib/libtorch_cuda.so)
    message(FATAL_ERROR "LibTorch in '${DENSITYD_LIBTORCH}' is for CPUs only; DENSITYD_CUDA needs one with "
                        "lib/libtorch_cuda.so.")
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  # Registered by their static initialisers, so they must stay although no symbol of theirs is called. The libraries
  # that they load in turn (cuBLAS, cuDNN, NCCL …) are needed where the program runs, not where it is linked.
  target_link_libraries(densityd::torch INTERFACE
    -Wl,--push-state,--no-as-needed ${DENSITYD_LIBTORCH}/lib/libtorch_cuda.so ${DENSITYD_LIBTORCH}/lib/libc10_cuda.so
    -Wl,--pop-state CUDA::cudart)
  target_link_options(densityd::torch INTERFACE -Wl,--allow-shlib-undefined)
endif()
