# Configures and builds a CMake preset. Source after common.sh.

# configure PRESET [CMAKE-ARGUMENT...]
configure() {
  local preset="$1"
  shift
  cmake -S "$PROJECT_ROOT" --preset "$preset" "$@" >/dev/null
}

# build PRESET [TARGET...]: shows ninja's progress on a terminal, and one line per file that has something to say
# elsewhere.
build() {
  local preset="$1" targets=()
  shift
  [ "$#" -eq 0 ] || targets=(--target "$@")
  if [ -t 1 ]; then
    cmake --build "$PROJECT_ROOT/build/$preset" "${targets[@]}"
  else
    cmake --build "$PROJECT_ROOT/build/$preset" "${targets[@]}" -- --quiet
  fi
}

# find_nvcc: prints the CUDA compiler's path; fails where there is none.
find_nvcc() {
  command -v nvcc || { [ -x /usr/local/cuda/bin/nvcc ] && echo /usr/local/cuda/bin/nvcc; }
}

# libtorch_folder PRESET: prints the LibTorch that the preset was configured with.
libtorch_folder() {
  sed -n 's/^DENSITYD_LIBTORCH:[A-Z]*=//p' "$PROJECT_ROOT/build/$1/CMakeCache.txt"
}
