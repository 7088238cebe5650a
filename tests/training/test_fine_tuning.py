"""A training that starts from a trained model goes on from what that knows, whatever happens."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FONTS, LEARNABLE, MakeConfig

from crnn_captcha.bundle import read_bundle
from crnn_captcha.charset import Charset
from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import SPLITS, open_dataset
from crnn_captcha.errors import ConfigError, RunError
from crnn_captcha.generator import generate, png_of, write_zip
from crnn_captcha.learned import learned_from
from crnn_captcha.styles import ImageStyle, Range
from crnn_captcha.training import loop
from crnn_captcha.training.checkpoint import load_checkpoint
from crnn_captcha.training.config import Config, make_config
from crnn_captcha.training.loop import train
from crnn_captcha.training.run import BASE_DIGEST, RunFolder
from crnn_captcha.training.transfer import Base, check_unseen, read_base
from crnn_captcha.training.watch import Watch

SETTINGS = ("data.batch_size=8", "augmentation={}", "training.epochs=1")


class Killed(BaseException):
    """As a kill, it isn't caught by anybody."""


@pytest.fixture(scope="module")
def base_run(
    captchas: Path, quick_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained model. Not to be changed."""
    run = tmp_path_factory.mktemp("base") / "run"
    config = quick_config("optimizer.learning_rate=0.02", "model.ctc_shortcut=0.3", "seed=1")
    train(captchas, run, config, progress=False)
    return run


@pytest.fixture
def only_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bundle and no report come after the last epoch."""
    monkeypatch.setattr(loop, "export", lambda *args, **options: 1.0)
    monkeypatch.setattr(loop, "write_training_report", lambda *args, **options: None)


@pytest.fixture
def tune(captchas: Path, tmp_path: Path) -> Callable[..., RunFolder]:
    """Trains from a base, into a folder of the given name."""

    def run(name: str, base: Base, *settings: str, **options: Any) -> RunFolder:
        config = make_config("classic", [*SETTINGS, *settings], base.config)
        train(captchas, tmp_path / name, config, base=base, **options)
        return RunFolder(tmp_path / name)

    return run


def _kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    after_step = Watch.on_train_batch_end
    steps = 0

    def kill(self: Watch, batch: int, logs: Any = None) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise Killed
        after_step(self, batch, logs)

    monkeypatch.setattr(Watch, "on_train_batch_end", kill)


def _config(run: Path) -> Config:
    return RunFolder(run).load_config()


def test_a_run_and_its_bundle_give_the_same_start(
    base_run: Path, tune: Callable[..., RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    starts, rows = [], []
    for name, source in (("of run", base_run), ("of bundle", base_run / "bundle.onnx")):
        base = read_base(source)
        folder = tune(name, base)
        (start,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("Starts from")]
        starts.append(start.removeprefix(f"Starts from {source}: "))
        rows += folder.read_history()
        assert folder.facts()["base"] == str(source)
        assert folder.facts()[BASE_DIGEST] == base.digest
        bundle = read_bundle(folder.bundle)
        assert bundle.metadata.training[BASE_DIGEST] == base.digest
        assert str(base_run).encode() not in bundle.graph  # whose disk it was is nobody's business
    assert starts[0] == starts[1]
    assert starts[0].startswith("kept 4 of 4 characters. As it is, it reads ")
    for figure in ("val_loss", "val_cer", "loss"):
        assert rows[0][figure] == pytest.approx(rows[1][figure], rel=1e-3)
    before = RunFolder(base_run).read_history()
    assert rows[0]["val_loss"] < before[0]["val_loss"]


def test_other_characters_and_other_sizes(
    base_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ImageStyle(Range.of(50), width_px=Range.of(0, 30), width_per_character_px=Range.of(33))
    style = dataclasses.replace(LEARNABLE, charset=Charset("01axy"), image=size)
    data = write_zip(tmp_path / "others.zip", generate(60, 2, style=style, fonts=FONTS))
    base = read_base(base_run)
    train(data, tmp_path / "run", make_config("classic", SETTINGS, base.config), base=base)
    assert "kept 3 of 5 characters; new: x, y. As it is, it reads " in capsys.readouterr().err
    bundle = read_bundle(tmp_path / "run" / "bundle.onnx")
    assert bundle.metadata.charset.characters == "01axy"
    assert bundle.metadata.pipeline == base.config.pipeline
    assert read_base(tmp_path / "run" / "bundle.onnx").config.model == base.config.model


@pytest.mark.usefixtures("only_epochs")
def test_a_killed_one_goes_on_without_its_base(
    base_run: Path,
    captchas: Path,
    tune: Callable[..., RunFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = shutil.copytree(base_run, tmp_path / "base")
    base = read_base(gone)
    settings = "training.epochs=2", "training.checkpoint_s=1000"
    whole = tune("whole", base, *settings, progress=False)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _kill_at(patch, 3)  # long before the first checkpoint of an epoch
        tune("killed", base, *settings, progress=False)
    shutil.rmtree(gone)
    killed = tmp_path / "killed"
    train(captchas, killed, _config(killed), resume=True, progress=False)
    ends = [load_checkpoint(folder.checkpoints) for folder in (whole, RunFolder(killed))]
    assert ends[0] is not None
    assert ends[1] is not None
    for array, expected in zip(ends[1].arrays, ends[0].arrays, strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.usefixtures("only_epochs")
def test_one_that_was_stopped_before_it_took_over_asks_for_its_base(
    base_run: Path, captchas: Path, tune: Callable[..., RunFolder], tmp_path: Path
) -> None:
    base = read_base(base_run)
    folder = tune("run", base, progress=False)
    before = folder.read_history()[0]["val_loss"]
    shutil.rmtree(folder.checkpoints)
    with pytest.raises(RunError, match=r"had taken over what it was started from\. Say by --from"):
        train(captchas, folder.path, folder.load_config(), resume=True, progress=False)
    train(captchas, folder.path, folder.load_config(), base=base, resume=True, progress=False)
    assert folder.read_history()[0]["val_loss"] == before


@pytest.mark.usefixtures("only_epochs")
def test_a_resumed_run_may_be_told_its_base_but_no_other(
    base_run: Path, captchas: Path, tune: Callable[..., RunFolder]
) -> None:
    base, other = read_base(base_run), read_base(base_run / "bundle.onnx")
    folder = tune("run", base, progress=False)
    before = folder.read_history()
    options: dict[str, Any] = {"resume": True, "progress": False}
    train(captchas, folder.path, folder.load_config(), base=base, **options)
    assert folder.read_history() == before
    for run in (folder.path, base_run):
        with pytest.raises(RunError, match=r"which is something else or changed since\. Leave --f"):
            train(captchas, run, _config(run), base=other, **options)


@pytest.mark.usefixtures("only_epochs")
@pytest.mark.parametrize("source", ["", "bundle.onnx"], ids=["run", "bundle"])
def test_it_is_not_validated_with_what_its_base_has_learned_from(
    base_run: Path, tune: Callable[..., RunFolder], tmp_path: Path, source: str
) -> None:
    base = read_base(base_run / source)
    with pytest.raises(ConfigError, match=r"of \d+ validation images that .* has\. Cut") as error:
        tune("run", base, "data.split_seed=9", progress=False)
    *_, fraction, _, seed = str(error.value).removesuffix(".").split()
    assert not (tmp_path / "run").exists()
    tune("run", base, fraction, seed, progress=False)


@pytest.mark.parametrize("source", ["", "bundle.onnx"], ids=["run", "bundle"])
def test_a_base_knows_its_seed(base_run: Path, source: str) -> None:
    assert read_base(base_run / source).config.seed == 1


def test_corrected_labels_do_not_make_an_image_another(base_run: Path, captchas: Path) -> None:
    base = read_base(base_run)
    dataset = open_dataset(captchas)
    first = dataset.samples("validation")[0]
    corrections = Corrections((Correction(first.name, first.label, "change", "0b1a"),))
    corrected = corrections.apply(dataset)
    digest = corrected.digest("train", "validation")
    check_unseen(dataclasses.replace(base, data_digest=digest), corrected)
    other = corrections.apply(open_dataset(captchas, seed=9))
    with pytest.raises(ConfigError, match="Cut validation as then"):
        check_unseen(dataclasses.replace(base, data_digest=digest), other)


def test_what_a_model_before_has_learned_from_does_not_validate(
    base_run: Path, captchas: Path
) -> None:
    base = read_base(base_run)
    cut_so = open_dataset(captchas, validation_fraction=base.config.data.validation_fraction)
    check_unseen(base, cut_so)
    others = learned_from(open_dataset(captchas, seed=9), base.learned)  # as a mean of two knows
    with pytest.raises(ConfigError, match="has, by their files"):
        check_unseen(dataclasses.replace(base, learned=others), cut_so)


@pytest.mark.usefixtures("only_epochs")
def test_of_other_data_it_may_be_cut_in_any_way(
    base_run: Path, tune: Callable[..., RunFolder]
) -> None:
    others = np.arange(50, dtype=np.uint32)
    base = dataclasses.replace(read_base(base_run), data_digest="of others", learned=others)
    folder = tune("run", base, "data.split_seed=9", progress=False)
    assert folder.load_config().data.split_seed == 9


@pytest.mark.usefixtures("only_epochs")
@pytest.mark.parametrize("source", ["", "bundle.onnx"], ids=["run", "bundle"])
def test_data_that_grew_are_not_cut_into_what_the_base_has_learned_from(
    base_run: Path, captchas: Path, tmp_path: Path, source: str
) -> None:
    before = open_dataset(captchas)
    images: list[tuple[str, str, bytes]] = [
        *(
            (split, Path(s.name).name, before.read(s))
            for split in SPLITS
            for s in before.splits[split]
        ),
        *(("new", i.name, i.data) for i in generate(40, 7, style=LEARNABLE, fonts=FONTS)),
    ]
    for split, name, data in images:
        for folder, own in (
            ("grown", "train" if split != "test" else split),
            ("apart", "validation" if split == "new" else split),
        ):
            path = tmp_path / folder / own / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    base = read_base(base_run / source)
    config = make_config("classic", [*SETTINGS, "data.split_seed=3"], base.config)
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"of \d+ validation images that .* has, by their files"):
        train(tmp_path / "grown", run, config, base=base, progress=False)
    assert not run.exists()
    train(tmp_path / "apart", run, config, base=base, progress=False)
    learned = RunFolder(run).learned()
    assert learned is not None
    assert base.learned is not None
    assert set(base.learned) <= set(learned)


@pytest.mark.usefixtures("only_epochs")
@pytest.mark.parametrize("apart", [False, True], ids=["without data", "validated with data"])
def test_what_is_drawn_in_between_lets_nothing_be_forgotten(
    base_run: Path, tmp_path: Path, apart: bool
) -> None:
    base = read_base(base_run)
    style = tmp_path / "plain.toml"
    style.write_text('charset = "0ab"\n[letters]\nheight_px = 20\n')
    image = tmp_path / "data" / "validation" / "ab0-1.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(png_of(np.full((40, 90, 3), 255, np.uint8)))
    settings = [*SETTINGS, f"data.synthetic={style}:20"]
    config = make_config("classic", settings, base.config)
    data = tmp_path / "data" if apart else None
    train(data, tmp_path / "run", config, base=base, progress=False)
    learned = RunFolder(tmp_path / "run").learned()
    assert learned is not None
    assert base.learned is not None
    assert np.array_equal(learned, base.learned)


def test_another_network_than_the_base_s_is_refused_before_anything_is_written(
    base_run: Path, captchas: Path, quick_config: MakeConfig, tmp_path: Path
) -> None:
    config = quick_config("model.filters=[4, 6]")
    with pytest.raises(ConfigError, match=r"Received: another model\.filters\. Leave that out"):
        train(captchas, tmp_path / "run", config, base=read_base(base_run))
    assert not (tmp_path / "run").exists()
