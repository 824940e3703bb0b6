# Debian packages that the project needs. Source after common.sh.

# Compilers and libraries to build with; tools that the tests and the demo call.
BUILD_PACKAGES=(
  build-essential ca-certificates ccache cmake git libabsl-dev libbenchmark-dev libcli11-dev libgmock-dev libgrpc++-dev
  libgtest-dev libhwy-dev libprotobuf-dev libspdlog-dev libssl-dev ninja-build nlohmann-json3-dev pkg-config
  prometheus-cpp-dev protobuf-compiler protobuf-compiler-grpc python3 python3-pip python3-venv unzip
)
TOOL_PACKAGES=(clang-format clang-tidy curl gnuplot-nox prometheus python3-grpcio python3-numpy python3-protobuf)

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
  mapfile -t missing < <(missing_packages "$@")
  if [ "${#missing[@]}" -eq 0 ]; then
    echo "    all ${#} packages are installed"
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Run as root, or install sudo: these packages are missing: ${missing[*]}" >&2; return 1; }
    as_root=(sudo)
  fi
  echo "    installing: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
