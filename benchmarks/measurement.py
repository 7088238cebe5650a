"""What the benchmarks share: interleaved repeats, their spread, and rows for RESULTS.md."""

from __future__ import annotations

import argparse
import json
import platform
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from crnn_captcha.errors import CrnnCaptchaError
from crnn_captcha.windows import available_cores

if TYPE_CHECKING:
    from crnn_captcha.bundle import BundleMetadata
    from crnn_captcha.dataset import Dataset, Sample, Split
    from crnn_captcha.outcomes import EvaluationResult

COLUMNS = ("what", "figure", "command", "date", "commit", "machine", "spread")
SEED = 1  # of the images that are drawn, or of the choice among those of a data set
BUSY = 0.1  # share of the cores' time from which on figures are of no use

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """A row of RESULTS.md."""

    what: str
    figure: str
    command: str
    date: str
    commit: str
    machine: str
    spread: str

    def __str__(self) -> str:
        cells = (getattr(self, column).replace("|", "\\|") for column in COLUMNS)
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Figure:
    """The median of repeated measurements, and between which quartiles they lie.

    Attributes:
        what: was measured.
        values: one a repeat.
        unit: stands behind each number.
        digits: after the decimal point.
    """

    what: str
    values: Sequence[float]
    unit: str = ""
    digits: int = 2

    def row(self) -> Row:
        """The row of this figure, measured here and now."""
        low, median, high = (
            f"{value:.{self.digits}f}" for value in np.percentile(self.values, [25, 50, 75])
        )
        unit = f" {self.unit}" if self.unit else ""
        count = len(self.values)
        spread = f"{low} to {high}{unit}, quartiles of {count}" if count > 1 else "one value"
        now = datetime.now(UTC).strftime("%Y-%m-%d")
        return Row(self.what, f"{median}{unit}", _command(), now, _commit(), _machine(), spread)


@dataclass(frozen=True)
class Images:
    """What is read.

    Attributes:
        files: the bytes of each.
        labels: what they say.
        source: where they come from, for people.
    """

    files: Sequence[bytes]
    labels: Sequence[str]
    source: str


def header() -> str:
    """The head of the table that rows stand in."""
    return f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}"


def alternate(
    runs: Sequence[Callable[[], T]], repeats: int, *, warm_ups: int = 1, pause_s: float = 0.0
) -> list[list[T]]:
    """Calls A, B, A, B, …: what slows the machine for a while slows all of them.

    Args:
        runs: what to call, each in its turn.
        repeats: turns that count.
        warm_ups: turns before, whose results are dropped.
        pause_s: seconds before each call, in which threads of the one before go to sleep.

    Returns:
        For each of `runs` its results, one a turn.
    """
    results: list[list[T]] = [[] for _ in runs]
    for turn in range(warm_ups + repeats):
        for run, values in zip(runs, results, strict=True):
            time.sleep(pause_s)
            value = run()
            if turn >= warm_ups:
                values.append(value)
    return results


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of each turn: drift from turn to turn cancels."""
    return [a / b for a, b in zip(above, below, strict=True)]


def argument_parser(description: str | None, *, reads: bool = False) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take, and with `--model` for one that reads images."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print a line of JSON after the table")
    if reads:
        parser.add_argument(
            "--model", metavar="M", help="bundle, run, or name of the package's (default: standard)"
        )
    return parser


def model_option(model: str | None) -> list[str]:
    """`--model` for another process, if it was given."""
    return ["--model", model] if model else []


def add_image_options(parser: argparse.ArgumentParser, *, count: int) -> None:
    """The options that `chosen_images` takes, with so many images by default."""
    from crnn_captcha.dataset import SPLITS  # here, as most benchmarks read no data set

    parser.add_argument("--data", metavar="DATA", help="read these (default: generated images)")
    parser.add_argument("--split", choices=SPLITS, default="test", help="(default: %(default)s)")
    parser.add_argument("--images", type=positive, default=count, help="(default: %(default)s)")


def chosen_images(options: argparse.Namespace) -> Images:
    """Images of a data set, or generated ones, chosen or drawn by `SEED`.

    Of a split that has fewer than are asked for, all are chosen.
    """
    from crnn_captcha.dataset import open_dataset
    from crnn_captcha.generator import generate

    if not options.data:
        drawn = list(generate(options.images, SEED))
        return Images([i.data for i in drawn], [i.label for i in drawn], "generated")
    dataset = open_dataset(options.data)
    samples = dataset.samples(options.split)
    chosen = random.Random(SEED).sample(samples, min(options.images, len(samples)))
    return Images(
        [dataset.read(sample) for sample in chosen],
        [sample.label for sample in chosen],
        f"{Path(options.data).name}, {options.split}",
    )


def model_name(model: str | None) -> str:
    """For people."""
    from crnn_captcha.recognizer import DEFAULT_BUNDLE

    return Path(model).resolve().name if model else DEFAULT_BUNDLE.stem


def positive(text: str) -> int:
    """A whole number from 1, as an argument's type."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 is needed, not {text}")
    return number


