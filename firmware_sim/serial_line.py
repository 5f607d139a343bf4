"""A virtual serial port: a pseudo-terminal in raw mode, under a name of one's choice."""

from __future__ import annotations

import contextlib
import os
import tty
from pathlib import Path


class SerialLine:
    """The device's end of a line. What nobody reads is lost once the kernel's buffer is full, as on a real wire."""

    def __init__(self, link: Path | None = None) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = Path(os.ttyname(self._slave))
        self.link = link
        self.lost_bytes = 0
        if link is not None:
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_symlink():
                link.unlink()
            link.symlink_to(self.path)

    def write(self, data: bytes) -> bool:
        """Send; False when not all of it fitted."""
        try:
            written = os.write(self._master, data)
        except BlockingIOError:
            written = 0
        self.lost_bytes += len(data) - written
        return written == len(data)

    def read(self) -> bytes:
        """What the other side has sent, possibly nothing."""
        try:
            return os.read(self._master, 4096)
        except BlockingIOError:
            return b""

    def fileno(self) -> int:
        return self._master

    def close(self) -> None:
        if self.link is not None:
            with contextlib.suppress(FileNotFoundError):
                self.link.unlink()
        os.close(self._master)
        os.close(self._slave)
