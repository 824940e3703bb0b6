# Debian packages that the project needs. Source after common.sh.

# Compilers and libraries to build with.
BUILD_PACKAGES=(
  build-essential ca-certificates ccache cmake libabsl-dev libbenchmark-dev libcli11-dev libgmock-dev libgrpc++-dev
  libgtest-dev libhwy-dev libprotobuf-dev libspdlog-dev libssl-dev ninja-build nlohmann-json3-dev pkg-config
  prometheus-cpp-dev protobuf-compiler protobuf-compiler-grpc python3 python3-pip
)
# What the tests, the lint and the demo call.
TOOL_PACKAGES=(
  clang-format clang-tidy curl g++-aarch64-linux-gnu git gnuplot-nox prometheus python3-grpcio
  python3-importlib-resources python3-jsonschema python3-numpy python3-packaging python3-protobuf
  python3-typing-extensions python3-yaml
)
# What `torture --fuzz` compiles with: clang brings libFuzzer and the sanitizers' run-time libraries.
FUZZ_PACKAGES=(clang libclang-rt-14-dev)
# kubectl also comes in packages of others, which exclude Debian's.
command -v kubectl >/dev/null || TOOL_PACKAGES+=(kubernetes-client)

# missing_packages NAME...: prints those that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    dpkg-query -W -f='${Status}\n' "$name" 2>/dev/null | grep -q '^install ok installed$' || printf '%s\n' "$name"
  done
}

# install_packages NAME...: installs what is missing, as root or through sudo.
install_packages() {
  local missing as_root=()
  command -v dpkg-query >/dev/null || fail "This is not a Debian system; install what the README lists, then build with CMake."
  mapfile -t missing < <(missing_packages "$@")
  if [ "${#missing[@]}" -eq 0 ]; then
    echo "    all ${#} packages are installed"
    return
  fi
  echo "    installing: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "Run as root, or install sudo: the packages above are missing."
    as_root=(sudo)
  fi
  run_quietly "$LOG_FOLDER/apt.log" "${as_root[@]}" apt-get update
  run_quietly "$LOG_FOLDER/apt.log" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}
