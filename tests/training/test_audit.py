"""Every label is read by a network that hasn't learned from it, and wrong ones come first."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import INK, MakeConfig, Paint

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import Sample, open_dataset
from crnn_captcha.errors import ConfigError, DatasetError, ImageError, RunError
from crnn_captcha.files import write_text
from crnn_captcha.learned import learned_from
from crnn_captcha.recognizer import Recognizer
from crnn_captcha.reporting.showcase import png
from crnn_captcha.style_files import load_style
from crnn_captcha.suspects import Suspect
from crnn_captcha.training import budget
from crnn_captcha.training.audit import Audit, audit_config, audit_labels, read_held_out
from crnn_captcha.training.config import Config, make_config
from crnn_captcha.training.loop import TrainingResult, train
from crnn_captcha.training.run import HISTORY_COLUMNS, RunFolder
from crnn_captcha.training.timing import epoch_seconds
from crnn_captcha.training.transfer import Base, read_base

CONFIG = make_config("classic", ["data.validation_fraction=0.2"])
WRONG = {"train/abba-60.png": "abca", "train/ca-61.png": "cab"}  # what the images say


class Trainings:
    """Stands in for the processes: leaves runs of the tiny network, which reads as it does.

    Attributes:
        bundle: of the tiny network.
        measured: how often epochs were timed.
        trained: run folder, configuration, corrections and `resume` of each training.
        bases: what each of them starts from.
        stopped: the run folder whose training is told to stop.
    """

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.measured = 0
        self.trained: list[tuple[str, Config, Corrections, bool]] = []
        self.bases: list[Base | None] = []
        self.stopped = ""

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if function is epoch_seconds:
            self.measured += 1
            return 20.0 * self.measured
        assert function is train
        return self._train(*arguments, **options)

    def _train(
        self,
        data: str,
        run: Path,
        config: Config,
        *,
        corrections: Corrections,
        base: Base | None,
        resume: bool,
        **options: bool,
    ) -> TrainingResult:
        self.bases.append(base)
        folder = RunFolder(run)
        self.trained.append((run.name, config, corrections, resume))
        if not folder.exists:
            folder.start(config, Path(data), weights=1, corrections=corrections)
        if run.name == self.stopped:
            return TrainingResult(run, 0, {}, "", True, 0)
        row = dict.fromkeys(HISTORY_COLUMNS, 0.5)
        folder.write_history([row] * config.training.epochs)
        shutil.copy(self.bundle, folder.bundle)
        write_text(folder.report_page, "")
        return TrainingResult(run, config.training.epochs, {}, "", False, 0)


@pytest.fixture
def trainings(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    found = Trainings(bundle_path)
    monkeypatch.setattr(budget, "in_own_process", found)
    return found


@pytest.fixture
def data(tmp_path: Path, paint: Paint) -> Path:
    """62 images to learn from, two of them with a wrong label, and two to test with."""
    randomness = random.Random(3)
    texts = ["".join(randomness.choices([*INK], k=3 + i % 3)) for i in range(60)]
    says = {f"train/{text}-{i}.png": text for i, text in enumerate(texts)}
    says |= WRONG | {"test/abc-62.png": "abc", "test/bb-63.png": "bc"}
    for name, text in says.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(png(paint(text)))
    return tmp_path / "data"


@pytest.fixture
def audit(trainings: Trainings, data: Path, tmp_path: Path) -> Callable[..., Audit]:
    """Audits in `out`, for a minute each."""

    def run(config: Config = CONFIG, **options: Any) -> Audit:
        return audit_labels(data, tmp_path / "out", config, **{"minutes": 1, **options})

    return run


def names(samples: tuple[Sample, ...]) -> set[str]:
    return {sample.name for sample in samples}


# --- what is read ---------------------------------------------------------------------------


def test_wrong_labels_come_first(audit: Callable[..., Audit], tmp_path: Path) -> None:
    result = audit()
    assert (result.images, result.broken, result.interrupted) == (62, (), False)
    assert {s.name: s.text for s in result.suspects} == WRONG
    assert {s.reason for s in result.suspects} == {"other", "different length"}
    assert all(s.label_probability < 0.01 < s.confidence for s in result.suspects)
    written = json.loads((tmp_path / "out" / "suspects.json").read_text())
    assert written == json.loads(json.dumps(dataclasses.asdict(result)))
    page = (tmp_path / "out" / "review.html").read_text(encoding="utf-8")
    assert page.count("<article") == 2
    assert all(name in page for name in WRONG)


def test_each_image_is_read_by_a_network_that_did_not_learn_from_it(
    trainings: Trainings, audit: Callable[..., Audit], data: Path
) -> None:
    audit(folds=3)
    dataset = open_dataset(data, validation_fraction=0.2)
    everything = names(dataset.samples("train")) | names(dataset.samples("validation"))
    left_out = [corrections.dropped for _, _, corrections, _ in trainings.trained]
    assert [name for name, *_ in trainings.trained] == ["1", "2", "3"]
    assert sorted(name for part in left_out for name in part) == sorted(everything)
    assert not any(corrections.changed for _, _, corrections, _ in trainings.trained)


def test_the_first_fold_says_how_long_all_of_them_train(
    trainings: Trainings, audit: Callable[..., Audit]
) -> None:
    audit(folds=3)
    assert trainings.measured == 1
    assert [config.training.epochs for _, config, _, _ in trainings.trained] == [3, 3, 3]
    assert {config.data.charset for _, config, _, _ in trainings.trained} == {"abc"}


def test_all_trainings_start_from_the_same_model(
    trainings: Trainings, audit: Callable[..., Audit], tiny_run: Path
) -> None:
    base = read_base(tiny_run)
    audit(make_config(None, ["data.validation_fraction=0.2"], base.config), base=base, folds=2)
    assert trainings.bases == [base, base]


def test_labels_that_the_model_before_has_learned_are_not_doubted(
    trainings: Trainings, audit: Callable[..., Audit], data: Path, tiny_run: Path
) -> None:
    learned = learned_from(open_dataset(data, validation_fraction=0.2))
    base = dataclasses.replace(read_base(tiny_run), learned=learned)
    config = make_config(None, ["data.validation_fraction=0.2"], base.config)
    with pytest.raises(ConfigError, match=r"chosen by, \d+ of the 62 images\. Leave --from"):
        audit(config, base=base)
    assert not trainings.trained
    audit(config, base=base, split="test")
    assert trainings.bases == [base]


def test_a_model_that_knows_its_data_as_a_whole_does_not_doubt_them(
    trainings: Trainings, audit: Callable[..., Audit], data: Path, tiny_run: Path
) -> None:
    digest = open_dataset(data).digest("train", "validation")
    base = dataclasses.replace(read_base(tiny_run), learned=None, data_digest=digest)
    config = make_config(None, ["data.validation_fraction=0.2"], base.config)
    with pytest.raises(ConfigError, match=r"chosen by, 62 of the 62 images\. Leave --from"):
        audit(config, base=base)
    audit(config, base=base, split="test")
    assert trainings.bases == [base]


@pytest.mark.parametrize("key", ["training.epochs", "training.patience"])
def test_minutes_decide_about_epochs(key: str) -> None:
    with pytest.raises(ConfigError, match=f"audit decide about {key}"):
        audit_config(None, [f"{key}=3"])


def test_a_charset_that_is_given_stays(trainings: Trainings, audit: Callable[..., Audit]) -> None:
    audit(make_config("classic", ["data.validation_fraction=0.2", "data.charset=abcd"]))
    assert {config.data.charset for _, config, _, _ in trainings.trained} == {"abcd"}


def test_what_is_drawn_to_learn_from_has_characters_too(
    trainings: Trainings, audit: Callable[..., Audit]
) -> None:
    audit(make_config("classic", ["data.validation_fraction=0.2", "data.synthetic=plain:9"]))
    for _, config, _, _ in trainings.trained:
        assert set(load_style("plain").charset.characters) <= set(config.data.charset)


def test_test_images_are_read_only_when_asked_for(
    trainings: Trainings, audit: Callable[..., Audit]
) -> None:
    result = audit(split="test")
    ((_, _, corrections, _),) = trainings.trained
    assert corrections == Corrections()
    assert result.images == 2
    assert [(s.name, s.text) for s in result.suspects] == [("test/bb-63.png", "bc")]


def test_labels_can_be_corrected_before(
    trainings: Trainings, audit: Callable[..., Audit], tmp_path: Path
) -> None:
    corrections = Corrections(
        (
            Correction("train/abba-60.png", "abba", "change", "abca"),
            Correction("train/ca-61.png", "ca", "drop"),
        )
    )
    result = audit(corrections=corrections)
    assert (result.images, result.suspects) == (61, ())
    for _, _, used, _ in trainings.trained:
        assert "train/ca-61.png" in used.dropped
        assert "train/abba-60.png" in used.dropped | used.changed.keys()
    assert (tmp_path / "out" / "suspects.json").exists()
    assert not (tmp_path / "out" / "review.html").exists()  # of labels that the data don't have


def test_images_that_cannot_be_read_are_named(audit: Callable[..., Audit], data: Path) -> None:
    (data / "train" / "ab-99.png").write_bytes(b"no image")
    result = audit(skip_broken=True)
    assert (result.images, result.broken) == (62, ("train/ab-99.png",))
    assert "Images that can't be read: 1." in result.to_markdown()


# --- going on -------------------------------------------------------------------------------


def test_a_stopped_audit_goes_on(
    trainings: Trainings, audit: Callable[..., Audit], tmp_path: Path
) -> None:
    trainings.stopped = "3"
    stopped = audit()
    assert stopped.interrupted
    assert 0 < stopped.images < 62
    assert (tmp_path / "out" / "suspects.json").read_text() == stopped.to_json()
    with pytest.raises(RunError, match=r"A new audit needs a new or empty folder. .*--resume"):
        audit()
    trainings.stopped = ""
    trainings.trained.clear()
    result = audit(resume=True)
    assert (result.images, result.interrupted) == (62, False)
    assert [(name, resume) for name, _, _, resume in trainings.trained] == [
        ("3", True),
        ("4", False),
    ]
    assert trainings.measured == 1
    trainings.trained.clear()
    assert audit(resume=True) == result
    assert trainings.trained == []


def test_an_audit_goes_on_with_the_minutes_that_it_began_with(
    trainings: Trainings, audit: Callable[..., Audit]
) -> None:
    trainings.stopped = "3"
    assert audit().interrupted
    with pytest.raises(ConfigError, match=r"goes on with 1 minutes for each.* Received: 2\.5\."):
        audit(minutes=2.5, resume=True)
    trainings.stopped = ""
    assert not audit(resume=True).interrupted


def test_an_audit_that_is_stopped_at_once_has_nothing(
    trainings: Trainings, audit: Callable[..., Audit], tmp_path: Path
) -> None:
    trainings.stopped = "1"
    assert audit() == Audit((), 0, (), interrupted=True, minutes=1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["folds", "suspects.json"]
    with pytest.raises(ConfigError, match=r"goes on with 1 minutes for each.* Received: 2\.5\."):
        audit(minutes=2.5, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"folds": 3}, "goes on with an audit as it was begun", id="other folds"),
        pytest.param({"split": "test"}, "goes on with an audit as it was begun", id="split"),
        pytest.param(
            {"config": dataclasses.replace(CONFIG, seed=1)}, "goes on with the conf", id="config"
        ),
    ],
)
def test_an_audit_only_goes_on_as_it_was_begun(
    audit: Callable[..., Audit], options: dict[str, Any], message: str
) -> None:
    audit()
    with pytest.raises(ConfigError, match=message):
        audit(resume=True, **options)


def test_changed_labels_are_no_audit_to_go_on_with(audit: Callable[..., Audit], data: Path) -> None:
    audit()
    (data / "train" / "ca-61.png").rename(data / "train" / "cab-61.png")
    with pytest.raises(ConfigError, match=r"Received: for .* other folds, labels or another split"):
        audit(resume=True)


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"folds": 1}, ConfigError, "are 2 or more. Received: 1", id="one fold"),
        pytest.param({"minutes": 0}, ConfigError, "more than 0. Received: 0", id="no time"),
        pytest.param(
            {"folds": 50},
            DatasetError,
            "Each fold of an audit has images, .* Received: 50 train and 12 validation",
            id="more folds than images allow",
        ),
    ],
)
def test_what_cannot_be_audited_is_refused(
    trainings: Trainings,
    audit: Callable[..., Audit],
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        audit(**options)
    assert trainings.trained == []
    assert not (tmp_path / "out").exists()


# --- one image ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "possible"),
    [
        pytest.param("abc", True, id="as it is"),
        pytest.param("abb", True, id="another character"),
        pytest.param("ab", True, id="one missing"),
        pytest.param("abx", False, id="a character that the network doesn't know"),
        pytest.param("abc" * 9, False, id="more characters than time steps"),
    ],
)
def test_an_image_and_its_label_are_read(
    bundle_path: Path, paint: Paint, label: str, possible: bool
) -> None:
    recognizer = Recognizer(bundle_path)
    found = read_held_out(recognizer, png(paint("abc")), Sample("a.png", label))
    assert (found.name, found.label, found.text) == ("a.png", label, "abc")
    assert found.text_log >= found.label_log
    assert math.isfinite(found.label_log) is possible
    assert math.exp(found.text_log) == pytest.approx(
        recognizer.read(paint("abc")).confidence, rel=1e-3
    )


def test_an_image_that_is_none_is_refused(bundle_path: Path) -> None:
    with pytest.raises(ImageError):
        read_held_out(Recognizer(bundle_path), b"no image", Sample("a.png", "ab"))


# --- for people -----------------------------------------------------------------------------


def test_the_table_is_for_people() -> None:
    rows = [Suspect(f"{i}.png", "a|b", "ab", 1.5e-9, 0.9, "missing glyph", 5.0) for i in range(23)]
    lines = Audit(tuple(rows), 100, (), interrupted=False, minutes=1).to_markdown().splitlines()
    assert lines[:2] == [
        "23 of 100 images were not read as their labels.",
        "The labels most likely wrong first:",
    ]
    assert (
        r"| 0.png  | a\|b  | ab   | 90.0 %     | 1.5e-09                  | missing gl" in lines[5]
    )
    assert lines[-1] == "and 3 more"
    assert Audit((), 100, (), interrupted=False, minutes=1).to_markdown().splitlines() == [
        "0 of 100 images were not read as their labels."
    ]


@pytest.mark.parametrize(("images", "said"), [(30, False), (29, True)])
def test_networks_that_read_little_are_named_as_such(images: int, said: bool) -> None:
    rows = [Suspect(f"{i}.png", "ab", "", 1e-9, 0.9, "missing glyph", 5.0) for i in range(20)]
    text = Audit(tuple(rows), images, (), interrupted=False, minutes=1).to_markdown()
    assert ("give them more --minutes" in text) is said


def test_it_says_how_it_goes(
    audit: Callable[..., Audit], capsys: pytest.CaptureFixture[str]
) -> None:
    audit(folds=2)
    output = capsys.readouterr()
    assert output.out == ""
    said = [line for line in output.err.splitlines() if not re.match(r"\s*reading|$", line)]
    assert re.fullmatch(r"== fold 1 of 2: \d+ images to read", said[0])
    assert said[1] == "An epoch takes about 20 s: 3 of them."
    audit(folds=2, resume=True, progress=False)
    assert capsys.readouterr().err == ""


# --- in processes of its own ----------------------------------------------------------------


@pytest.mark.slow
def test_an_audit_trains_and_reads(
    captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    result = audit_labels(
        captchas,
        tmp_path / "out",
        quick_config("data.validation_fraction=0.2"),
        folds=2,
        minutes=1e-6,
        progress=False,
    )
    assert (result.images, result.interrupted) == (54, False)
    for number in ("1", "2"):
        folder = RunFolder(tmp_path / "out" / "folds" / number)
        assert len(folder.read_history()) == 1
        corrections = folder.own_corrections()
        assert corrections is not None
        assert 0 < len(corrections.dropped) < 54
    assert (tmp_path / "out" / "review.html").is_file()
