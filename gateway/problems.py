"""What is wrong with something a person wrote, said so that they can mend it: where, what, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Problem(Struct, frozen=True):
    """`where`: file and key ("plans.json: plans[2].stops[0].lat_deg"). `fix`: what to write instead."""

    where: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.fix}" if self.fix else f"{self.where}: {self.what}"


class BadInput(ValueError):
    """A document was refused as a whole; every problem found in it is listed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = tuple(problems)


def position_problems(where: str, lat_deg: float, lon_deg: float) -> list[Problem]:
    """What is wrong with a coordinate pair that a person wrote; an empty list when nothing is."""
    if -90 <= lat_deg <= 90 and -180 <= lon_deg <= 180:
        if lat_deg == 0 and lon_deg == 0:
            return [Problem(where, "latitude and longitude are both 0", "write the place, or leave the row out")]
        return []
    if -90 <= lon_deg <= 90 and -180 <= lat_deg <= 180:
        hint = f"latitude and longitude look swapped: write latitude {lon_deg}, longitude {lat_deg}"
    else:
        hint = "latitude lies in -90…90 and longitude in -180…180, in degrees"
    return [Problem(where, f"latitude {lat_deg}, longitude {lon_deg} is not on the earth", hint)]
