# Libraries of the system (Debian 12 names in scripts/lib/packages.sh) and the google.rpc protos.
find_package(Threads REQUIRED)
# A LibTorch in CMAKE_PREFIX_PATH brings headers of protobuf 3.13, which must not be taken for the system's.
find_path(Protobuf_INCLUDE_DIR google/protobuf/message.h NO_CMAKE_PATH NO_CMAKE_ENVIRONMENT_PATH)
find_package(Protobuf REQUIRED)
find_package(absl REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(spdlog CONFIG REQUIRED)
if(DENSITYD_BUILD_SERVER)
  find_package(prometheus-cpp CONFIG REQUIRED)
  find_package(hwy CONFIG REQUIRED)
  if(DENSITYD_BUILD_TESTS)
    find_package(GTest CONFIG REQUIRED)
    # Debian's, which sees Debian's Python packages, and not one that happens to come first in PATH.
    if(NOT DEFINED Python3_EXECUTABLE AND EXISTS /usr/bin/python3)
      set(Python3_EXECUTABLE /usr/bin/python3)
    endif()
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
  endif()
endif()

# Where scripts/setup keeps what it downloads.
if(DEFINED ENV{XDG_CACHE_HOME})
  set(DENSITYD_CACHE $ENV{XDG_CACHE_HOME}/densityd)
else()
  set(DENSITYD_CACHE $ENV{HOME}/.cache/densityd)
endif()

find_path(DENSITYD_COMMON_PROTOS google/rpc/error_details.proto
  HINTS $ENV{DENSITYD_COMMON_PROTOS} ${DENSITYD_CACHE}/googleapis-common-protos-1.76.0
  DOC "Folder that holds google/rpc/error_details.proto")
if(NOT DENSITYD_COMMON_PROTOS)
  message(FATAL_ERROR "google/rpc/error_details.proto was not found. Run ./scripts/setup, or set DENSITYD_COMMON_PROTOS "
                      "to a folder that holds it.")
endif()
