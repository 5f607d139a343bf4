"""Print a configuration that names every key, commented, to start from."""

from __future__ import annotations

import argparse
import sys

from gateway.config import SAMPLE

EXAMPLES = """\
example:
  gateway sample-config > gateway.toml
"""


def add_arguments(_: argparse.ArgumentParser) -> None:
    """None: it prints the whole file."""


def run(_: argparse.Namespace) -> int:
    sys.stdout.write(SAMPLE.read_text())
    return 0
