"""What a field may look like, sentence by sentence, compiled to one regular expression each.

The XOR checksum is weak (of real sentences with two bytes dropped one in nine still passed): a strict grammar refuses most of
what it lets through. It is also the fastest way in Python to split and check at once.
"""

from __future__ import annotations

import re

# Every field may be empty. Positions are checked for shape here and for range by their reader: receivers without a fix
# send fillers such as 8960.0000,N and 36000.0000,N.
TIME = rb"(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d|60)(?:\.\d{0,9})?)?"
DATE = rb"[\d-]{0,7}"  # "2208-1" was met: the fix beside it is good, so it is no reason to refuse
NUMBER = rb"(?:[-+]?\d{1,9}(?:\.\d{0,12})?|[-+]?\.\d{1,12})?"
COUNT = rb"\d{0,4}"
ANGLE = rb"(?:\d{1,7}(?:\.\d{0,12})?)?"  # [d]ddmm.mmmm; degrees of any width, decimals optional
ANY = rb"[^,]*"


def one_of(letters: str) -> bytes:
    return rb"[%s]?" % letters.encode()


METRES, NORTH_SOUTH, EAST_WEST, STATUS = one_of("M"), one_of("NS"), one_of("EW"), one_of("AVD")
PLACE = (("latitude", ANGLE), ("N/S", NORTH_SOUTH), ("longitude", ANGLE), ("E/W", EAST_WEST))


class BadSentenceError(ValueError):
    """A sentence that says something its type does not allow; the text names the field."""


class Grammar:
    """The fields of one type after its address. The first `minimum` must be there, and more than are known may follow.

    `prefix` is the part of the address that selects the type, without the talker.
    """

    def __init__(self, prefix: str, minimum: int, *fields: tuple[str, bytes]) -> None:
        self.name, self.minimum, self.fields = prefix, minimum, fields
        head = rb",".join(rb"(%s)" % pattern for _, pattern in fields[:minimum])
        tail = rb"(?:,[^*]*)?"
        for _, pattern in reversed(fields[minimum:]):
            tail = rb"(?:,(%s)%s)?" % (pattern, tail)
        self._match = re.compile(head + tail).fullmatch

    def split(self, data: bytes) -> tuple[bytes, ...]:
        """The known fields, empty where they are missing. Raises BadSentenceError."""
        found = self._match(data)
        if found is None:
            raise BadSentenceError(self._complaint(data.split(b",")))
        return found.groups(b"")

    def _complaint(self, values: list[bytes]) -> str:
        if len(values) < self.minimum:
            return f"{self.name} has {len(values)} fields, at least {self.minimum} are due"
        for (name, pattern), value in zip(self.fields, values, strict=False):
            if not re.fullmatch(pattern, value):
                return f"{self.name}: {name} is {value.decode('ascii', 'replace')!r}"
        return f"{self.name}: the fields do not fit"
