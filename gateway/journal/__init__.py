"""The durable log: what was received, what was concluded, and how far each reader is."""

from gateway.journal.intake import Committed, Intake, IntakeOptions
from gateway.journal.records import (
    Accounting,
    Appended,
    Counts,
    Cursor,
    DeviceAccount,
    DiskTrouble,
    Feed,
    Gap,
    JournalError,
    JournalOptions,
    Quarantined,
    Refused,
    Retained,
    Stored,
    TrackFix,
)
from gateway.journal.registry import Registry
from gateway.journal.store import Journal
from gateway.journal.watch import Watch

__all__ = [
    "Accounting",
    "Appended",
    "Committed",
    "Counts",
    "Cursor",
    "DeviceAccount",
    "DiskTrouble",
    "Feed",
    "Gap",
    "Intake",
    "IntakeOptions",
    "Journal",
    "JournalError",
    "JournalOptions",
    "Quarantined",
    "Refused",
    "Registry",
    "Retained",
    "Stored",
    "TrackFix",
    "Watch",
]
