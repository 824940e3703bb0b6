# Imported target densityd::torch: libtorch_cpu.so and libc10.so, linked directly.
#
# find_package(Torch) is not used: on the PyPI wheel it insists on a CUDA toolkit even for a CPU build. The folder is
# looked for in DENSITYD_LIBTORCH (variable or environment), CMAKE_PREFIX_PATH and the cache folder of scripts/setup.
find_path(DENSITYD_LIBTORCH include/torch/csrc/api/include/torch/torch.h
  HINTS $ENV{DENSITYD_LIBTORCH} ${CMAKE_PREFIX_PATH}
        $ENV{XDG_CACHE_HOME}/densityd/libtorch-2.11.0/torch $ENV{HOME}/.cache/densityd/libtorch-2.11.0/torch
  NO_DEFAULT_PATH DOC "LibTorch folder, with include/ and lib/ in it")
if(NOT DENSITYD_LIBTORCH)
  message(FATAL_ERROR "LibTorch was not found. Run ./scripts/setup, or set DENSITYD_LIBTORCH to the folder of LibTorch "
                      "2.4 or newer (the one with include/ and lib/).")
endif()

# LibTorch ships headers of protobuf 3.13 in include/google, which would shadow the system's. A folder of links to
# everything else keeps them out whichever LibTorch it is.
set(libtorch_include ${PROJECT_BINARY_DIR}/libtorch-include)
file(REMOVE_RECURSE ${libtorch_include})
file(MAKE_DIRECTORY ${libtorch_include})
file(GLOB libtorch_headers RELATIVE ${DENSITYD_LIBTORCH}/include ${DENSITYD_LIBTORCH}/include/*)
list(REMOVE_ITEM libtorch_headers google)
foreach(entry IN LISTS libtorch_headers)
  file(CREATE_LINK ${DENSITYD_LIBTORCH}/include/${entry} ${libtorch_include}/${entry} SYMBOLIC)
endforeach()

add_library(densityd::torch INTERFACE IMPORTED)
target_include_directories(densityd::torch SYSTEM INTERFACE
  ${libtorch_include} ${libtorch_include}/torch/csrc/api/include)
target_link_libraries(densityd::torch INTERFACE
  ${DENSITYD_LIBTORCH}/lib/libtorch_cpu.so ${DENSITYD_LIBTORCH}/lib/libc10.so)
if(DENSITYD_CUDA)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  target_link_libraries(densityd::torch INTERFACE
    -Wl,--no-as-needed ${DENSITYD_LIBTORCH}/lib/libtorch_cuda.so ${DENSITYD_LIBTORCH}/lib/libc10_cuda.so
    -Wl,--as-needed CUDA::cudart)
endif()
# Which C++ ABI of std::string the library was built with.
if(EXISTS ${DENSITYD_LIBTORCH}/share/cmake/Torch/TorchConfig.cmake)
  file(STRINGS ${DENSITYD_LIBTORCH}/share/cmake/Torch/TorchConfig.cmake libtorch_old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
  if(libtorch_old_abi)
    message(FATAL_ERROR "${DENSITYD_LIBTORCH} was built with the old C++ ABI; take a build with the CXX11 ABI.")
  endif()
endif()
message(STATUS "LibTorch: ${DENSITYD_LIBTORCH}")
