# cmake --install BUILD --prefix PREFIX --component server: bin/densityd, bin/densityctl and, in lib/densityd, the parts
# of LibTorch that they load. The rest comes from the system's packages (see the Dockerfile).
set(private_libraries ${CMAKE_INSTALL_LIBDIR}/densityd)
set_target_properties(densityd PROPERTIES INSTALL_RPATH "$ORIGIN/../${private_libraries}")
install(TARGETS densityd densityctl RUNTIME COMPONENT server)

set(torch_libraries libtorch_cpu.so libc10.so libgomp.so.1)
if(DENSITYD_CUDA)
  list(APPEND torch_libraries libtorch_cuda.so libc10_cuda.so)
endif()
foreach(library IN LISTS torch_libraries)
  if(EXISTS ${DENSITYD_LIBTORCH}/lib/${library})
    install(FILES ${DENSITYD_LIBTORCH}/lib/${library} DESTINATION ${private_libraries} COMPONENT server)
  endif()
endforeach()
# The CUDA runtime and CUPTI, which libtorch_cpu.so of the PyPI wheel needs too; they lie beside it there.
file(GLOB cuda_libraries ${DENSITYD_LIBTORCH}/../nvidia/cu13/lib/libcudart.so.* ${DENSITYD_LIBTORCH}/../nvidia/cu13/lib/libcupti.so.*)
install(FILES ${cuda_libraries} DESTINATION ${private_libraries} COMPONENT server)
