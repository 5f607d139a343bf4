"""Names and units of the I/O elements (AVL ids) that Teltonika documents alike for its trackers.

Source: "Data Sending Parameters ID" pages of the vendor's wiki (FMB, FMC, FMM, FMX6 and TST families). An id counts as
known only with the documented width and within the documented range, because older families use some ids otherwise.
Every other element keeps its number, as `io_NNN`: a guess would look like a fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from gateway.model import Scalar

VARIABLE = 0
"""The width of an element that brings its own length (Codec 8 Extended)."""


class Element(Struct, frozen=True):
    """One documented element. The value in `name`'s unit is the integer on the wire divided by `per_unit`.

    `highest` and `lowest` bound the integer on the wire. A `flag` is 0 or 1 there.
    """

    io_id: int
    width_bytes: int
    name: str
    highest: int
    lowest: int = 0
    per_unit: int = 1
    flag: bool = False

    def value(self, wire: int) -> Scalar | None:
        """What an integer means; None outside the documented range."""
        if not self.lowest <= wire <= self.highest:
            return None
        if self.flag:
            return wire == 1
        return wire if self.per_unit == 1 else wire / self.per_unit

    def of_unsigned(self, wire: int) -> Scalar | None:
        """As `value`, of the unsigned integer that a packet carries."""
        if self.lowest < 0 and wire >> (8 * self.width_bytes - 1):
            wire -= 1 << (8 * self.width_bytes)
        return self.value(wire)

    def wire(self, value: Scalar) -> int | None:
        """The integer on the wire of a value in the attribute's unit; None where it has no place there."""
        if isinstance(value, str):
            return None
        wire = round(value * self.per_unit)
        return wire if self.lowest <= wire <= self.highest else None


def _flag(io_id: int, name: str) -> Element:
    return Element(io_id, 1, name, 1, flag=True)


ELEMENTS = (
    _flag(1, "digital_input_1"),
    _flag(2, "digital_input_2"),
    _flag(3, "digital_input_3"),
    _flag(4, "digital_input_4"),
    Element(9, 2, "analog_input_1_v", 65_535, per_unit=1_000),
    Element(16, 4, "odometer_m", 0xFFFF_FFFF),
    Element(17, 2, "axis_x_mg", 8_000, lowest=-8_000),
    Element(18, 2, "axis_y_mg", 8_000, lowest=-8_000),
    Element(19, 2, "axis_z_mg", 8_000, lowest=-8_000),
    Element(21, 1, "gsm_signal", 5),
    Element(24, 2, "speed_kmh", 350),
    Element(66, 2, "external_voltage_v", 65_535, per_unit=1_000),
    Element(67, 2, "battery_voltage_v", 65_535, per_unit=1_000),
    Element(68, 2, "battery_current_a", 65_535, per_unit=1_000),
    Element(69, 1, "gnss_status", 4),
    Element(72, 4, "temperature_1_c", 1_150, lowest=-550, per_unit=10),
    Element(73, 4, "temperature_2_c", 1_150, lowest=-550, per_unit=10),
    Element(74, 4, "temperature_3_c", 1_150, lowest=-550, per_unit=10),
    Element(75, 4, "temperature_4_c", 1_150, lowest=-550, per_unit=10),
    Element(80, 1, "data_mode", 5),
    Element(113, 1, "battery_pct", 100),
    _flag(179, "digital_output_1"),
    _flag(180, "digital_output_2"),
    Element(181, 2, "pdop", 500, per_unit=10),
    Element(182, 2, "hdop", 500, per_unit=10),
    Element(199, 4, "trip_odometer_m", 0xFFFF_FFFF),
    Element(200, 1, "sleep_mode", 4),
    _flag(239, "ignition"),
    _flag(240, "motion"),
    Element(241, 4, "gsm_operator", 0xFFFF_FFFF),
)
LEAST_SATELLITES = 4
"""Written for a valid fix whose satellites are not known: none would say that there is no fix."""
VIN_ID = 256
BY_ID = {e.io_id: e for e in ELEMENTS}
BY_NAME = {e.name: e for e in ELEMENTS}
BY_WIDTH = {width: {e.io_id: e for e in ELEMENTS if e.width_bytes == width} for width in (1, 2, 4)}
GENERATION_TYPES = (
    "on_exit",
    "on_entrance",
    "on_both",
    "reserved",
    "hysteresis",
    "on_change",
    "eventual",
    "periodical",
)
"""Codec 16: what made the device write a record."""


def variable_value(io_id: int, data: bytes) -> tuple[str, str]:
    """Name and value of a variable-length element: the VIN as text, everything else as hexadecimal."""
    if io_id == VIN_ID and len(data) == 17 and data.isalnum():
        return "vin", data.decode("ascii")
    return f"io_{io_id}", data.hex()


def wire_elements(attributes: dict[str, Scalar], extended: bool) -> Iterator[tuple[int, int, int | bytes]]:
    """Id, width and value of what a packet can carry of a position's attributes, the way back of reading them.

    Without `extended` (Codec 8) ids end at 255; variable-length elements are Codec 8 Extended's alone. What has no place
    in the packet is left out.
    """
    for name, value in attributes.items():
        for io_id, width_bytes, wire in _wire_of(name, value):
            if extended or (io_id < 256 and width_bytes != VARIABLE):
                yield io_id, width_bytes, wire


def _wire_of(name: str, value: Scalar) -> Iterable[tuple[int, int, int | bytes]]:
    if (element := BY_NAME.get(name)) is not None:
        wire = element.wire(value)
        if wire is not None:
            yield element.io_id, element.width_bytes, wire % (1 << 8 * element.width_bytes)
    elif name == "vin" and isinstance(value, str):
        yield VIN_ID, VARIABLE, value.encode("ascii", "replace")
    elif name.startswith("io_") and name[3:].isdecimal() and int(name[3:]) < 65_536:
        yield from _wire_of_unknown(int(name[3:]), value)


def _wire_of_unknown(io_id: int, value: Scalar) -> Iterable[tuple[int, int, int | bytes]]:
    if isinstance(value, str):
        try:
            data = bytes.fromhex(value)
        except ValueError:
            return
        yield io_id, 8 if len(data) == 8 else VARIABLE, data
    elif isinstance(value, int) and 0 <= value < 1 << 32:
        yield io_id, 1 if value < 1 << 8 else 2 if value < 1 << 16 else 4, int(value)
