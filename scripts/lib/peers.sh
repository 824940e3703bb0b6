# What the benchmarks compare with: Python libraries in a virtual environment in the user's cache folder, and a matrix
# product. Source after common.sh.

PEERS_FOLDER="$CACHE_ROOT/peers-1"
PEERS_REQUIREMENTS=(
  torch==2.11.0 zuko==1.6.0 nflows==0.14 normflows==1.7.3 numpy==2.2.6 matplotlib==3.10.0 grpcio==1.76.0
  grpcio-tools==1.76.0
)

# Anomaly detectors, for `bench quality` alone.
DETECTOR_REQUIREMENTS=(scikit-learn==1.7.2)

# oneDNN, whose matrix product is the engine's yardstick.
PEERS_PACKAGES=(libdnnl-dev python3-venv)

# install_peers: makes the environment unless it is there, all or nothing. About 5 GB.
install_peers() {
  if [ -x "$PEERS_FOLDER/bin/python" ]; then
    echo "    peers: $PEERS_FOLDER (already there)"
    return
  fi
  echo "    installing ${PEERS_REQUIREMENTS[*]}"
  rm -rf "$PEERS_FOLDER.partial"
  python3 -m venv "$PEERS_FOLDER.partial"
  "$PEERS_FOLDER.partial/bin/pip" install --quiet --disable-pip-version-check "${PEERS_REQUIREMENTS[@]}"
  mv -T "$PEERS_FOLDER.partial" "$PEERS_FOLDER"
}

# install_detectors: into the same environment.
install_detectors() {
  "$PEERS_FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check "${DETECTOR_REQUIREMENTS[@]}"
}
