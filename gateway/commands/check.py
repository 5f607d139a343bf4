"""Look for mistakes in a configuration and in the plans and fences that it names, without starting anything.

Every mistake is a line on stderr: file, key, what is wrong and what to write instead. Exit code 1 when there is one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gateway.config import Config, open_doors, read_config
from gateway.geofence import read_fences, read_plans
from gateway.problems import BadInput, Problem
from gateway.sinks.webhook import signing_key
from gateway.sources.decoding import options_for
from gateway.sources.mqtt_client import problems as mqtt_problems
from gateway.sources.mqtt_endpoint import problems as endpoint_problems
from gateway.sources.serial_port import problems as serial_problems

EXAMPLES = """\
example:
  gateway check gateway.toml && systemctl restart telematics-gateway
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="FILE", help="the configuration (TOML)")


def run(args: argparse.Namespace) -> int:
    config = read_config(args.config)
    problems = list(find_problems(config, str(args.config)))
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{args.config} is right", file=sys.stderr)
    return 1 if problems else 0


def find_problems(config: Config, where: str) -> Iterator[Problem]:
    """Everything that `run` would refuse."""
    vehicles = {d.vehicle_id for d in config.registry.devices}

    def known(vehicle_id: str) -> bool:
        return config.registry.unknown == "register" or vehicle_id in vehicles

    for name in config.gateway.plans:
        yield from _problems_of(partial(_check_plans, name, known))
    for name in config.gateway.fences:
        yield from _problems_of(partial(_check_fences, name))
    for i, serial in enumerate(config.sources.serial):
        yield from serial_problems(serial, f"{where}: sources.serial[{i}]")
    for recording in config.sources.recording:
        yield from _problems_of(partial(_read, recording.path))
        yield from options_for(recording.protocol, recording.options, f"{where}: recording {recording.name!r}")[1]
    for i, mqtt in enumerate(config.sources.mqtt):
        yield from mqtt_problems(mqtt, f"{where}: sources.mqtt[{i}]")
    yield from open_doors(config, where)
    if config.sources.endpoint is not None:
        yield from endpoint_problems(config.sources.endpoint, f"{where}: sources.endpoint")
    if config.sinks.webhook is not None:
        name = config.sinks.webhook.secret_env
        yield from _problems_of(lambda: signing_key(os.environ.get(name, ""), f"environment variable {name}"))
    yield from _problems_of(config.web.token)


def _check_plans(name: str, known: Callable[[str], bool]) -> None:
    read_plans(_read(name), name, known)


def _check_fences(name: str) -> None:
    read_fences(_read(name), name)


def _problems_of(look: Callable[[], object]) -> tuple[Problem, ...]:
    try:
        look()
    except BadInput as e:
        return e.problems
    return ()


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as e:
        raise BadInput([Problem(name, e.strerror or str(e), "name a file that can be read")]) from e
