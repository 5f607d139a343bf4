"""A serial line: opening it so that nothing is disturbed, and reading what is there in chunks, never a byte or a line at a
time (pyserial's `readline` makes a system call for each byte).
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import serial

if sys.platform != "win32":
    import fcntl
    import termios

CHUNK_BYTES = 64 * 1024
THREAD_WAIT_S = 0.2


class Line(Protocol):
    """What the source needs of an open line. Errors are OSError."""

    def fileno(self) -> int | None:
        """The descriptor to wait on; None where there is none (Windows, rfc2217://): then `read` waits a little."""

    def read(self) -> bytes:
        """The bytes that are there. BlockingIOError, or nothing from a line without descriptor, when there are none."""

    def set_speed(self, speed_baud: int) -> None:
        """Another speed without closing; what came at the old one is thrown away. ValueError where it cannot be had."""

    def close(self) -> None: ...


Opener = Callable[[str, int], Line]


class SerialLine:
    """A port that pyserial opens: a device's path, or one of its URLs (`socket://`, `rfc2217://`).

    Raw, 8N1, no flow control (it hangs some FTDI chips), for nobody else to open meanwhile. The speed is changed on the
    open line and the line stays up when it is closed, because a board that hangs its reset on DTR reboots at each drop.
    """

    def __init__(self, path: str, speed_baud: int) -> None:
        self._port = serial.serial_for_url(path, do_not_open=True, baudrate=speed_baud, timeout=0, exclusive=True)
        self._port.open()
        try:
            self._fd: int | None = self._port.fileno()
        except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
            self._fd = None
            self._port.timeout = THREAD_WAIT_S
        if sys.platform != "win32" and self._fd is not None and os.isatty(self._fd):
            fcntl.ioctl(self._fd, termios.TIOCEXCL)
            modes = termios.tcgetattr(self._fd)
            modes[2] &= ~termios.HUPCL
            termios.tcsetattr(self._fd, termios.TCSANOW, modes)

    def fileno(self) -> int | None:
        return self._fd

    def read(self) -> bytes:
        if self._fd is not None:
            return os.read(self._fd, CHUNK_BYTES)
        data: bytes = self._port.read(min(self._port.in_waiting or 1, CHUNK_BYTES))
        return data

    def set_speed(self, speed_baud: int) -> None:
        self._port.baudrate = speed_baud
        self._port.reset_input_buffer()

    def close(self) -> None:
        if sys.platform != "win32" and self._fd is not None and os.isatty(self._fd):
            fcntl.ioctl(self._fd, termios.TIOCNXCL)
        self._port.close()


class Chunk:
    """Bytes and when they came; `gap` when something before them had to be dropped."""

    __slots__ = ("data", "gap", "received_ms")

    def __init__(self, data: bytes, received_ms: int, gap: bool) -> None:
        self.data = data
        self.received_ms = received_ms
        self.gap = gap


class LineReader:
    """Reads a line as bytes come, into a buffer of at most `buffer_bytes`; what does not fit is dropped and counted.

    Reads on the event loop where the line has a descriptor, in a thread where it has none.
    """

    def __init__(self, line: Line, buffer_bytes: int, now_ms: Callable[[], int]) -> None:
        self.dropped_bytes = 0
        self._line = line
        self._buffer_bytes = buffer_bytes
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[Chunk] = deque()
        self._waiting_bytes = 0
        self._gap = False
        self._lost: OSError | None = None
        self._something = asyncio.Event()
        self._closed = False
        self._fd = line.fileno()
        if self._fd is not None:
            self._loop.add_reader(self._fd, self._readable)
        else:
            threading.Thread(target=self._read_for_ever, name="serial-reader", daemon=True).start()

    async def take(self, timeout_s: float) -> list[Chunk]:
        """What came, after waiting for it at most so long. OSError once all is taken and the line is gone."""
        if not self._chunks and self._lost is None:
            self._something.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._something.wait()
            except TimeoutError:
                return []
        if not self._chunks and self._lost is not None:
            raise self._lost
        taken = list(self._chunks)
        self.clear()
        return taken

    def clear(self) -> None:
        self._chunks.clear()
        self._waiting_bytes = 0

    def close(self) -> None:
        self._closed = True
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None

    def _readable(self) -> None:
        try:
            data = self._line.read()
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._came(data)
        else:  # ready to read, and nothing there: that is how a terminal says that its other end is gone
            self._lose(OSError("the device hung up"))

    def _read_for_ever(self) -> None:
        try:
            while not self._closed:
                if data := self._line.read():
                    self._loop.call_soon_threadsafe(self._came, data)
        except (OSError, TypeError) as error:  # pyserial: TypeError when the port is closed during a read
            if not self._closed:
                self._loop.call_soon_threadsafe(self._lose, OSError(str(error)))

    def _came(self, data: bytes) -> None:
        if self._waiting_bytes + len(data) > self._buffer_bytes:
            self.dropped_bytes += len(data)
            self._gap = True
        else:
            self._chunks.append(Chunk(data, self._now_ms(), self._gap))
            self._waiting_bytes += len(data)
            self._gap = False
        self._something.set()

    def _lose(self, error: OSError) -> None:
        self.close()
        self._lost = error
        self._something.set()
