"""Configurations are measured alike, and a comparison that was stopped goes on where it was."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import pytest
from conftest import MakeConfig

from crnn_captcha.charset import Charset
from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import ConfigError, DatasetError, RunError
from crnn_captcha.evaluation import evaluate
from crnn_captcha.files import write_text
from crnn_captcha.images import load_image
from crnn_captcha.metrics import Interval
from crnn_captcha.outcomes import EvaluationResult, Outcome, summarize
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.training import budget, comparison
from crnn_captcha.training.comparison import SUMMARY, Comparison, Row, compare, parse_variant
from crnn_captcha.training.config import PRESETS, Config, make_config
from crnn_captcha.training.loop import TrainingResult, train
from crnn_captcha.training.run import HISTORY_COLUMNS, RunFolder
from crnn_captcha.training.timing import epoch_seconds

LABELS = ("ab", "ba", "o1", "aab", "bba", "abab")
READ = {  # by run folder: what its best model makes of the labels
    "classic": ("ab", "ba", "01", "aa", "bb", "ab"),
    "standard": ("ab", "ba", "o1", "aab", "bba", "ab"),
    "classic-seed-1": ("ab", "ba", "01", "aa", "bb", "bb"),
    "standard-model.neck-none": ("ab", "ab", "ol", "aab", "bb", "ab"),
}
VARIANTS = ("classic", "standard", "standard model.neck=none")


class Trainings:
    """Stands in for the processes: keeps what was asked of them, and leaves runs as they do.

    Attributes:
        epoch_seconds: what measuring says.
        slower: how many times as long it says of `standard`.
        measured: presets whose epochs were timed.
        trained: name of the run folder, configuration and `resume` of each training.
        stopped: the run folder whose training is told to stop within its second epoch.
        dying: the one whose process dies.
    """

    def __init__(self) -> None:
        self.epoch_seconds = 20.0
        self.slower = 1.0
        self.measured: list[str] = []
        self.trained: list[tuple[str, Config, bool]] = []
        self.stopped = self.dying = ""

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if function is epoch_seconds:
            _, config = arguments
            self.measured.append(config.preset)
            return self.epoch_seconds * (self.slower if config.preset == "standard" else 1)
        assert function is train
        return self._train(*arguments, **options)

    def _train(
        self, data: str, run: Path, config: Config, *, resume: bool, **options: bool
    ) -> TrainingResult:
        folder = RunFolder(run)
        self.trained.append((run.name, config, resume))
        if run.name == self.dying:
            raise RunError("The process of a training died.")
        if not folder.exists:
            found = dataclasses.replace(config.data, charset=config.data.charset or "01abo")
            folder.start(dataclasses.replace(config, data=found), Path(data), weights=1234)
        stopped = run.name == self.stopped
        epochs = 1 if stopped else config.training.epochs
        row = dict.fromkeys(HISTORY_COLUMNS, 0.5)
        folder.write_history([row | {"epoch": i + 1.0, "seconds": 9.0 + i} for i in range(epochs)])
        folder.bundle.write_bytes(b"")
        write_text(folder.report_page, "")
        return TrainingResult(run, epochs, {}, "", stopped, 0)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """In place of processes; runs read as `READ` says."""

    def measure(data: str, folder: RunFolder, config: Config) -> EvaluationResult:
        pairs = zip(LABELS, READ[folder.path.name], strict=True)
        outcomes = [Outcome(label, label, text, 0.9) for label, text in pairs]
        return summarize(outcomes, charset=Charset("01abo"), seconds=1.0)

    found = Trainings()
    monkeypatch.setattr(budget, "in_own_process", found)
    no_images = SimpleNamespace(digest=lambda *_: "")
    monkeypatch.setattr(budget, "open_data", lambda *_: no_images)
    monkeypatch.setattr(comparison, "open_dataset", lambda *_: no_images)
    free = "check_network_fits"  # takes a second for each
    monkeypatch.setattr(comparison, free, lambda *_, **__: None)
    monkeypatch.setattr(comparison, "_measure", measure)
    return found


@pytest.fixture
def compare_all(tmp_path: Path) -> Callable[..., Comparison]:
    """Compares `VARIANTS` in `out`, for a minute each."""
    return functools.partial(compare, "data.zip", tmp_path / "out", VARIANTS, minutes=1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("classic model.neck=atention", "'atention'"),
        ("medium model.units=[2000,2000]", "at most 15,990,784 weights. Received: a network of 1"),
    ],
    ids=["unknown", "too large"],
)
def test_what_cannot_be_built_is_refused_before_any_training(
    tmp_path: Path, other: str, message: str
) -> None:
    variants = "classic", other
    with pytest.raises(ConfigError, match=message):
        compare("data.zip", tmp_path / "out", variants, minutes=1)
    assert not (tmp_path / "out").exists()


# --- what is compared -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "settings", "expected"),
    [
        pytest.param("classic", [], PRESETS["classic"], id="a preset"),
        pytest.param(
            "standard  model.neck=none seed=3",
            [],
            make_config("standard", ["model.neck=none", "seed=3"]),
            id="settings after it",
        ),
        pytest.param(
            "classic 'model.filters=[4, 8]'",
            [],
            make_config("classic", ["model.filters=[4, 8]"]),
            id="a setting with spaces",
        ),
        pytest.param(
            "classic seed=2",
            ["seed=1", "data.batch_size=4"],
            make_config("classic", ["seed=2", "data.batch_size=4"]),
            id="its own count more than those for all",
        ),
    ],
)
def test_a_variant_is_a_preset_and_settings(
    variant: str, settings: list[str], expected: Config
) -> None:
    assert parse_variant(variant, settings) == expected


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        pytest.param(
            "", "A preset is one of classic, small, medium, standard. Received: ''.", id="nothing"
        ),
        pytest.param("best seed=1", "Received: 'best'.", id="no preset"),
        pytest.param("classic seed", "Received: 'seed'.", id="no value"),
        pytest.param("classic sed=1", "Received: 'sed=1'.", id="no key"),
        pytest.param(
            "classic 'seed=1", 'Received: "classic \'seed=1" (No closing quotation).', id="quote"
        ),
    ],
)
def test_what_is_no_variant_is_refused(variant: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_variant(variant)


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        pytest.param(["classic", "standard", "classic"], "Received twice: classic.", id="twice"),
        pytest.param(
            ["standard seed=1", " standard  seed=1"],
            "Received twice: standard-seed-1.",
            id="twice but for spaces",
        ),
        pytest.param(
            ["classic", "classic data.split_seed=1"],
            "have the same validation images. Received: several values",
            id="another cut",
        ),
        pytest.param(
            ["classic data.validation_fraction=0.2", "classic"],
            "have the same validation images. Received: several values",
            id="more to validate with",
        ),
        pytest.param(
            ["classic", "classic training.patience=3"],
            "The minutes of the comparison decide about training.patience. Leave it out.",
            id="patience",
        ),
        pytest.param(
            ["classic", "classic training.epochs=3"],
            "The minutes of the comparison decide about training.epochs. Leave it out.",
            id="epochs",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    trainings: Trainings, tmp_path: Path, variants: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        compare("data.zip", tmp_path / "out", variants, minutes=1)
    assert trainings.measured == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_minutes_that_are_none_are_refused(
    trainings: Trainings, tmp_path: Path, minutes: float
) -> None:
    with pytest.raises(ConfigError, match=f"are more than 0. Received: {minutes}"):
        compare("data.zip", tmp_path / "out", ["classic"], minutes=minutes)
    assert trainings.measured == []


@pytest.mark.parametrize(
    ("taken", "resume"),
    [
        pytest.param("out/notes.txt", False, id="not empty"),
        pytest.param("out", False, id="a file"),
        pytest.param("out", True, id="a file that can't be gone on with"),
    ],
)
def test_only_a_new_or_empty_folder_is_taken(
    trainings: Trainings, tmp_path: Path, taken: str, resume: bool
) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("mine")
    expected = re.escape(f"needs a new or empty folder. Received: {tmp_path / 'out'}. Go on with")
    with pytest.raises(RunError, match=expected):
        compare("data.zip", tmp_path / "out", ["classic"], minutes=1, resume=resume)
    assert trainings.measured == []


# --- how long it trains ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minutes", "seconds", "epochs"),
    [
        pytest.param(2, 20.0, 6, id="whole"),
        pytest.param(1, 25.0, 2, id="rounded down"),
        pytest.param(1, 22.0, 3, id="rounded up"),
        pytest.param(0.01, 90.0, 1, id="at least one"),
    ],
)
def test_minutes_become_epochs(
    trainings: Trainings, tmp_path: Path, minutes: float, seconds: float, epochs: int
) -> None:
    trainings.epoch_seconds = seconds
    compare("data.zip", tmp_path / "new" / "out", ["classic"], minutes=minutes, settings=["seed=4"])
    ((_, config, resume),) = trainings.trained
    chosen = f"training.epochs={epochs}", f"training.patience={epochs}"  # never an early end
    assert config == make_config("classic", ["seed=4", *chosen])
    assert resume is False


def test_the_epochs_of_the_others_are_timed_beside_the_first(
    trainings: Trainings, compare_all: Callable[..., Comparison]
) -> None:
    train_one = trainings._train

    def drift(*arguments: Any, **options: Any) -> TrainingResult:
        trainings.epoch_seconds *= 3  # what else the machine does by then
        return train_one(*arguments, **options)

    trainings._train = drift  # type: ignore[method-assign]
    trainings.slower = 1.5
    compare_all()
    assert [config.training.epochs for _, config, _ in trainings.trained] == [3, 2, 2]
    assert trainings.measured == ["classic", "standard", "classic", "standard", "classic"]


def test_another_seed_has_as_many_epochs_and_is_not_timed(
    trainings: Trainings, tmp_path: Path
) -> None:
    compare("data.zip", tmp_path / "out", ["classic", "classic seed=1"], minutes=1)
    assert [config.training.epochs for _, config, _ in trainings.trained] == [3, 3]
    assert trainings.measured == ["classic"]


# --- going on -------------------------------------------------------------------------------


def test_what_is_done_is_not_trained_again(
    trainings: Trainings, compare_all: Callable[..., Comparison]
) -> None:
    before = compare_all()
    trainings.measured.clear()
    trainings.trained.clear()
    assert compare_all(resume=True) == before
    assert (trainings.measured, trainings.trained) == ([], [])


def test_a_run_whose_bundle_is_missing_is_not_done(
    trainings: Trainings, compare_all: Callable[..., Comparison], tmp_path: Path
) -> None:
    compare_all()
    RunFolder(tmp_path / "out" / "standard").bundle.unlink()
    trainings.trained.clear()
    compare_all(resume=True)
    assert [(name, resume) for name, _, resume in trainings.trained] == [("standard", True)]


def test_a_stopped_training_ends_the_comparison(
    trainings: Trainings, compare_all: Callable[..., Comparison], tmp_path: Path
) -> None:
    trainings.stopped = "standard"
    result = compare_all()
    assert result.interrupted
    assert [row.variant for row in result.rows] == ["classic"]
    assert [name for name, *_ in trainings.trained] == ["classic", "standard"]
    assert (tmp_path / "out" / "comparison.json").read_text() == result.to_json()


def test_a_training_that_is_stopped_first_leaves_no_row(
    trainings: Trainings, compare_all: Callable[..., Comparison], tmp_path: Path
) -> None:
    trainings.stopped = "classic"
    result = compare_all()
    assert result == Comparison((), 0, 1, interrupted=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["classic", SUMMARY]
    assert (tmp_path / "out" / SUMMARY).read_text() == result.to_json()


def test_a_stopped_comparison_goes_on_with_the_epochs_it_chose(
    trainings: Trainings, compare_all: Callable[..., Comparison]
) -> None:
    trainings.stopped = "standard"
    compare_all()
    trainings.stopped, trainings.epoch_seconds = "", 300.0
    with pytest.raises(RunError, match="Go on with the one in it by --resume"):
        compare_all()
    trainings.measured.clear()
    trainings.trained.clear()

    result = compare_all(resume=True)

    assert not result.interrupted
    assert [row.variant for row in result.rows] == list(VARIANTS)
    assert [row.epochs for row in result.rows] == [3, 3, 3]
    assert trainings.measured == ["standard", "classic"]  # for the last one
    (begun, config, resume), (new, _, resume_new) = trainings.trained
    assert (begun, resume, config.data.charset) == ("standard", True, "01abo")
    assert (new, resume_new) == ("standard-model.neck-none", False)


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        pytest.param(["seed=1"], True, id="the same"),
        pytest.param(["seed=1", "data.charset=01abo"], True, id="the charset it found"),
        pytest.param(["seed=1", "data.charset=xyz"], False, id="another charset"),
        pytest.param(["seed=2"], False, id="another value"),
        pytest.param([], False, id="left out"),
    ],
)
def test_a_comparison_only_goes_on_with_the_same_settings(
    trainings: Trainings, tmp_path: Path, settings: list[str], same: bool
) -> None:
    go_on = functools.partial(compare, "data.zip", tmp_path / "out", ["classic"], minutes=1)
    before = go_on(settings=["seed=1"])
    if same:
        assert go_on(settings=settings, resume=True) == before
    else:
        expected = r"--resume goes on with the configuration in .*config\.toml\. Received: other"
        with pytest.raises(ConfigError, match=expected):
            go_on(settings=settings, resume=True)
    assert len(trainings.trained) == 1


@pytest.mark.parametrize("stopped", ["classic", "standard", ""])
def test_a_comparison_at_equal_time_has_one_time(
    trainings: Trainings, compare_all: Callable[..., Comparison], tmp_path: Path, stopped: str
) -> None:
    trainings.stopped = stopped
    before = compare_all()
    trainings.trained.clear()
    with pytest.raises(ConfigError, match=r"goes on with 1 minutes for each.* Received: 2\.5\."):
        compare_all(minutes=2.5, resume=True)
    assert trainings.trained == []
    assert (tmp_path / "out" / SUMMARY).read_text() == before.to_json()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{}", b'{"minutes": "x"}'])
def test_a_comparison_that_does_not_say_its_minutes_is_not_gone_on_with(
    trainings: Trainings, compare_all: Callable[..., Comparison], tmp_path: Path, content: bytes
) -> None:
    compare_all()
    trainings.trained.clear()
    (tmp_path / "out" / SUMMARY).write_bytes(content)
    with pytest.raises(RunError, match=r"can't be read from its comparison\.json.* another folder"):
        compare_all(resume=True)
    assert trainings.trained == []
    assert (tmp_path / "out" / SUMMARY).read_bytes() == content


# --- what comes out -------------------------------------------------------------------------


def test_rows_say_how_well_each_reads_against_the_first(
    trainings: Trainings, compare_all: Callable[..., Comparison]
) -> None:
    result = compare_all()
    assert (result.images, result.interrupted) == (6, False)
    assert [row.variant for row in result.rows] == list(VARIANTS)
    assert [row.exact_match for row in result.rows] == [2 / 6, 5 / 6, 2 / 6]
    assert [row.merged_exact_match for row in result.rows] == [3 / 6, 5 / 6, 3 / 6]
    assert [row.cer for row in result.rows] == [5 / 16, 2 / 16, 6 / 16]
    assert [(row.won, row.lost) for row in result.rows] == [(0, 0), (3, 0), (1, 1)]
    assert [row.p_value for row in result.rows] == [1.0, 0.25, 1.0]
    for row in result.rows:
        assert 0 < row.interval.low < row.exact_match < row.interval.high < 1
        assert (row.epochs, row.epoch_seconds, row.weights) == (3, 10.0, 1234)
        assert row.minutes == pytest.approx((9 + 10 + 11) / 60)


def test_the_validation_images_of_the_configuration_are_measured(
    captchas: Path, quick_config: MakeConfig, bundle_path: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    shutil.copy(bundle_path, folder.bundle)
    config = quick_config("data.split_seed=3", "data.validation_fraction=0.25")
    measured = [outcome.name for outcome in comparison._measure(captchas, folder, config).outcomes]
    cut = open_dataset(captchas, seed=3, validation_fraction=0.25)
    assert measured == [sample.name for sample in cut.samples("validation")]


def test_json_table_and_curves_are_written(
    trainings: Trainings, compare_all: Callable[..., Comparison], tmp_path: Path
) -> None:
    result = compare_all()
    out = tmp_path / "out"
    written = json.loads((out / "comparison.json").read_text())
    assert [row["variant"] for row in written["rows"]] == list(VARIANTS)
    assert written == json.loads(json.dumps(dataclasses.asdict(result)))
    assert (out / "comparison.md").read_text() == result.to_markdown()
    assert min(load_image(out / "comparison.png").shape[:2]) > 300
    folders = {path.name for path in out.iterdir() if path.is_dir()}
    assert folders == {"classic", "standard", "standard-model.neck-none"}


def test_without_data_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data at"):
        compare(tmp_path / "data.zip", tmp_path / "out", ["classic"], minutes=1)
    assert not (tmp_path / "out").exists()


def test_what_is_known_is_written_before_the_next_training(
    trainings: Trainings, compare_all: Callable[..., Comparison], tmp_path: Path
) -> None:
    trainings.dying = "standard-model.neck-none"
    with pytest.raises(RunError, match="died"):
        compare_all()
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["variant"] for row in written["rows"]] == ["classic", "standard"]
    assert written["interrupted"] is True


def test_the_table_is_for_people() -> None:
    row = Row("classic", 0.5, Interval(0.4, 0.6), 0.75, 0.125, 0, 0, 1.0, 3, 10.04, 0.5, 1234567)
    other = dataclasses.replace(
        row, variant="standard seed=1", exact_match=0.625, won=9, lost=1, p_value=0.0215
    )
    assert Comparison((row, other), 80, 0.5, interrupted=False).to_markdown().splitlines() == [
        "| configuration | exact match | 95 % interval | look-alikes merged | CER "
        "| against the first | epochs | seconds an epoch | minutes | weights |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| `classic` | 50.0% | 40.0% to 60.0% | 75.0% | 12.5% |  "
        "| 3 | 10.0 | 0.5 | 1,234,567 |",
        "| `standard seed=1` | 62.5% | 40.0% to 60.0% | 75.0% | 12.5% | +9 -1 (p = 0.021) "
        "| 3 | 10.0 | 0.5 | 1,234,567 |",
    ]  # fmt: skip


def test_it_says_how_it_goes(
    trainings: Trainings,
    compare_all: Callable[..., Comparison],
    capsys: pytest.CaptureFixture[str],
) -> None:
    compare_all()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines()[:4] == [
        "== classic (1 of 3)",
        "An epoch takes about 20 s: 3 of them.",
        "classic: 33.3% exact match on validation.",
        "== standard (2 of 3)",
    ]
    compare_all(resume=True, progress=False)
    assert capsys.readouterr().err == ""


# --- in processes of its own ----------------------------------------------------------------


def _untestable(captchas: Path, path: Path) -> Path:
    """The same data, but no image of the test split can be read."""
    with ZipFile(captchas) as source, ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"no image" if "/test/" in name else source.read(name))
    return path


@pytest.mark.slow
def test_two_configurations_are_trained_and_compared(
    captchas: Path, tiny_settings: Sequence[str], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    data, out = _untestable(captchas, tmp_path / "data.zip"), tmp_path / "out"
    variants = "standard", "standard model.neck=none"
    settings = [s for s in tiny_settings if "epochs" not in s] + ["data.split_seed=3"]
    cut = open_dataset(data, seed=3)
    assert cut.splits["validation"] != open_dataset(data).splits["validation"]

    result = compare(data, out, variants, minutes=1e-6, settings=settings, progress=False)

    assert (result.images, result.interrupted) == (len(cut.samples("validation")), False)
    assert [row.variant for row in result.rows] == list(variants)
    folders = RunFolder(out / "standard"), RunFolder(out / "standard-model.neck-none")
    for row, folder, neck in zip(result.rows, folders, ("bilstm", "none"), strict=True):
        expected = evaluate(Recognizer(folder.path), cut, cut.samples("validation"))
        assert (row.exact_match, row.cer) == (expected.exact_match, expected.cer)
        history = folder.read_history()
        assert pytest.approx(row.cer) in [epoch["val_cer"] for epoch in history]
        seconds = [epoch["seconds"] for epoch in history]
        assert row.epochs == len(history) > 0
        assert min(seconds) <= row.epoch_seconds <= max(seconds)
        assert folder.load_config() == tiny_config(
            'data.charset="01ab"',
            "data.split_seed=3",
            f"training.epochs={row.epochs}",
            f"training.patience={row.epochs}",
            f"model.neck={neck}",
        )
    assert result.rows[0].epochs == 1  # the other one may have as many as that takes
    with_neck, without = (row.weights for row in result.rows)
    assert with_neck > without > 0
    assert min(load_image(out / "comparison.png").shape[:2]) > 300

    again = functools.partial(compare, data, out, variants, settings=settings, progress=False)
    assert again(minutes=1e-6, resume=True) == result
