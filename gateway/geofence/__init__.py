"""Zones: shapes, index, membership, crossings."""
