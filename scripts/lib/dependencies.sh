# LibTorch and the google.rpc protos, in the user's cache folder. Source after common.sh and wheels.sh.

LIBTORCH_VERSION=2.11.0
LIBTORCH_FOLDER="$CACHE_ROOT/libtorch-$LIBTORCH_VERSION"
COMMON_PROTOS_VERSION=1.76.0
COMMON_PROTOS_FOLDER="$CACHE_ROOT/googleapis-common-protos-$COMMON_PROTOS_VERSION"

# Fetches LibTorch unless the caller brings another one, and the google.rpc protos.
install_dependencies() {
  local downloads="$CACHE_ROOT/downloads" torch runtime cupti protos
  if [ -n "${DENSITYD_LIBTORCH:-}" ]; then
    echo "    LibTorch: $DENSITYD_LIBTORCH (DENSITYD_LIBTORCH)"
  elif [ -n "${CMAKE_PREFIX_PATH:-}" ] && ls ${CMAKE_PREFIX_PATH//[:;]/ }/lib/libtorch_cpu.so >/dev/null 2>&1; then
    echo "    LibTorch: from CMAKE_PREFIX_PATH"
  elif [ ! -d "$LIBTORCH_FOLDER" ]; then
    torch="$(fetch_wheel torch==$LIBTORCH_VERSION 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a "$downloads")"
    # Even libtorch_cpu.so of this wheel links the CUDA runtime and CUPTI.
    runtime="$(fetch_wheel nvidia-cuda-runtime==13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 "$downloads")"
    cupti="$(fetch_wheel nvidia-cuda-cupti==13.0.85 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8 "$downloads")"
    unpack_once "$LIBTORCH_FOLDER" "$torch" "$runtime" "$cupti"
    rm -f "$torch" "$runtime" "$cupti"
    echo "    LibTorch $LIBTORCH_VERSION: $LIBTORCH_FOLDER"
  else
    echo "    LibTorch $LIBTORCH_VERSION: $LIBTORCH_FOLDER (already there)"
  fi
  if [ ! -d "$COMMON_PROTOS_FOLDER" ]; then
    protos="$(fetch_wheel googleapis-common-protos==$COMMON_PROTOS_VERSION 59e13344a9f3651aa201a03e2bee815a3bf43a4baf1f9ff8a9b62a840ce25fac "$downloads")"
    unpack_once "$COMMON_PROTOS_FOLDER" "$protos"
    rm -f "$protos"
  fi
}
