"""The `gateway` command. Data goes to stdout, talk to stderr; exit code 0 is well, 1 something was wrong, 2 misuse."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable

from gateway import __version__
from gateway.problems import BadInput

EPILOG = """\
examples:
  gateway demo                                  a gateway, a simulated fleet and the live map, on this machine alone
  gateway sample-config > gateway.toml          a commented configuration to start from
  gateway check gateway.toml                    is it right? are its plans and fences?
  gateway run gateway.toml                      serve until SIGTERM
  gateway decode teltonika --hex frames.txt     what do these bytes say?
  gateway replay --positions day.jsonl --plans plans.json    what would the engine have said?
"""
COMMANDS = {  # name → (module with add_arguments and run, one line of help)
    "run": ("gateway.commands.run", "serve: take positions, keep them, tell dispatch"),
    "demo": ("gateway.demo", "a gateway, a simulated fleet and the live map, with nothing to set up"),
    "check": ("gateway.commands.check", "look for mistakes in a configuration and the files it names"),
    "doctor": ("gateway.commands.doctor", "look at this machine: disk, ports, brokers, database, serial devices"),
    "decode": ("gateway.decode", "decode captured bytes of a protocol to JSON Lines"),
    "replay": ("gateway.replay", "run the engine over recorded positions and print its events"),
    "sample-config": ("gateway.commands.sample", "print a commented configuration"),
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="gateway",
        description="GPS telematics gateway: from a tracker's bytes to a dispatcher's arrival event.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = found.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return found


def main(argv: list[str] | None = None) -> int:
    """The command's exit code. Each command is imported only when it is asked for, so that the small ones start fast."""
    arguments = sys.argv[1:] if argv is None else argv
    chosen, rest = parser().parse_known_args(arguments[:1])[0].command, arguments[1:]
    module = importlib.import_module(COMMANDS[chosen][0])
    sub = argparse.ArgumentParser(
        prog=f"gateway {chosen}",
        description=module.__doc__,
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(sub)
    run: Callable[[argparse.Namespace], int] = module.run
    try:
        return run(sub.parse_intermixed_args(rest))
    except BadInput as e:
        print(e, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