def common_images(
    data: str, split: Split, bundles: Sequence[BundleMetadata]
) -> tuple[Dataset, tuple[Sample, ...]]:
    """The data, and the images that are in a split for all of several models.

    Each may have cut validation out of train in its own way: validation is then what none of them
    has learned from.
    """
    from crnn_captcha.dataset import open_dataset

    datasets = [
        open_dataset(data, validation_fraction=share, seed=seed)
        for share, seed in dict.fromkeys(bundle.validation_cut for bundle in bundles)
    ]
    names = [{sample.name for sample in dataset.samples(split)} for dataset in datasets]
    common = set.intersection(*names)
    samples = tuple(s for s in datasets[0].samples(split) if s.name in common)
    return datasets[0], samples


def reading_figures(what: str, result: EvaluationResult) -> list[Figure]:
    """How well something reads, in three figures."""
    shares = {
        "exact match": result.exact_match,
        "the same with look-alikes merged": result.merged_exact_match,
        "CER": result.cer,
    }
    return [Figure(f"{what}: {key}", [100 * value], "%", 1) for key, value in shares.items()]


def report(figures: Sequence[Figure], *, as_json: bool) -> None:
    """Prints the figures as a Markdown table and, when asked, all values as a line of JSON."""
    rows = [figure.row() for figure in figures]
    print(header(), *rows, sep="\n", flush=True)
    if as_json:
        values = [list(figure.values) for figure in figures]
        print(
            json.dumps(
                [asdict(row) | {"values": v} for row, v in zip(rows, values, strict=True)],
                ensure_ascii=False,
            )
        )


def run(main: Callable[[], None], *, times: bool = True) -> None:
    """Runs a script, and says in one line what is wrong.

    Args:
        main: of the script.
        times: whether it times something, and warns when the machine is busy.
    """
    asked = {"-h", "--help"} & set(sys.argv)
    if times and not asked and (share := _busy_share()) > BUSY:
        print(
            f"Others keep {share:.0%} of the machine's cores busy: don't keep these figures.",
            file=sys.stderr,
        )
    try:
        main()
    except (CrnnCaptchaError, OSError) as error:
        sys.exit(str(error))


def _busy_share(seconds: float = 1.0) -> float:
    """The share of all cores' time that was used in the next seconds; 0 where Linux isn't."""
    if not (stat := Path("/proc/stat")).is_file():
        return 0.0
    before = [int(ticks) for ticks in stat.read_text().splitlines()[0].split()[1:9]]
    time.sleep(seconds)
    after = [int(ticks) for ticks in stat.read_text().splitlines()[0].split()[1:9]]
    ticks = [b - a for a, b in zip(before, after, strict=True)]
    return 1 - (ticks[3] + ticks[4]) / max(1, sum(ticks))  # idle, and idle waiting for a disk


def _command() -> str:
    # A path is shown by its last part: the others only mean something on this machine.
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    return f"`{shlex.join(['python', script, *(a for a in arguments if a != '--json')])}`"


def _commit() -> str:
    describe = ["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *describe]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        cpu = next((v.strip() for name, _, v in lines if name.strip() == "model name"), cpu)
    python = platform.python_version()
    return f"{cpu}, {available_cores()} cores, {platform.system()}, Python {python}"
