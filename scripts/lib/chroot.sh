# Bare Debian 12 trees to try things in. Source after common.sh. Needs root and debootstrap.

# make_debian_tree FOLDER: a minimal Debian 12, as a fresh container has it.
make_debian_tree() {
  local tree="$1"
  run_quietly "$LOG_FOLDER/debootstrap.log" debootstrap --variant=minbase bookworm "$tree"
  rm -rf "$tree"/var/cache/apt/archives/*.deb
}

# run_in_tree TREE READONLY USER COMMAND...: runs a command in the tree, in mount and process namespaces of its own that
# end with it. READONLY yes: nothing but /tmp and /var/lib/densityd, both empty, can be written. USER: name or uid:gid.
run_in_tree() {
  local tree="$1" readonly="$2" user="$3"
  shift 3
  unshare --mount --pid --fork --kill-child bash -euc '
    tree="$1" readonly="$2" user="$3"
    shift 3
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    if [ "$readonly" = yes ]; then
      mkdir -p "$tree/var/lib/densityd"
      mount -o remount,bind,ro "$tree"
      mount -t tmpfs tmpfs "$tree/tmp"
      mount -t tmpfs -o mode=0777 tmpfs "$tree/var/lib/densityd"
    fi
    exec chroot --userspec="$user" "$tree" "$@"
  ' run_in_tree "$tree" "$readonly" "$user" "$@"
}
