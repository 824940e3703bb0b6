# A server for the length of a script: free ports, a temporary folder. Source after common.sh.

SERVER_PID=""
SERVER_ROOT=""
SERVER_ADDRESS=""
METRICS_ADDRESS=""

# start_server BINARY LOG [FLAG...]: sets SERVER_ADDRESS and METRICS_ADDRESS once the server answers.
start_server() {
  local binary="$1" log="$2" addresses
  shift 2
  SERVER_ROOT="$(mktemp -d)"
  addresses="$SERVER_ROOT/addresses"
  "$binary" --root "$SERVER_ROOT/root" --address 127.0.0.1:0 --metrics-address 127.0.0.1:0 --port-file "$addresses" \
    "$@" >"$log" 2>&1 &
  SERVER_PID=$!
  for _ in $(seq 300); do
    [ ! -s "$addresses" ] || break
    kill -0 "$SERVER_PID" 2>/dev/null || { tail -n 20 "$log" >&2; fail "The server ended at once."; }
    sleep 0.1
  done
  [ -s "$addresses" ] || fail "The server did not start within 30 s."
  { read -r SERVER_ADDRESS && read -r METRICS_ADDRESS; } <"$addresses"
}

# stop_server: asks the server to stop, and fails unless it does so cleanly.
stop_server() {
  local status=0
  kill -TERM "$SERVER_PID"
  wait "$SERVER_PID" || status=$?
  SERVER_PID=""
  rm -rf "$SERVER_ROOT"
  [ "$status" -eq 0 ] || fail "The server ended with exit status $status."
}

# stop_server_now: for cleanup after a failure; does nothing where the server has been stopped.
stop_server_now() {
  [ -z "$SERVER_PID" ] || { kill -KILL "$SERVER_PID" 2>/dev/null || true; wait "$SERVER_PID" 2>/dev/null || true; }
  [ -z "$SERVER_ROOT" ] || rm -rf "$SERVER_ROOT"
}
