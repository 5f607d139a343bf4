"""Sinks against real peers."""
