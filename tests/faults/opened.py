"""Tells which files of a folder were opened, through the kernel's inotify."""

import ctypes
import os
import struct

_IN_OPEN = 0x20
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_LIBC = ctypes.CDLL(None, use_errno=True)


class Opened:
    """Watches a folder, not what lies in folders of it, while `with` lasts."""

    def __init__(self, folder):
        self._folder = folder
        self._names = []

    def __enter__(self):
        self._queue = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._queue < 0 or _LIBC.inotify_add_watch(self._queue, os.fsencode(self._folder), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        return self

    def __exit__(self, *_):
        os.close(self._queue)

    def names(self):
        """What has been opened so far; "" is the folder itself."""
        while True:
            try:
                events = os.read(self._queue, 1 << 16)
            except BlockingIOError:
                return self._names
            while events:
                _, _, _, length = _EVENT.unpack_from(events)
                name = events[_EVENT.size:_EVENT.size + length]
                self._names.append(name.rstrip(b"\0").decode(errors="replace"))
                events = events[_EVENT.size + length:]
