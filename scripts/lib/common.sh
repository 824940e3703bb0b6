# Shared by the scripts: the project's folders, messages with timings, failure reports. Source it, do not run it.
set -euo pipefail

PROJECT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
CACHE_ROOT="${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/densityd"
STEP_NAME=""
STEP_HINT=""
STEP_START=0

# step NAME [HINT]: announces a step; HINT tells what to do if it fails.
step() {
  finish_step
  STEP_NAME="$1"
  STEP_HINT="${2:-}"
  STEP_START=$SECONDS
  printf '==> %s\n' "$STEP_NAME"
}

# finish_step: says how long the current step took.
finish_step() {
  [ -n "$STEP_NAME" ] || return 0
  printf '    done in %d s\n' "$((SECONDS - STEP_START))"
  STEP_NAME=""
}

# Says which step failed and what to do about it.
report_failure() {
  local status=$?
  [ "$status" -eq 0 ] && return
  if [ -n "$STEP_NAME" ]; then
    printf '\nFAILED: %s (exit status %d after %d s)\n' "$STEP_NAME" "$status" "$((SECONDS - STEP_START))" >&2
    [ -z "$STEP_HINT" ] || printf 'What to do: %s\n' "$STEP_HINT" >&2
  fi
  exit "$status"
}
trap report_failure EXIT
