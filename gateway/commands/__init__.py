"""The small commands of `gateway`."""
