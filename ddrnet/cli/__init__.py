"""The `ddrnet` command: thin layers on the functions of the library, a file per subcommand."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ddrnet import __version__
from ddrnet.cli import (
    benchmark,
    convert,
    data,
    demo,
    env,
    evaluate,
    export,
    predict,
    publish,
    train,
)
from ddrnet.cli import list as list_
from ddrnet.cli.report import printable
from ddrnet.errors import DDRNetError

INTERRUPTED = 130
"""The exit code after Ctrl-C, as in shells."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments; by default those of the process.

    Returns:
        0 after success, 1 after an error, which is printed as one line, 130 after Ctrl-C.
        Wrong usage exits with 2.
    """
    parser = command_line()
    args = parser.parse_args(argv)
    if args.run is None:
        parser.print_help()
        return 0
    try:
        with _logging_to_stderr(logging.DEBUG if args.debug else logging.INFO):
            return int(args.run(args))
    except BrokenPipeError:  # the reader of the output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DDRNetError, ValueError, OSError, FloatingPointError) as error:
        if args.debug:
            raise
        print(f"ddrnet: error: {_one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ddrnet: interrupted", file=sys.stderr)
        return INTERRUPTED


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command, with those of its subcommands."""
    parser = argparse.ArgumentParser(
        prog="ddrnet", description="DDRNet: real-time semantic segmentation of road scenes."
    )
    parser.add_argument("-V", "--version", action="version", version=f"ddrnet {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and debug messages")
    parser.set_defaults(run=None)
    subparsers = parser.add_subparsers(metavar="COMMAND")
    for command in (
        list_,
        demo,
        predict,
        evaluate,
        benchmark,
        train,
        data,
        export,
        convert,
        publish,
        env,
    ):
        command.add_parser(subparsers)
    return parser


@contextmanager
def _logging_to_stderr(level: int) -> Iterator[None]:
    """Show the messages of the library, from `level` up, while a command runs."""
    logger, handler = logging.getLogger("ddrnet"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def _one_line(error: BaseException) -> str:
    """Return an error as one line that cannot steer a terminal."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    return printable(" ".join(text.split()) or type(error).__name__)
