"""Bytes of a line into sentences: whatever lies between them, the next good sentence is never lost.

A sentence starts at `$` (or `!`: AIS) and runs over printable characters to the line's end. A further `$` or a byte that
cannot be in a sentence ends it early: a cut head must not take its successor along. Work is done by one regular expression
per chunk, which is a byte state machine in C; only an unfinished end is kept, so every split yields the same sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_SENTENCE_BYTES = 256
"""The standard says 82; real receivers send up to 205 (PMTKCHN), and valid GGA of 102."""

_MAX_TAG_BYTES = 96
_BODY = rb"[$!][ -#%%-~]{0,%d}+" % (MAX_SENTENCE_BYTES - 1)
_LINE_END = rb"\r{0,3}\n|\r{1,3}+(?=[^\n])"  # CR LF, CR CR LF (Firefly), LF alone and CR alone are all met
_TAG_TEXT = rb"\\[ -\[\]-~]{%d,%d}+"

_SENTENCE = re.compile(rb"(%s)(?:(%s)|(?=[^\r\n])|(\r{0,3}\Z))" % (_BODY, _LINE_END))
"""A sentence, or the third group: one that the next bytes may go on with. It matches at every start, so none is read twice."""
_START = re.compile(_BODY)
_TAG = re.compile((_TAG_TEXT + rb"\\\Z") % (1, _MAX_TAG_BYTES))
_UNFINISHED_TAG = re.compile(rb"(?:%s\\?)?\Z" % (_TAG_TEXT % (0, _MAX_TAG_BYTES)))
MAX_PENDING_BYTES = MAX_SENTENCE_BYTES + _MAX_TAG_BYTES + 5


class Sentence(NamedTuple):
    """`raw` as on the wire, TAG block and line end included; `body` without them, `$` included; `ended`: by a line end."""

    raw: bytes
    body: bytes
    ended: bool


class Framer:
    """Holds the unfinished end of the stream, at most `MAX_PENDING_BYTES`. Counts what lies between sentences."""

    def __init__(self) -> None:
        self.noise_bytes = 0
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[Sentence]:
        """The sentences that are complete now. Run the iterator to its end before the next call."""
        data = self._pending + data
        done = 0
        for found in _SENTENCE.finditer(data):
            start, end = found.span()
            body, line_end, unfinished = found.groups()
            start = _start_of_tag(data, done, start)
            self.noise_bytes += start - done
            if unfinished is not None:
                self._pending = data[start:]
                return
            done = end
            yield Sentence(data[start:end], body, line_end is not None)
        rest = _UNFINISHED_TAG.search(data, max(done, len(data) - _MAX_TAG_BYTES - 2))
        assert rest is not None  # the pattern matches the empty end
        self.noise_bytes += rest.start() - done
        self._pending = data[rest.start() :]

    def flush(self) -> Sentence | None:
        """What is pending, taken as it stands because nothing more will come; noise is counted."""
        pending, self._pending = self._pending, b""
        found = _START.search(pending)
        if found is None:
            self.noise_bytes += len(pending)
            return None
        start = _start_of_tag(pending, 0, found.start())
        self.noise_bytes += start
        return Sentence(pending[start:], found[0], found.end() < len(pending))

    @property
    def pending(self) -> bytes:
        return self._pending


def _start_of_tag(data: bytes, done: int, start: int) -> int:
    """Where the TAG block before a sentence begins (NMEA 4, between backslashes); the sentence's own start without one."""
    if start == done or data[start - 1] != 0x5C:
        return start
    tag = _TAG.search(data, max(done, start - _MAX_TAG_BYTES - 2), start)
    return tag.start() if tag else start
