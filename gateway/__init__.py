"""A GPS telematics gateway: from a tracker's bytes to a dispatcher's arrival event."""

__version__ = "0.1.0"
