"""Serve: take positions from the configured sources, keep them, conclude, and tell whoever subscribes.

Stops gracefully on SIGTERM or SIGINT: what was taken is on disk, and readers go on where they were at the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from gateway import logs
from gateway.app import Gateway
from gateway.config import Config, open_doors, read_config
from gateway.journal import JournalError
from gateway.loop import run_until_signal
from gateway.problems import BadInput

EXAMPLES = """\
examples:
  gateway run gateway.toml
  GATEWAY_TOKEN=… gateway run /etc/telematics-gateway/gateway.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="FILE", help="the configuration (TOML)")


def run(args: argparse.Namespace) -> int:
    config = read_config(args.config)
    if problems := open_doors(config, str(args.config)):
        raise BadInput(problems)
    logs.set_up(config.gateway.log_level, config.gateway.log_format)
    try:
        run_until_signal(lambda stop: serve(config, stop))
    except JournalError as e:  # another gateway owns it, a newer one wrote it, it cannot be read
        print(e, file=sys.stderr)
        return 1
    return 0


async def serve(config: Config, stop: asyncio.Event) -> None:
    await Gateway(config).run(stop)
