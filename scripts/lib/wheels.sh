# Fetches pinned wheels from PyPI, verifies them and unpacks them into the user's cache. Source after common.sh.

# fetch_wheel REQUIREMENT SHA256 FOLDER: downloads one wheel into FOLDER unless it is there, and verifies it.
# Prints the wheel's path.
fetch_wheel() {
  local requirement="$1" sha256="$2" folder="$3" name path
  mkdir -p "$folder"
  name="${requirement%%==*}"
  name="${name//-/_}-${requirement##*==}"
  for path in "$folder/$name"-*.whl; do
    [ -f "$path" ] && sha256sum --check --status <<<"$sha256  $path" && { printf '%s\n' "$path"; return; }
    rm -f "$path"
  done
  echo "    downloading $requirement" >&2
  # The wheels of CPython 3.11 are what the checksums are of, whichever Python runs pip here.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --implementation cp --abi cp311 --abi none --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform any --dest "$folder" "$requirement" >&2
  path="$(echo "$folder/$name"-*.whl)"
  if ! sha256sum --check --status <<<"$sha256  $path"; then
    echo "$path: the SHA-256 is not $sha256. The file was removed; run again, and if it repeats, do not trust the source." >&2
    rm -f "$path"
    return 1
  fi
  printf '%s\n' "$path"
}

# unpack_once FOLDER WHEEL...: unpacks the wheels into FOLDER, all or nothing, unless it is there.
unpack_once() {
  local folder="$1" partial wheel
  shift
  [ -d "$folder" ] && return
  partial="$(mktemp -d "$folder.partial.XXXXXX")"
  for wheel in "$@"; do
    python3 -m zipfile -e "$wheel" "$partial"
  done
  mv -T "$partial" "$folder" 2>/dev/null || { rm -rf "$partial"; [ -d "$folder" ]; }
}
