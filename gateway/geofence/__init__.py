"""Zones: shapes, index, membership, crossings."""

from gateway.geofence.crossings import Crossing
from gateway.geofence.membership import Hysteresis, p_inside
from gateway.geofence.zones import Located, Zones, stop_zone

__all__ = ["Crossing", "Hysteresis", "Located", "Zones", "p_inside", "stop_zone"]
