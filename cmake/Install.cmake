# cmake --install BUILD --prefix PREFIX --component server: bin/densityd, bin/densityctl and, in lib/.../densityd, the
# parts of LibTorch that they load. The rest comes from the system's packages (the Dockerfile names them). The component
# `client` is described in client/CMakeLists.txt.
set(private_libraries ${CMAKE_INSTALL_LIBDIR}/densityd)
set_target_properties(densityd PROPERTIES INSTALL_RPATH "$ORIGIN/../${private_libraries}")
install(TARGETS densityd densityctl RUNTIME COMPONENT server)

set(torch_libraries libtorch_cpu.so libc10.so)
if(DENSITYD_CUDA)
  list(APPEND torch_libraries libtorch_cuda.so libc10_cuda.so)
endif()
list(TRANSFORM torch_libraries PREPEND ${DENSITYD_LIBTORCH}/lib/)
# What those load from beside themselves: their own OpenMP runtime and, for the PyPI wheel, the CUDA runtime and CUPTI.
file(GLOB loaded_libraries ${DENSITYD_LIBTORCH}/lib/libgomp*.so*
  ${DENSITYD_LIBTORCH}/../nvidia/cu13/lib/libcudart.so.* ${DENSITYD_LIBTORCH}/../nvidia/cu13/lib/libcupti.so.*)
install(FILES ${torch_libraries} ${loaded_libraries} DESTINATION ${private_libraries} COMPONENT server)
