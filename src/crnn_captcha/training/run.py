"""The folder that a training leaves."""

from __future__ import annotations

import contextlib
import csv
import io
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from crnn_captcha import files
from crnn_captcha.corrections import Corrections, read_corrections
from crnn_captcha.errors import ConfigError, RunError
from crnn_captcha.learned import Learned, from_bytes, to_bytes
from crnn_captcha.training.config import (
    Config,
    change,
    from_toml,
    make_config,
    read_facts,
    to_toml,
    train_alike,
)

HistoryRow = Mapping[str, float]
HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "val_loss",
    "val_exact_match",
    "val_cer",
    "learning_rate",
    "seconds",
    "waiting_seconds",
)
DATA_DIGEST = "data_digest"  # the fact that tells what a run learns from and is validated with
BASE_DIGEST = "base_digest"  # the fact that tells what a run was started from


@dataclass(frozen=True)
class RunFolder:
    """Where each thing of a run lies."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The complete configuration, and facts about the training."""
        return self.path / "config.toml"

    @property
    def history_file(self) -> Path:
        """A row for each epoch."""
        return self.path / "history.csv"

    @property
    def best_model(self) -> Path:
        """The best model, for Keras."""
        return self.path / "models" / "best_crnn_model.keras"

    @property
    def bundle(self) -> Path:
        """The best model, to read with."""
        return self.path / "bundle.onnx"

    @property
    def checkpoints(self) -> Path:
        """What `--resume` goes on from."""
        return self.path / "checkpoint"

    @property
    def corrections(self) -> Path:
        """Corrections of the labels that it was trained with, where there were any."""
        return self.path / "corrections.csv"

    @property
    def learned_file(self) -> Path:
        """Which images it and what it started from have learned from, by `learned`."""
        return self.path / "learned.bin"

    @property
    def fonts(self) -> Path:
        """Fonts recovered from the images to learn from, where asked for."""
        return self.path / "fonts"

    @property
    def report(self) -> Path:
        """Curves and pictures."""
        return self.path / "report"

    @property
    def report_page(self) -> Path:
        """The page of it, which is written last of all."""
        return self.report / "index.html"

    @property
    def tensorboard(self) -> Path:
        """Logs for TensorBoard, where asked for."""
        return self.path / "tensorboard"

    @property
    def starting(self) -> Path:
        """There from when a training takes an empty folder until it has a run in it."""
        return self.path / ".starting"

    @property
    def exists(self) -> bool:
        """Whether a training was started here."""
        return self.config_file.is_file()

    def check_new(self) -> None:
        """Makes sure that nothing is here yet.

        Raises:
            RunError: if the folder already holds something.
        """
        if self.path.exists() and not self._is_empty():
            go_on = "Go on with the run in it by --resume, or name" if self.exists else "Name"
            raise RunError(
                f"A new run needs a new or empty folder. Received: {self.path}. "
                f"{go_on} another folder."
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other trainings out while the block trains here; makes the folder.

        Where no run came of it, a folder that was new or empty is so again: at the end of the
        block or, if the process was killed, when the next one takes it.

        Raises:
            RunError: if another process trains here.
            OSError: if the folder can't be made or opened.
        """
        is_new = not self.path.exists()
        if is_new:
            self.path.mkdir(parents=True)
        try:
            with files.held(self.path) as alone:
                if not alone:
                    raise RunError(
                        f"One training at a time goes on in a run folder. Received: {self.path}, "
                        "where another process is training. Wait for it or stop it, or train "
                        "into another folder."
                    )
                with self._started():
                    yield
        finally:
            if is_new and not self.exists:
                with contextlib.suppress(OSError):  # somebody else put something there
                    self.path.rmdir()

    @contextlib.contextmanager
    def _started(self) -> Iterator[None]:
        """Leaves a folder that was empty with a run in it, or empty."""
        self._clear()
        if self._is_empty():
            self.starting.touch()
        try:
            yield
        finally:
            self._clear()

    def _clear(self) -> None:
        """Takes away what a start has left that made no run."""
        if not self.starting.exists():
            return
        if not self.exists:
            shutil.rmtree(self.fonts, ignore_errors=True)
            for file in (self.corrections, self.learned_file, self.config_file):
                for part in (file, *files.half_written(file)):
                    part.unlink(missing_ok=True)
        self.starting.unlink()

    def _is_empty(self) -> bool:
        return self.path.is_dir() and all(path == self.starting for path in self.path.iterdir())

    def start(
        self,
        config: Config,
        data: Path | None,
        *,
        weights: int,
        data_digest: str = "",
        corrections: Corrections | None = None,
        base: Path | None = None,
        base_digest: str = "",
        learned: Learned | None = None,
    ) -> None:
        """Writes the configuration of a new run, and facts about its training.

        Args:
            config: of the run.
            data: where its data lie; None if all images are drawn.
            weights: of the network that reads.
            data_digest: of the images to learn from and to validate with, and their labels.
            corrections: of the data's labels; the run keeps a copy of them.
            base: the trained model that it starts from.
            base_digest: of that.
            learned: the images that it and what it starts from learn from; None if all are drawn,
                or it isn't known.
        """
        facts = _facts(data) | {"weights": str(weights), DATA_DIGEST: data_digest}
        if base is not None:
            facts |= {"base": _printable(base), BASE_DIGEST: base_digest}
        if corrections and corrections.digest:
            corrections.write(self.corrections)  # first: with a configuration the run exists
            facts["corrections"] = corrections.digest
        if learned is not None:
            files.write_bytes(self.learned_file, to_bytes(learned))
        files.write_text(self.config_file, to_toml(config, facts))
        self.starting.unlink(missing_ok=True)

    def check_data(self, digest: str) -> None:
        """Makes sure that the run was started with such images and labels, as far as it says so.

        Args:
            digest: of the images to learn from and to validate with, and their labels.

        Raises:
            RunError: if they are others.
        """
        known = self.facts().get(DATA_DIGEST)
        if known and known != digest:
            raise RunError(
                f"--resume goes on with the data that the run in {self.path} was started with. "
                "Received: other images or labels. Name the same data, or train into another "
                "folder."
            )

    def check_base(self, path: Path, digest: str) -> None:
        """Makes sure that the run was started from a trained model.

        Args:
            path: where the model was read.
            digest: tells it from all others.

        Raises:
            RunError: if it was started from another one, or from nothing.
        """
        if self.facts().get(BASE_DIGEST) != digest:
            raise RunError(
                f"--resume goes on with what the run in {self.path} was started from. Received: "
                f"--from {path}, which is something else or changed since. Leave --from out, or "
                "train into another folder."
            )

    def own_corrections(self, given: Corrections | None = None) -> Corrections | None:
        """The corrections to train with: those given for a new run, else the run's own.

        Raises:
            RunError: if the run has others than those given, or its own were changed since.
            DatasetError: if its own can't be read.
        """
        if not self.exists:
            return given
        digest = self.facts().get("corrections", "")
        if given is not None and given.digest != digest:
            raise RunError(
                f"--resume goes on with the corrections that the run in {self.path} was started "
                f"with. Received: {'others' if digest else 'some, and it has none'}. Leave "
                "--corrections out, or train into another folder."
            )
        if not digest:
            return None
        own = read_corrections(self.corrections)
        if own.digest != digest:
            raise RunError(
                f"A run keeps the corrections that it was started with. Received: others in "
                f"{self.corrections}. Put the right ones back, or train into another folder."
            )
        return own

    def load_config(self) -> Config:
        """The configuration of the run.

        Raises:
            RunError: if there is no run here.
            ConfigError: if its configuration isn't valid.
        """
        return from_toml(self._config_text())

    def facts(self) -> dict[str, str]:
        """What `config.toml` says about the training: data, commit, versions."""
        return read_facts(self._config_text())

    def learned(self) -> Learned | None:
        """The images that it and what it started from have learned from; None if it doesn't say."""
        try:
            return from_bytes(self.learned_file.read_bytes())
        except FileNotFoundError:
            return None

    def _config_text(self) -> str:
        if not self.exists:
            raise RunError(
                f"A run folder holds a config.toml. Received: {self.path}. "
                "Name the folder that `crnn-captcha train` was given with --out."
            )
        try:
            return self.config_file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RunError(f"{self.config_file} isn't text in UTF-8: {error}.") from error

    def write_history(self, rows: Sequence[HistoryRow]) -> None:
        """Writes `history.csv` anew."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=HISTORY_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        files.write_text(self.history_file, text.getvalue())

    def read_history(self) -> list[dict[str, float]]:
        """The rows of `history.csv`, one for each finished epoch.

        Raises:
            RunError: if it isn't a table of numbers with `HISTORY_COLUMNS`.
        """
        if not self.history_file.is_file():
            return []
        with self.history_file.open(encoding="utf-8", newline="") as file:
            try:
                return [
                    {column: float(row[column]) for column in HISTORY_COLUMNS}
                    for row in csv.DictReader(file)
                ]
            except (KeyError, TypeError, ValueError) as error:
                raise RunError(f"{self.history_file} isn't a history: {error!r}") from error


def run_config(
    run: str | Path,
    *,
    preset: str | None,
    settings: Sequence[str],
    resume: bool,
    base: Config | None = None,
) -> Config:
    """The configuration to train with: a resumed run's own, or a preset's with settings.

    Args:
        run: the run folder.
        preset: a name of `PRESETS`; None is the default, that of `base`, or a resumed run's.
        settings: as `change` takes them; a resumed run may only be given its own values, but for
            those of `MADE_BY`.
        resume: whether to go on with a run in the folder, if there is one.
        base: of a trained model that a new run starts from, as `make_config` takes it.

    Raises:
        ConfigError: if a preset, a key or a value isn't known, or isn't the resumed run's.
    """
    folder = RunFolder(Path(run))
    if not (resume and folder.exists):
        return make_config(preset, settings, base)
    config = folder.load_config()
    changed = change(config, settings)
    if not train_alike(config, changed) or preset not in (None, config.preset):
        raise ConfigError(
            f"--resume goes on with the configuration in {folder.config_file}. Received: other "
            "options. Leave them out, or train into another folder."
        )
    return changed


def best_row(rows: Sequence[HistoryRow], monitor: str) -> HistoryRow:
    """The row of the best epoch by the figure `monitor`; empty if there is no row."""
    if not rows:
        return {}
    best = max if monitor == "val_exact_match" else min
    return best(rows, key=lambda row: row[monitor])


def _facts(data: Path | None) -> dict[str, str]:
    packages = ("crnn-captcha", "keras", "tensorflow", "numpy", "opencv-python-headless")
    return {
        "data": _printable(data) if data else "",
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **{package: version(package) for package in packages},
    }


def _printable(path: Path) -> str:
    return str(path.resolve()).encode(errors="backslashreplace").decode()


def _commit() -> str:
    checkout = Path(__file__).parents[3]
    if not (checkout / "src" / "crnn_captcha").is_dir():
        return "unknown"  # installed, perhaps within somebody else's repository
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
