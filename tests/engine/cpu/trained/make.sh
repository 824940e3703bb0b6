#!/usr/bin/env bash
# Trains the models of trained_test.cc anew: make.sh BIN, where BIN holds densityd and densityctl. Some minutes.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../../../.." && pwd)"
source "$root/scripts/lib/common.sh"
source "$root/scripts/lib/server.sh"
bin="${1:?usage: make.sh BIN}"
trap stop_server_now EXIT

start_server "$bin/densityd" /dev/null
train() {
  local name="$1"
  shift
  "$bin/densityctl" --server "$SERVER_ADDRESS" train "$name" --data "$root/examples/power/power.csv" --hidden 32,32 \
    --steps 4000 "$@"
  python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["spec"]))' \
    <"$SERVER_ROOT/root/models/$name/1/manifest.json" >"$here/$name.json"
  cp "$SERVER_ROOT/root/models/$name/1/weights.safetensors" "$here/$name.safetensors"
}
train realnvp --preset realnvp --transforms 6
train maf --preset maf --transforms 4
train coupling --preset nsf_coupling --transforms 4
train autoregressive --preset nsf_ar --transforms 3
stop_server
