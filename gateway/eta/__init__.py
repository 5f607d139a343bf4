"""Predictions: a plan's path and the progress along it, learnt travel and service times, and the spread of past errors."""

from gateway.eta.path import Path, Waypoint
from gateway.eta.predictor import Course, Forecast, Predictor, Where, site_of
from gateway.eta.progress import Progress, Seen, follow

__all__ = ["Course", "Forecast", "Path", "Predictor", "Progress", "Seen", "Waypoint", "Where", "follow", "site_of"]
