"""A ceiling for the memory of processes that counts the pages of files they have read: a control group of Linux."""

import contextlib
import pathlib
import shlex
import time

ROOT = pathlib.Path("/sys/fs/cgroup")


class NoMemoryLimit(Exception):
    """Why this machine or user cannot have one."""


def _make_group(name):
    """(the new group's folder, the file of its ceiling) in version 2 of control groups, or in version 1."""
    try:
        if "memory" in (ROOT / "cgroup.controllers").read_text(encoding="ascii").split():
            (ROOT / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
            folder, ceiling = ROOT / name, "memory.max"
        else:
            raise FileNotFoundError
    except FileNotFoundError:
        folder, ceiling = ROOT / "memory" / name, "memory.limit_in_bytes"
    folder.mkdir()
    return folder, folder / ceiling


@contextlib.contextmanager
def memory_limit(name, ceiling):
    """Yields words to put before a command, which then has `ceiling` bytes, together with its children. NoMemoryLimit
    where that takes rights that the user does not have. The processes must have ended when the context does."""
    try:
        folder, file = _make_group(name)
    except OSError as error:
        raise NoMemoryLimit(f"control groups need root: {error}") from error
    try:
        file.write_text(str(ceiling), encoding="ascii")
        yield ["sh", "-c", f'echo $$ > {shlex.quote(str(folder / "cgroup.procs"))} && exec "$@"', "sh"]
    finally:
        _remove(folder)


def _remove(folder):
    """A group can be removed a moment after its last process has ended."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
    folder.rmdir()
