# densityd_library and densityd_test: targets with the project's warnings and sanitizers.

add_library(densityd_options INTERFACE)
target_include_directories(densityd_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(densityd_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>>)
if(DENSITYD_FUZZ)
  target_compile_options(densityd_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=fuzzer-no-link>)
endif()
if(DENSITYD_SANITIZE)
  target_compile_options(densityd_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${DENSITYD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  target_link_options(densityd_options INTERFACE -fsanitize=${DENSITYD_SANITIZE})
  if(DENSITYD_SANITIZE MATCHES "thread")
    # Protobuf's messages have one field more where this macro is defined, and the system's library is built without it.
    target_compile_options(densityd_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-U__SANITIZE_THREAD__>)
    target_compile_definitions(densityd_options INTERFACE DENSITYD_SANITIZE_THREAD)
    add_library(densityd_tsan STATIC ${PROJECT_SOURCE_DIR}/cmake/tsan_absl.cc ${PROJECT_SOURCE_DIR}/cmake/tsan_grpc.cc)
    target_compile_options(densityd_tsan PRIVATE -fsanitize=thread)
    target_link_libraries(densityd_tsan PUBLIC absl::synchronization ${CMAKE_DL_LIBS})
    target_link_libraries(densityd_options INTERFACE densityd_tsan)
    foreach(function IN ITEMS
            4LockEv 6UnlockEv 10ReaderLockEv 12ReaderUnlockEv 8LockWhenERKNS0_9ConditionE 5AwaitERKNS0_9ConditionE
            16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE 17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE)
      target_link_options(densityd_options INTERFACE
        LINKER:--wrap=_ZN4absl7debian35Mutex${function},--undefined=__wrap__ZN4absl7debian35Mutex${function})
    endforeach()
    foreach(function IN ITEMS ZN4absl7debian312Notification6NotifyEv ZNK4absl7debian312Notification19WaitForNotificationEv
            ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE)
      target_link_options(densityd_options INTERFACE LINKER:--wrap=_${function},--undefined=__wrap__${function})
    endforeach()
    target_link_options(densityd_options INTERFACE LINKER:--undefined=grpc_completion_queue_next)
  endif()
endif()

# Vector kernels, compiled once per target of Highway. They are built for speed in every configuration: unoptimised
# intrinsics make tests crawl. Contraction is off because each fused multiply-add is written out; the compiler adding
# others would make the bits depend on the target. Sanitizers instrument every vector of the register blocks: at -O3
# the engine's was not compiled after eight minutes. GCC takes the 64-bin form of a spline, whose loops it does not
# unroll, for one that reads what was not written.
if(DENSITYD_SANITIZE)
  set(DENSITYD_KERNEL_OPTIONS -O1)
else()
  set(DENSITYD_KERNEL_OPTIONS -O3)
endif()
list(APPEND DENSITYD_KERNEL_OPTIONS -ffp-contract=off -Wno-maybe-uninitialized)
# Highway 1.0 has NEON with this extension only, and structures of vectors want it for the whole file.
set(DENSITYD_NEON_OPTIONS -march=armv8-a+crypto)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  list(APPEND DENSITYD_KERNEL_OPTIONS ${DENSITYD_NEON_OPTIONS})
endif()

# Seconds until a test counts as hung: many times what any takes.
set(DENSITYD_TEST_TIMEOUT 600)
if(DENSITYD_SANITIZE)
  set(DENSITYD_TEST_TIMEOUT 3600)
endif()

# densityd_library(name SOURCES file... [DEPS target...])
# A static library; headers are included from the project's root.
function(densityd_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_DEPS} PRIVATE densityd_options)
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
endfunction()

# densityd_precompile(name HEADER...)
# With DENSITYD_PRECOMPILE the headers of other projects that most of a target's files include are compiled once: three
# quarters of the time that a file with LibTorch takes. For builds that are made as a whole, such as those with
# sanitizers; what is not included would go unnoticed, clang-tidy cannot read GCC's headers, and ccache does not find
# again what was compiled with them.
function(densityd_precompile name)
  if(DENSITYD_PRECOMPILE)
    target_precompile_headers(${name} PRIVATE ${ARGN})
  endif()
endfunction()

# densityd_test(name SOURCES file... [DEPS target...])
# A GoogleTest program, registered with CTest test by test.
function(densityd_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE densityd_options ${arg_DEPS} GTest::gmock_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_compile_definitions(${name} PRIVATE
    DENSITYD_SOURCE_DIR="${PROJECT_SOURCE_DIR}" DENSITYD_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${DENSITYD_TEST_TIMEOUT} ENVIRONMENT
    "OMP_NUM_THREADS=1;TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/tsan_suppressions.txt")
endfunction()
