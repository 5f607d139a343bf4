"""Which device reports for which vehicle, and since when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from gateway.model import Assignment, DevicePut

MAX_REGISTERED = 100_000
"""Devices, beyond which none registers itself: whoever makes up ids must not fill the memory."""


class Registry:
    """Assignments by device. `unknown`: what becomes of a device that none names.

    Where two assignments of a device hold at one time, the one that began later counts.
    """

    def __init__(
        self, assignments: Iterable[Assignment] = (), unknown: Literal["quarantine", "register"] = "quarantine"
    ) -> None:
        self.unknown = unknown
        self._of_device: dict[str, tuple[Assignment, ...]] = {}
        self._vehicles: dict[str, int] = {}
        for each in assignments:
            self._put(each)

    def apply(self, command: DevicePut) -> None:
        """An assignment that begins at the same moment as one of the same device replaces it."""
        self._put(command.assignment)

    def assignment_of(self, device_id: str, time_ms: int) -> Assignment | None:
        for each in reversed(self._of_device.get(device_id, ())):
            if each.valid_from_ms <= time_ms and (each.valid_to_ms is None or time_ms < each.valid_to_ms):
                return each
        return None

    def vehicle_of(self, device_id: str, time_ms: int) -> str | None:
        found = self.assignment_of(device_id, time_ms)
        return found.vehicle_id if found else None

    @property
    def may_register(self) -> bool:
        """Whether an unknown device is to be registered, as a vehicle of the same id."""
        return self.unknown == "register" and len(self._of_device) < MAX_REGISTERED

    def knows_device(self, device_id: str) -> bool:
        return device_id in self._of_device

    def knows_vehicle(self, vehicle_id: str) -> bool:
        return vehicle_id in self._vehicles

    def assignments(self) -> list[Assignment]:
        return [a for each in self._of_device.values() for a in each]

    def _put(self, assignment: Assignment) -> None:
        before = self._of_device.get(assignment.device_id, ())
        kept = [a for a in before if a.valid_from_ms != assignment.valid_from_ms]
        for gone in before:
            if gone not in kept:
                self._count(gone.vehicle_id, -1)
        self._count(assignment.vehicle_id, 1)
        by_start = sorted([*kept, assignment], key=lambda a: a.valid_from_ms)
        self._of_device[assignment.device_id] = tuple(by_start)

    def _count(self, vehicle_id: str, by: int) -> None:
        count = self._vehicles.get(vehicle_id, 0) + by
        if count:
            self._vehicles[vehicle_id] = count
        else:
            del self._vehicles[vehicle_id]
