"""Zones: shapes, index, membership, crossings."""

from gateway.geofence.crossings import Crossing
from gateway.geofence.geojson import fences_document, read_fences
from gateway.geofence.membership import p_inside
from gateway.geofence.plans import read_plans
from gateway.geofence.zones import Located, Zones, stop_zone

__all__ = ["Crossing", "Located", "Zones", "fences_document", "p_inside", "read_fences", "read_plans", "stop_zone"]
