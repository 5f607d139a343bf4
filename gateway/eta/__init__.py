"""Paths, progress, travel times and predictions."""
