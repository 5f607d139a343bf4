"""What can be set for a port that speaks NMEA 0183."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class NmeaOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first two are the decoder's, the rest the encoder's.

    `checksum` says what becomes of a sentence without one: "required" refuses it, "optional" takes it, "learned" takes
    it until the device has sent its first good checksum. A checksum that is there must always be right.
    `uere_m` turns HDOP into metres where the receiver states no error of its own (68 %, stand-alone GNSS).
    """

    checksum: Literal["learned", "required", "optional"] = "learned"
    uere_m: float = 5.0
    talker: str = "GN"
    sentences: tuple[str, ...] = ("RMC", "VTG", "GGA", "GSA", "ZDA")
    write_checksum: bool = True
