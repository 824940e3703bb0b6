# LibTorch, the google.rpc protos and the checker of Kubernetes files, in the user's cache folder. Source after common.sh and wheels.sh.

LIBTORCH_VERSION=2.11.0
LIBTORCH_FOLDER="$CACHE_ROOT/libtorch-$LIBTORCH_VERSION"
COMMON_PROTOS_VERSION=1.76.0
COMMON_PROTOS_FOLDER="$CACHE_ROOT/googleapis-common-protos-$COMMON_PROTOS_VERSION"
KUBERNETES_VALIDATE_VERSION=1.28.3
KUBERNETES_VALIDATE_FOLDER="$CACHE_ROOT/kubernetes-validate-$KUBERNETES_VALIDATE_VERSION"
DOWNLOADS="$CACHE_ROOT/downloads"

# Says which LibTorch the user brings, if any. cmake/LibTorch.cmake is what finds and checks it.
foreign_libtorch() {
  local folder prefixes="${CMAKE_PREFIX_PATH:-}"
  if [ -n "${DENSITYD_LIBTORCH:-}" ]; then
    echo "$DENSITYD_LIBTORCH (DENSITYD_LIBTORCH)"
    return
  fi
  for folder in ${prefixes//[:;]/ }; do
    if [ -e "$folder/lib/libtorch_cpu.so" ] || [ -e "$folder/../../lib/libtorch_cpu.so" ]; then
      echo "$folder (CMAKE_PREFIX_PATH)"
      return
    fi
  done
}

# Fetches LibTorch unless it is there or the user brings another one.
install_libtorch() {
  local foreign torch runtime cupti
  foreign="$(foreign_libtorch)"
  if [ -n "$foreign" ]; then
    echo "    LibTorch: $foreign"
  elif [ -d "$LIBTORCH_FOLDER" ]; then
    echo "    LibTorch $LIBTORCH_VERSION: $LIBTORCH_FOLDER (already there)"
  else
    torch="$(fetch_wheel torch==$LIBTORCH_VERSION 7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a "$DOWNLOADS")"
    # Even libtorch_cpu.so of this wheel links the CUDA runtime and CUPTI.
    runtime="$(fetch_wheel nvidia-cuda-runtime==13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548 "$DOWNLOADS")"
    cupti="$(fetch_wheel nvidia-cuda-cupti==13.0.85 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8 "$DOWNLOADS")"
    unpack_once "$LIBTORCH_FOLDER" "$torch" "$runtime" "$cupti"
    rm -f "$torch" "$runtime" "$cupti"
    echo "    LibTorch $LIBTORCH_VERSION: $LIBTORCH_FOLDER"
  fi
}

# Fetches the protos of google.rpc, which carry error details.
install_common_protos() {
  local protos
  if [ ! -d "$COMMON_PROTOS_FOLDER" ]; then
    protos="$(fetch_wheel googleapis-common-protos==$COMMON_PROTOS_VERSION 59e13344a9f3651aa201a03e2bee815a3bf43a4baf1f9ff8a9b62a840ce25fac "$DOWNLOADS")"
    unpack_once "$COMMON_PROTOS_FOLDER" "$protos"
    rm -f "$protos"
  fi
  echo "    google.rpc protos $COMMON_PROTOS_VERSION: $COMMON_PROTOS_FOLDER"
}

# Fetches kubernetes-validate, with the schemas in it; what it imports comes from Debian. This is the newest version
# that runs with Debian 12's jsonschema.
install_kubernetes_validate() {
  local wheel
  if [ ! -d "$KUBERNETES_VALIDATE_FOLDER" ]; then
    wheel="$(fetch_wheel kubernetes-validate==$KUBERNETES_VALIDATE_VERSION 916b8539c570958ca4742a09d42c9a29b7b89bfb3a04972a40abfa63f797b850 "$DOWNLOADS")"
    unpack_once "$KUBERNETES_VALIDATE_FOLDER" "$wheel"
    rm -f "$wheel"
  fi
  echo "    kubernetes-validate $KUBERNETES_VALIDATE_VERSION: $KUBERNETES_VALIDATE_FOLDER"
}
