"""The command `crnn-captcha`: each command in a file of its own, imported when it is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NoReturn

import click

from crnn_captcha.errors import CrnnCaptchaError

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "Read the bundled examples: the first look.",
        "read": "Read images.",
        "train": "Train a reader on labelled images.",
        "evaluate": "Measure how well a model reads.",
        "compare": "Train several configurations side by side.",
        "check": "Look for what would spoil a training.",
        "generate": "Draw labelled CAPTCHAs.",
        "fonts": "Recover the fonts of labelled images, to draw more.",
        "export": "Write a run's best model as one file.",
    }
)  # in the order that a newcomer needs them; each is cli/NAME.py
NAME = "crnn-captcha"
STOPPED = 1  # by Ctrl-C: done in part


class _Commands(click.Group):
    """Imports a command's file when it is called: `read` starts without training's libraries."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"crnn_captcha.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # here, as click itself would say "Aborted!" and exit with 1
            _say("stopped.")
            ctx.exit(STOPPED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="crnn-captcha", prog_name=NAME)
def cli() -> None:
    """Learns to read text CAPTCHAs from labelled examples, and measures how well it reads.

    \b
    A first look:           crnn-captcha demo
    Read an image:          crnn-captcha read captcha.png
    Train on your own zip:  crnn-captcha train captchas.zip --out runs/first
    """  # noqa: D301


def main() -> None:
    """Runs the command line; every error that is raised on purpose becomes one line, exit 2."""
    try:
        sys.exit(cli(prog_name=NAME, standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else NAME
        _say(f"{error.format_message()} See {command} --help.")
    except (CrnnCaptchaError, OSError) as error:
        _say(str(error))
    sys.exit(2)


def _say(message: str) -> None:
    click.echo(f"{NAME}: {' '.join(message.split())}", err=True)


def run() -> NoReturn:
    """Runs the command line as a process of its own, and ends it without taking it down first.

    Letting go of NumPy, OpenCV and ONNX Runtime takes a while, for nothing, and a worker that hangs
    would never let go.
    """
    _open_streams()
    try:
        main()
        exit_code = 0
    except SystemExit as end:
        exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # a full disk behind a redirection
        exit_code = exit_code or 1
    os._exit(exit_code)


def _open_streams() -> None:
    """Makes every text printable, here and in processes that are started from here.

    A stream that was closed (`2>&-`) loses it, and its number goes to no file of ours; what an
    encoding lacks, as that of a redirection on Windows does, is escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            lowest = os.open(os.devnull, os.O_RDWR)  # which is `number`: those below are open
            os.set_inheritable(lowest, True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
