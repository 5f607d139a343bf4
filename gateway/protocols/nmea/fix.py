"""What an epoch's statements amount to: one position, judged on the cautious side.

Where sentences contradict each other the doubt wins: a fix is valid only if none of them denies it, and what they said is
kept in the attribute `conflict`.
"""

from __future__ import annotations

from gateway.model import FixKind, Scalar
from gateway.protocols.nmea.epoch import Epoch, same_place, same_time
from gateway.protocols.nmea.fields import Statement

# Who is asked first. GGA and GNS carry more decimals than RMC on many receivers, and the altitude.
_PLACE_ORDER = ("GGA", "GNS", "PUBX,00", "PSTI,030", "RMC", "PGRMF", "PASHR,POS", "GLL")
_MOTION_ORDER = ("RMC", "VTG", "PUBX,00", "PSTI,030", "PGRMF", "PASHR,POS")
_ACCURACY_ORDER = ("GST", "GBS", "PUBX,00", "PGRME", "PSRFEPE")

_UERE_FACTOR = {2: 0.5, 3: 0.5, 4: 0.01, 5: 0.1}
"""Of the range error of stand-alone GNSS, by GGA quality: differential and PPS, RTK fixed, RTK float."""

_FROM_SATELLITES = frozenset({"2d", "3d", "gnss"})
_WGS84 = frozenset({"W84", "WGS84", "WGS 84", "999", ""})  # 999: "the user's own", which receivers send for WGS 84


class Fix:
    """The position of an epoch before it is dated. `attributes` says where the accuracy is from, and what was odd."""

    __slots__ = ("accuracy_m", "attributes", "by_kind", "hdop", "kind", "place", "satellites", "statements", "valid")

    def __init__(self, epoch: Epoch, uere_m: float) -> None:
        self.statements = epoch.statements
        self.attributes: dict[str, Scalar] = {}
        self.by_kind: dict[str, list[Statement]] = {}
        for said in epoch.statements:
            if said.role == "error" and not _is_about(epoch, said):
                continue
            self.by_kind.setdefault(said.kind, []).append(said)
            if said.datum is not None and said.datum not in _WGS84:
                self.attributes["datum"] = said.datum
        self.hdop = next((s.hdop for s in epoch.statements if s.hdop is not None), None)
        self.satellites = self._count_satellites()
        self.place = self._find_place()
        self.valid = self.place is not None and self._is_claimed()
        self.kind: FixKind = self._find_kind() if self.valid else "none"
        self.accuracy_m = self._find_accuracy_m(uere_m) if self.valid else None

    def motion(self) -> tuple[float | None, float | None]:
        """Speed in m/s and course, each from the first that has it. Without a fix they are noise."""
        speed = course = None
        for said in self._in_order(_MOTION_ORDER) if self.valid else ():
            speed = said.speed_mps if speed is None else speed
            course = said.course_deg if course is None else course
        return speed, course

    def altitude_m(self) -> float | None:
        """Above mean sea level; the geoid separation, which gives the height above the ellipsoid, goes beside it."""
        for said in self._in_order(_PLACE_ORDER) if self.valid else ():
            if said.altitude_m is not None:
                if said.separation_m is not None:
                    self.attributes["geoid_separation_m"] = said.separation_m
                return said.altitude_m
        return None

    def _in_order(self, kinds: tuple[str, ...]) -> list[Statement]:
        by_kind = self.by_kind
        return [said for kind in kinds if kind in by_kind for said in by_kind[kind]]

    def _find_place(self) -> Statement | None:
        """The first in order, unless another states the same place with more decimals."""
        best = None
        for said in self._in_order(_PLACE_ORDER):
            if said.lat_deg is None:
                continue
            if best is None or (said.decimals > best.decimals and same_place(said, best)):
                best = said
        return best

    def _is_claimed(self) -> bool:
        claims: dict[str, bool] = {}
        for said in self.statements:
            if said.fixed is not None:  # GP and GL may each send a GGA: one of them will do
                claims[said.kind] = claims.get(said.kind, False) or said.fixed
        dimension = self._dimension()
        if dimension:
            claims["GSA"] = dimension > 1
        if len(set(claims.values())) > 1:
            self.attributes["conflict"] = " ".join(f"{k}:{'fix' if fixed else 'none'}" for k, fixed in claims.items())
        vouched = claims.get("RMC") or claims.get("GSA") or not self._lacks_satellites()
        return bool(claims) and bool(vouched) and all(claims.values())

    def _find_kind(self) -> FixKind:
        kinds = [said.fix for said in self.statements if said.fix is not None]
        for kind in kinds:
            if kind not in ("2d", "3d"):
                return kind
        if self._lacks_satellites():
            return "estimated"
        dimension = self._dimension()
        if dimension:
            return "3d" if dimension == 3 else "2d"
        if kinds:
            return kinds[0]
        if self.satellites is None:
            return "gnss"
        return "3d" if self.satellites >= 4 and self.altitude_m() is not None else "2d"

    def _dimension(self) -> int:
        """What GSA says: 1 none, 2 or 3; 0 without one. There is a GSA for each satellite system."""
        return max((said.dimension or 0 for said in self.by_kind.get("GSA", ())), default=0)

    def _count_satellites(self) -> int | None:
        """GGA counts to 12 at most and one system only on some receivers: the satellites that GSA lists may be more."""
        counted = [said.satellites for said in self.statements if said.satellites is not None]
        used: set[bytes] = set()
        for said in self.by_kind.get("GSA", ()):
            used.update(said.used)
        return max(*counted, len(used), 0) if counted or used else None

    def _lacks_satellites(self) -> bool:
        """A GGA of quality 1 to 5 with fewer than three satellites contradicts itself.

        Where nothing else calls it a fix (hemi) it is none; where RMC and GSA do, the receiver carries on the last course
        in its own way (Garmin, for half a minute).
        """
        return any(
            said.quality is not None and 1 <= said.quality <= 5 and said.satellites is not None
            for said in self.by_kind.get("GGA", ())
        ) and (self.satellites is not None and self.satellites < 3)

    def _find_accuracy_m(self, uere_m: float) -> float | None:
        for said in self._in_order(_ACCURACY_ORDER):
            if said.accuracy_m is not None:
                self.attributes["accuracy_source"] = said.kind
                return round(said.accuracy_m, 3)
        if self.hdop is None or self.kind not in _FROM_SATELLITES:
            return None
        quality = next((said.quality for said in self.statements if said.quality is not None), 1)
        self.attributes["accuracy_source"] = "HDOP"
        return round(self.hdop * uere_m * _UERE_FACTOR.get(quality, 1.0), 3)


def is_about_position(epoch: Epoch) -> bool:
    return any(said.role in ("fix", "gll") for said in epoch.statements)


def _is_about(epoch: Epoch, said: Statement) -> bool:
    """Errors are of the fix whose time they carry (older firmware sends that of the fix before)."""
    return said.tod_ms is None or (epoch.tod_ms is not None and same_time(said.tod_ms, epoch.tod_ms))
