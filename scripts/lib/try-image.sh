#!/bin/sh
# Runs inside the image (scripts/test-image): starts the server as the image does, trains, queries, stops.
#
#   try-image.sh CSV     a file of training rows
set -eu

fail() {
  echo "$1" >&2
  exit 1
}

[ "$(id -u)" -ne 0 ] || fail "This runs as root."
! touch /etc/densityd-was-here 2>/dev/null || fail "The root file system can be written."

densityd --root /var/lib/densityd --log-format json >/tmp/server.log 2>&1 &
server=$!
trap 'kill -KILL $server 2>/dev/null || true' EXIT
densityctl --retry-for 30 health || { cat /tmp/server.log; fail "The server does not answer."; }

densityctl train power --preset realnvp --data "$1" --steps 100
densityctl logprob power "$1" >/tmp/log_prob.csv
[ "$(wc -l </tmp/log_prob.csv)" -ge "$(($(wc -l <"$1") - 1))" ] || fail "Rows were not scored."
densityctl sample power --rows 5 --seed 1
densityctl health power

kill -TERM $server
wait $server || { cat /tmp/server.log; fail "The server did not stop cleanly."; }
trap - EXIT
