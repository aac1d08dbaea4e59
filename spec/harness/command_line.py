"""The command `blitz`: verify, doctor, summary, matrix, explain, claims, perf, train, evaluate, predict.

A command imports what it needs when it runs, so that help and usage errors do not wait for PyTorch.
"""

import argparse
import io
import os
import sys
from pathlib import Path

from blitz.commands.arguments import add_commands
from blitz.errors import BlitzError
from spec.harness.perf import compare as perf
from spec.harness.records.escaping import printable
from spec.harness.surroundings import open_streams

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
    except BlitzError as error:
        print(f"blitz: {printable(str(error))}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("blitz: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # of a reader who has left: `blitz claims | head`
            print(f"blitz: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more to write what is left
        return NO_ANSWER
    return status


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="blitz", description="The 60 Minute Blitz, held to your PyTorch.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser(
        "verify", help="run every claim and tell which statements of the notes hold here"
    )
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
        "--verdicts", metavar="PATH", default="verdicts.jsonl", help="file to write; default: %(default)s"
    )
    check.add_argument(
        "--download", action="store_true", help="fetch the official CIFAR-10 (170 MB) first, if it is absent"
    )
    check.set_defaults(run=_verify)

    climb = commands.add_parser("doctor", help="find the first cause of what is wrong with an accelerator")
    climb.add_argument(
        "--device", metavar="NAME", help="a kind, such as cuda, xpu or cpu, or one device, such as cuda:1"
    )
    climb.set_defaults(run=_doctor)

    words = commands.add_parser("summary", help="tell in words what a verdict file holds")
    words.add_argument("verdicts", type=Path, metavar="VERDICTS", help="a file that --verdicts wrote")
    words.set_defaults(run=_summary)

    table = commands.add_parser(
        "matrix", help="tell what differs between verdict files of several environments"
    )
    table.add_argument(
        "verdicts", type=Path, metavar="VERDICTS", nargs="+", help="files that --verdicts wrote"
    )
    table.set_defaults(run=_matrix)

    tell = commands.add_parser("explain", help="tell one claim: its sentence, its proof, its sabotages")
    tell.add_argument("claim", metavar="CLAIM", help="such as nn.net-print")
    tell.add_argument(
        "--svg", type=Path, metavar="FILE", help="draw the claim's autograd graph there as well"
    )
    tell.set_defaults(run=_explain)

    every = commands.add_parser("statements", help="print all statements as Markdown (docs/statements.md)")
    every.set_defaults(run=_statements)

    perf.add_command(commands)
    add_commands(commands)
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
    return verify([*options, f"--verdicts={arguments.verdicts}"])


def _doctor(arguments: argparse.Namespace) -> int:
    from spec.harness.accelerator.doctor import doctor

    return doctor(arguments.device)


def _summary(arguments: argparse.Namespace) -> int:
    from spec.harness.records import reading, summary

    try:
        found = reading.read(arguments.verdicts)
    except reading.UnfinishedError as unfinished:
        print("\n".join([printable(str(unfinished)), "", *summary.of_file(unfinished.found)]))
        return unfinished.status
    trouble = summary.trouble(found)
    print("\n".join([*summary.of_file(found), *(["", trouble] if trouble else [])]))
    return 1 if trouble or summary.any_bad(found.results) else 0


def _matrix(arguments: argparse.Namespace) -> int:
    from spec.harness.records import matrix

    lines, as_said = matrix.report(matrix.columns(arguments.verdicts))
    print("\n".join(lines))
    return 0 if as_said else 1


def _explain(arguments: argparse.Namespace) -> int:
    from blitz.training import checkpoint
    from spec.harness.statements import catalogue

    claim = catalogue.find(arguments.claim)
    if arguments.svg:
        if arguments.svg.is_dir():
            raise BlitzError(f"{arguments.svg} is a folder; name a file for the picture")
        checkpoint.write(catalogue.picture(claim).encode(), arguments.svg)
    print(catalogue.explain(claim))
    if arguments.svg:
        print(f"\nIts graph is drawn in {arguments.svg}.")
    return 0


def _statements(arguments: argparse.Namespace) -> int:
    from spec.harness.statements import catalogue

    print(catalogue.page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
