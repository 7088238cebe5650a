"""The command `crnn-captcha`: each command in a file of its own, imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType

import click

from crnn_captcha.errors import CrnnCaptchaError

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "Read the bundled examples: the first look.",
        "read": "Read images.",
        "train": "Train a reader on labelled images.",
        "evaluate": "Measure how well a model reads.",
        "check": "Look for what would spoil a training.",
        "generate": "Draw labelled CAPTCHAs.",
        "export": "Write a run's best model as one file.",
    }
)  # in the order that a newcomer needs them; each is cli/NAME.py
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
            click.echo("crnn-captcha: stopped.", err=True)
            ctx.exit(STOPPED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="crnn-captcha", prog_name="crnn-captcha")
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
        cli()
    except (CrnnCaptchaError, OSError) as error:
        click.echo(f"crnn-captcha: {' '.join(str(error).split())}", err=True)
        _leave(2)


def _leave(exit_code: int) -> None:
    """Ends the process, also when a worker hangs that Python would wait for."""
    import multiprocessing

    workers = [t for t in threading.enumerate() if not t.daemon and t != threading.main_thread()]
    children = multiprocessing.active_children()
    if not workers and not children:
        sys.exit(exit_code)
    for child in children:
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
