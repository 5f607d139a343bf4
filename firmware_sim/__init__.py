"""Trackers that do not exist: they drive, report and misbehave as real ones do, and know the truth."""
