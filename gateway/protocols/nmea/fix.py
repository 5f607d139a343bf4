"""What an epoch's statements amount to: one position, judged on the cautious side.

Where sentences contradict each other the doubt wins: a fix is valid only if none of them denies it, and what they said is
kept in the attribute `conflict`.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.model import FixKind, Scalar
from gateway.protocols.nmea.epoch import Epoch, rounding_deg, same_time
from gateway.protocols.nmea.sentences import Statement

# Who is asked first. GGA and GNS carry more decimals than RMC on many receivers, and the altitude.
_PLACE_ORDER = ("GGA", "GNS", "PUBX,00", "PSTI,030", "RMC", "PGRMF", "PASHR,POS", "GLL")
_MOTION_ORDER = ("RMC", "VTG", "PUBX,00", "PSTI,030", "PGRMF", "PASHR,POS")
_ACCURACY_ORDER = ("GST", "GBS", "PUBX,00", "PGRME", "PSRFEPE")
_RANK: dict[tuple[str, ...], dict[str, int]] = {
    order: {kind: i for i, kind in enumerate(order)} for order in (_PLACE_ORDER, _MOTION_ORDER, _ACCURACY_ORDER)
}

_UERE_FACTOR = {2: 0.5, 3: 0.5, 4: 0.01, 5: 0.1}
"""Of the range error of stand-alone GNSS, by GGA quality: differential and PPS, RTK fixed, RTK float."""

_WGS84 = frozenset({"W84", "WGS84", "WGS 84", ""})


class Verdict:
    """The fix of an epoch before it is dated."""

    __slots__ = ("accuracy_m", "attributes", "fix", "hdop", "height", "motion", "place", "satellites", "valid")

    def __init__(self, epoch: Epoch, uere_m: float) -> None:
        said = [s for s in epoch.statements if s.tod_ms is None or s.role != "error" or _about(epoch, s)]
        self.attributes: dict[str, Scalar] = {}
        self.place = _place(said)
        self.motion = _motion(said)
        self.hdop = next((s.hdop for s in said if s.hdop is not None), None)
        self.satellites = _satellites(said)
        self.valid = self.place is not None and self._is_fixed(said)
        self.fix = self._kind(said) if self.valid else "none"
        self.height = next((s for s in said if s.altitude_m is not None), None)
        self.accuracy_m = self._accuracy(said, uere_m) if self.valid else None
        if self.height is not None and self.height.separation_m is not None:
            self.attributes["geoid_separation_m"] = self.height.separation_m
        for s in said:
            if s.datum is not None and s.datum not in _WGS84:
                self.attributes["datum"] = s.datum

    def _is_fixed(self, said: list[Statement]) -> bool:
        claims: dict[str, bool] = {}
        for s in said:
            if s.fixed is not None:  # GP and GL may each send a GGA: one of them will do
                claims[s.kind] = claims.get(s.kind, False) or s.fixed
        dimensions = [s.dimension for s in said if s.dimension is not None]
        if dimensions:  # a GSA for each satellite system
            claims["GSA"] = max(dimensions) > 1
        if len(set(claims.values())) > 1:
            self.attributes["conflict"] = " ".join(
                f"{kind}:{'fix' if fixed else 'none'}" for kind, fixed in claims.items()
            )
        vouched = claims.get("RMC") or claims.get("GSA") or not _without_satellites(said)
        return bool(claims) and all(claims.values()) and bool(vouched)

    def _kind(self, said: list[Statement]) -> FixKind:
        for s in said:
            if s.fix is not None and s.fix not in ("2d", "3d"):
                return s.fix
        if _without_satellites(said):
            return "estimated"
        dimension = max((s.dimension for s in said if s.dimension is not None), default=0)
        if dimension > 1:
            return "3d" if dimension == 3 else "2d"
        stated = next((s.fix for s in said if s.fix is not None), None)
        if stated is not None:
            return stated
        if self.satellites is None:
            return "gnss"
        return "3d" if self.satellites >= 4 and any(s.altitude_m is not None for s in said) else "2d"

    def _accuracy(self, said: list[Statement], uere_m: float) -> float | None:
        for s in _ordered(said, _ACCURACY_ORDER):
            if s.accuracy_m is not None:
                self.attributes["accuracy_source"] = s.kind
                return round(s.accuracy_m, 3)
        if self.hdop is None:
            return None
        quality = next((s.quality for s in said if s.quality is not None), 1)
        self.attributes["accuracy_source"] = "HDOP"
        return round(self.hdop * uere_m * _UERE_FACTOR.get(quality, 1.0), 3)


def is_about_position(epoch: Epoch) -> bool:
    return any(s.role in ("fix", "gll") for s in epoch.statements)


def _about(epoch: Epoch, said: Statement) -> bool:
    return said.tod_ms is not None and epoch.tod_ms is not None and same_time(said.tod_ms, epoch.tod_ms)


def _ordered(said: Iterable[Statement], order: tuple[str, ...]) -> list[Statement]:
    rank = _RANK[order]
    return sorted((s for s in said if s.kind in rank), key=lambda s: rank[s.kind])


def _place(said: list[Statement]) -> Statement | None:
    """The first in order, unless another states the same place with more decimals."""
    placed = [s for s in _ordered(said, _PLACE_ORDER) if s.lat_deg is not None]
    if not placed:
        return None
    first = placed[0]
    finest = max(placed, key=lambda s: s.decimals)
    return finest if finest.decimals > first.decimals and _agree(first, finest) else first


def _agree(one: Statement, other: Statement) -> bool:
    if one.lat_deg is None or other.lat_deg is None or one.lon_deg is None or other.lon_deg is None:
        return False
    slack = rounding_deg(one, other)
    return abs(one.lat_deg - other.lat_deg) <= slack and abs(one.lon_deg - other.lon_deg) <= slack


def _motion(said: list[Statement]) -> tuple[float | None, float | None]:
    """Speed and course, each from the first that has it."""
    speed = course = None
    for s in _ordered(said, _MOTION_ORDER):
        speed = s.speed_mps if speed is None else speed
        course = s.course_deg if course is None else course
    return speed, course


def _satellites(said: list[Statement]) -> int | None:
    """GGA counts to 12 at most and for one system on some receivers: the satellites that GSA lists may be more."""
    counted = max((s.satellites for s in said if s.satellites is not None), default=None)
    used = frozenset().union(*(s.used for s in said if s.used is not None))
    return max(counted or 0, len(used)) if counted is not None or used else None


def _without_satellites(said: list[Statement]) -> bool:
    """A GGA of quality 1 to 5 with fewer than three satellites contradicts itself. Where nothing else calls it a fix (hemi)
    it is none; where RMC and GSA do, the receiver carries on the last course in its own way (Garmin, half a minute).
    """
    counts = [s.satellites for s in said if s.kind == "GGA" and s.satellites is not None]
    real = any(s.quality is not None and 1 <= s.quality <= 5 for s in said)
    return bool(counts) and real and (_satellites(said) or 0) < 3
