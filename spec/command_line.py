"""The command `blitz`: verify, explain, those of the harness, and those that train.

A command imports what it needs when it runs, so that help and usage errors do not wait for PyTorch.
"""

import argparse
import io
import os
import sys
from pathlib import Path

from blitz.commands.arguments import add_commands as add_library_commands
from blitz.errors import BlitzError
from spec.harness.commands import add_commands as add_harness_commands
from spec.harness.commands import add_language
from spec.harness.errors import HarnessError
from spec.harness.language import language
from spec.harness.records.escaping import printable
from spec.harness.surroundings import open_streams
from spec.notes import NOTES

NO_ANSWER = 2


def main(argv: list[str] | None = None) -> int:
    """Run one command; a problem that a person can put right is one sentence.

    The status is 0 if the answer is good, 1 if it is bad, 2 if there is none, 3 if a run did not finish.
    """
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal of ASCII cannot show is told, too
    arguments = parser().parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except (BlitzError, HarnessError) as error:
        print(f"blitz: {printable(str(error))}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("blitz: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # of a reader who has left: `blitz statements | head`
            print(f"blitz: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more to write what is left
        return NO_ANSWER
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="blitz", description="The 60 Minute Blitz, held to your PyTorch.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("verify", help="check every statement of the notes on this machine")
    check.add_argument(
        "--data", metavar="PATH", help="CIFAR-10 to check on; else BLITZ_DATA, else the user's cache"
    )
    check.add_argument(
        "--require", metavar="WHAT", action="append", default=[], help="cuda, cuda:N or cifar10"
    )
    check.add_argument(
        "--device", metavar="NAME", help="the accelerator to check, such as cuda:1 or xpu; cpu for none"
    )
    check.add_argument(
        "--records", metavar="PATH", default="records.jsonl", help="file to write; default: %(default)s"
    )
    check.add_argument(
        "--download", action="store_true", help="fetch the official CIFAR-10 (170 MB) first, if it is absent"
    )
    check.add_argument(
        "--slow", action="store_true", help="also check what takes whole trainings: some minutes"
    )
    add_language(check)
    check.set_defaults(run=_verify)

    tell = commands.add_parser("explain", help="show one statement: what is true, its checks, its faults")
    tell.add_argument("statement", metavar="STATEMENT", help="such as nn.net-print")
    tell.add_argument(
        "--svg", type=Path, metavar="FILE", help="draw the statement's autograd graph there as well"
    )
    add_language(tell)
    tell.set_defaults(run=_explain)

    add_harness_commands(commands, NOTES)
    add_library_commands(commands)
    return top


def _verify(arguments: argparse.Namespace) -> int:
    from blitz.cifar10 import data
    from spec.harness.runs.verify import verify

    if arguments.download:
        data.load(arguments.data, download=True, progress=True)
    options = [f"--require={what}" for what in arguments.require]
    if arguments.data:
        options.append(f"--data={arguments.data}")
    if arguments.device:
        options.append(f"--device={arguments.device}")
    if arguments.slow:
        options.append("--slow")
    options.append(f"--records={arguments.records}")
    return verify(options, NOTES, language(arguments.language, NOTES))


def _explain(arguments: argparse.Namespace) -> int:
    from blitz.explained.graph import draw, outline
    from blitz.training import checkpoint
    from spec.harness.statements import catalogue

    statement = catalogue.find(arguments.statement, NOTES)
    result, leaves = statement.graph() if statement.graph else (None, {})
    if arguments.svg:
        if result is None:
            others = ", ".join(other.id for other in catalogue.statements(NOTES) if other.graph)
            raise BlitzError(f"the statement {statement.id} has no graph to draw; these have: {others}")
        if arguments.svg.is_dir():
            raise BlitzError(f"{arguments.svg} is a folder; name a file for the picture")
        picture = draw(result, params=leaves, title=f"{statement.id}: {statement.sentence}")
        checkpoint.write(picture.encode(), arguments.svg)
    print(catalogue.explain(statement, NOTES, language(arguments.language, NOTES)))
    if result is not None:
        print("\n# its graph, from the result back to the leaves (●)\n")
        print(outline(result, params=leaves))
    if arguments.svg:
        print(f"\nIts graph is drawn in {arguments.svg}.")
    return 0
