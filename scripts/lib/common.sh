# Shared by the scripts: the project's folders, steps with timings, failure reports. Source it, do not run it.
#
# A script may define `cleanup`; it is called once at exit, after a failure has been reported.
set -euo pipefail

PROJECT_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
CACHE_ROOT="${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/densityd"
LOG_FOLDER="${TMPDIR:-/tmp}/densityd-logs-$(id -u)"
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

# fail MESSAGE: ends the current step, and the script, with a message.
fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

# Says which step failed and what to do about it, then cleans up. Keeps the exit status.
on_exit() {
  local status=$?
  if [ "$status" -ne 0 ] && [ -n "$STEP_NAME" ]; then
    printf '\nFAILED: %s (exit status %d after %d s)\n' "$STEP_NAME" "$status" "$((SECONDS - STEP_START))" >&2
    [ -z "$STEP_HINT" ] || printf 'What to do: %s\n' "$STEP_HINT" >&2
  fi
  if declare -F cleanup >/dev/null; then cleanup; fi
  exit "$status"
}
trap on_exit EXIT

# usage_if_asked "$@": prints the comment at the top of the calling script where the first argument is --help.
usage_if_asked() {
  case "${1:-}" in
    -h | --help)
      sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"
      exit 0
      ;;
  esac
}

# run_quietly LOG COMMAND...: runs a command with its output in LOG; shows the end of it if the command fails.
run_quietly() {
  local log="$1"
  shift
  mkdir -p "$(dirname "$log")"
  "$@" >"$log" 2>&1 || {
    local status=$?
    tail -n 60 "$log" >&2
    printf '(the whole output: %s)\n' "$log" >&2
    return "$status"
  }
}
