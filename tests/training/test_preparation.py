"""Every image and label is looked at before training, and all that is wrong is said at once."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from conftest import MakeConfig
from PIL import Image

from crnn_captcha.corrections import Correction, Corrections
from crnn_captcha.dataset import open_dataset
from crnn_captcha.errors import ConfigError, DatasetError, LabelError
from crnn_captcha.recovery import STYLE_FILE
from crnn_captcha.training.config import change
from crnn_captcha.training.model import make_networks
from crnn_captcha.training.preparation import (
    LISTED,
    check_labels_fit,
    cut,
    open_data,
    pad_drawn,
    prepare,
)

MakeData = Callable[..., Path]


def _png(width: int = 40) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((20, width, 3), 200, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def make_data(tmp_path: Path) -> MakeData:
    """Makes a zip of 20 good images, and of what else is named."""

    def make(**files: bytes) -> Path:
        path = tmp_path / "data.zip"
        good = {f"train/ab-{i}.png": _png() for i in range(20)}
        with ZipFile(path, "w") as archive:
            for name, data in {**good, **{f"train/{k}": v for k, v in files.items()}}.items():
                archive.writestr(name, data)
        return path

    return make


def test_what_is_learned_and_what_validates(captchas: Path, tiny_config: MakeConfig) -> None:
    dataset, config = open_dataset(captchas), tiny_config()
    prepared = prepare(dataset, config, skip_broken=False, progress=False)
    assert prepared.charset.characters == "01ab"
    assert prepared.skipped == 0
    assert prepared.learning.samples == dataset.samples("train")
    assert prepared.validation.samples == dataset.samples("validation")
    assert prepared.learning.seed == config.seed
    assert prepared.validation.seed is None  # always in the same order
    for batches in (prepared.learning, prepared.validation):
        assert batches.like_widths
        assert batches.batch_size == 2
        assert (batches.widths > 0).all()  # measured


def test_the_split_seed_cuts_validation_and_no_other(
    captchas: Path, quick_config: MakeConfig
) -> None:
    chosen, same, other, more = (
        open_dataset(captchas, **cut(quick_config(*settings).data)).samples("validation")
        for settings in (
            ["data.split_seed=3", "seed=1"],
            ["data.split_seed=3", "seed=2"],
            ["data.split_seed=4", "seed=1"],
            ["data.split_seed=3", "data.validation_fraction=0.5"],
        )
    )
    assert chosen == same == open_dataset(captchas, seed=3).samples("validation")
    assert chosen != other
    assert (len(chosen), len(more)) == (5, 27)


def test_memory_is_shared_out_by_size(captchas: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config("data.cache_mib=1")
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    limits = [b._cache.limit for b in (prepared.learning, prepared.validation)]
    assert sum(limits) == pytest.approx(2**20, abs=2)
    sizes = [len(b.samples) for b in (prepared.learning, prepared.validation)]
    assert limits[0] / limits[1] == pytest.approx(sizes[0] / sizes[1], rel=0.01)


def test_processes_keep_no_images(captchas: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config("data.processes=true")
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    assert prepared.learning._cache.limit == 0
    assert prepared.validation._cache.limit > 0


def test_validation_images_are_padded_as_for_reading(
    captchas: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config("data.like_widths=false")
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    validation = prepared.validation
    for index, positions in enumerate(validation.order(0)):
        width = validation.make(0, index)[0].shape[1]
        assert {len(validation.image(int(position))) for position in positions} == {width}


def test_a_given_charset_counts(captchas: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config("data.charset=zab10")
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    assert prepared.charset.characters == "zab10"


def test_unknown_characters_are_refused(captchas: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config("data.charset=ab0")
    expected = r"only use the characters of the charset 'ab0'\. Received: '.*' \(unknown: '1'\)"
    with pytest.raises(LabelError, match=expected):
        prepare(open_dataset(captchas), config, skip_broken=False, progress=False)


def test_all_broken_images_are_named_at_once(make_data: MakeData, quick_config: MakeConfig) -> None:
    data = make_data(**{"a-bad1.png": b"no image at all", "b-bad2.png": _png()[:60]})
    with pytest.raises(DatasetError) as caught:
        prepare(open_dataset(data), quick_config(), skip_broken=False, progress=False)
    message = str(caught.value)
    assert message.startswith("Training needs images that can be read. Received 2 that can't: ")
    assert message.endswith("or leave them out with --skip-broken.")
    for name in ("train/a-bad1.png: ", "train/b-bad2.png: "):
        reason = message.partition(name)[2].partition(";")[0]
        assert len(reason) > 10, name


def test_broken_images_are_left_out_on_request(
    make_data: MakeData, quick_config: MakeConfig
) -> None:
    data = make_data(**{"a-bad1.png": b"no image at all", "b-bad2.png": b""})
    dataset = open_dataset(data, validation_fraction=0.2)
    prepared = prepare(dataset, quick_config(), skip_broken=True, progress=False)
    assert prepared.skipped == 2
    kept = (*prepared.learning.samples, *prepared.validation.samples)
    assert len(kept) == 20
    assert not any("bad" in sample.name for sample in kept)
    assert prepared.learning.make(0, 0)[0].shape[0] == 8


def test_nothing_but_broken_images_is_an_error(tmp_path: Path, quick_config: MakeConfig) -> None:
    path = tmp_path / "broken.zip"
    with ZipFile(path, "w") as archive:
        for i in range(4):
            archive.writestr(f"train/a-{i}.png", b"no image")
    with pytest.raises(DatasetError, match="has no images in the split 'train'"):
        prepare(open_dataset(path), quick_config(), skip_broken=True, progress=False)


def test_labels_that_fit_pass(make_data: MakeData, quick_config: MakeConfig) -> None:
    dataset = open_dataset(make_data(**{"aabb0011-x.png": _png(96)}))  # 12 steps of 80 / 4
    prepared = prepare(dataset, quick_config(), skip_broken=False, progress=False)
    reader = make_networks(quick_config(), 5).reader
    check_labels_fit(reader, prepared.learning)
    check_labels_fit(reader, prepared.validation)


def test_labels_too_long_for_the_time_steps_are_refused_by_name(
    tmp_path: Path, quick_config: MakeConfig
) -> None:
    path = tmp_path / "data.zip"
    with ZipFile(path, "w") as archive:
        for name in ("aaaaa-x", "aabbb0-y", "ababab-z", "ab-0"):
            archive.writestr(f"train/{name}.png", _png())  # 40 x 20 becomes 32 x 16: 8 time steps
        archive.writestr("validation/aaaaaa-v.png", _png())
    prepared = prepare(open_dataset(path), quick_config(), skip_broken=False, progress=False)
    reader = make_networks(quick_config(), 5).reader
    expected = "one between equal neighbours. Received: train/aaaaa-x.png (needs 9, has 8); " + (
        "train/aabbb0-y.png (needs 9, has 8). Fix the labels, or choose a preset with more time"
    )
    with pytest.raises(LabelError, match=re.escape(expected)):
        check_labels_fit(reader, prepared.learning)
    with pytest.raises(LabelError, match=r"validation/aaaaaa-v\.png \(needs 11, has 8\)\. Fix"):
        check_labels_fit(reader, prepared.validation)


def test_many_labels_that_are_too_long_are_counted(
    make_data: MakeData, quick_config: MakeConfig
) -> None:
    files = {f"aaaaa-z{i:02d}.png": _png() for i in range(LISTED + 3)}
    dataset = open_dataset(make_data(**files), validation_fraction=0.01)
    prepared = prepare(dataset, quick_config(), skip_broken=False, progress=False)
    with pytest.raises(LabelError, match=r"\(needs 9, has 8\) and [23] more\. Fix") as caught:
        check_labels_fit(make_networks(quick_config(), 5).reader, prepared.learning)
    assert str(caught.value).count("needs 9") == LISTED


# --- drawn images ---------------------------------------------------------------------------


@pytest.fixture
def style(tmp_path: Path) -> Path:
    """A style of small images and short labels, two characters of which the data lack."""
    path = tmp_path / "small.toml"
    path.write_text(
        'charset = "abyz"\nmin_length = 2\nmax_length = 4\n'
        "[image]\nheight_px = 32\nwidth_px = 0\nwidth_per_character_px = 20\n",
        encoding="utf-8",
    )
    return path


def test_drawn_images_are_mixed_with_the_train_split_alone(
    captchas: Path, tiny_config: MakeConfig, style: Path
) -> None:
    dataset, config = open_dataset(captchas), tiny_config(f"data.synthetic={style}:9")
    prepared = prepare(dataset, config, skip_broken=False, progress=False)
    assert prepared.charset.characters == "01abyz"  # of both
    assert prepared.learning.samples == dataset.samples("train")
    assert prepared.learning.drawings is not None
    assert prepared.learning.drawings.count == 9
    assert len(prepared.learning) == 25 + 5  # in batches of 2
    assert prepared.validation.samples == dataset.samples("validation")
    assert prepared.validation.drawings is None
    assert prepared.learning.label_width == 4


def test_without_data_validation_is_drawn_too(tiny_config: MakeConfig, style: Path) -> None:
    config = tiny_config(f"data.synthetic={style}:40", "data.split_seed=3")
    dataset = open_data(None, config.data)
    assert len(dataset.samples("validation")) == 4  # a tenth
    prepared = prepare(dataset, config, skip_broken=False, progress=False)
    assert prepared.charset.characters == "abyz"
    assert prepared.learning.samples == ()
    assert len(prepared.learning) == 20
    assert prepared.validation.widths.min() > 0
    other = open_data(None, change(config, ["data.split_seed=4"]).data).samples("validation")
    assert other != dataset.samples("validation")
    assert len(open_data(None, change(config, [f"data.synthetic={style}:1"]).data).source.names())


def test_several_styles_are_mixed(captchas: Path, tiny_config: MakeConfig, style: Path) -> None:
    other = style.with_name("other, too.toml")
    other.write_text(style.read_text().replace("max_length = 4", "max_length = 6"))
    config = tiny_config(f"data.synthetic={style}:9,{other}:4")
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    assert prepared.learning.drawings is not None
    assert prepared.learning.drawings.count == 13
    assert prepared.learning.label_width == 6
    drawn = open_data(None, change(config, [f"data.synthetic={style}:40,{other}:20"]).data)
    assert len(drawn.samples("validation")) == 4 + 2  # a tenth of each


def test_recovered_fonts_are_drawn_with_beside_others(
    captchas: Path, tiny_config: MakeConfig, style: Path, tmp_path: Path
) -> None:
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    (fonts / STYLE_FILE).write_text(style.read_text().replace('"abyz"', '"01"'))
    config = tiny_config(f"data.synthetic={style}:3,recovered:2")
    prepared = prepare(
        open_dataset(captchas), config, fonts=fonts, skip_broken=False, progress=False
    )
    drawings = prepared.learning.drawings
    assert drawings is not None
    assert [set(drawings.draw(0, i)[1]) <= set("01") for i in (3, 4)] == [True, True]


def test_nothing_to_learn_from_is_refused(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"needs images\. Received: no DATA.*--synthetic"):
        open_data(None, tiny_config().data)


def test_fonts_are_not_recovered_without_data(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"recovered from the images of DATA\. Received: no DATA"):
        open_data(None, tiny_config("data.synthetic=recovered:9").data)


def test_a_given_charset_has_what_is_drawn(
    captchas: Path, tiny_config: MakeConfig, style: Path
) -> None:
    config = tiny_config(f"data.synthetic={style}:9", "data.charset=ab01")
    with pytest.raises(LabelError, match=r"all characters that are drawn.*lacks 'yz'"):
        prepare(open_dataset(captchas), config, skip_broken=False, progress=False)


def test_drawn_images_are_wide_enough_for_any_label(
    captchas: Path, tiny_config: MakeConfig, style: Path
) -> None:
    style.write_text(style.read_text().replace("max_length = 4", "max_length = 12"))
    config = tiny_config(f"data.synthetic={style}:9")
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    reader = make_networks(config, prepared.charset.num_classes).reader
    pad_drawn(reader, prepared.validation)  # nothing is drawn for it
    assert prepared.validation.drawn_width == 0
    pad_drawn(reader, prepared.learning)
    width = prepared.learning.drawn_width
    steps = [reader.compute_output_shape((1, w, 16, 3))[1] for w in (width - 16, width)]
    assert steps[0] < 23 <= steps[1]  # twelve of one character need 23


def test_drawn_labels_too_long_for_a_fixed_width_are_refused(
    captchas: Path, quick_config: MakeConfig, style: Path
) -> None:
    config = quick_config(f"data.synthetic={style}:9", "pipeline.fixed_width=16")
    prepared = prepare(open_dataset(captchas), config, skip_broken=False, progress=False)
    reader = make_networks(config, prepared.charset.num_classes).reader
    expected = r"neighbours\. Received: 4 for drawn labels of up to 4 characters\. Draw shorter"
    with pytest.raises(LabelError, match=expected):
        pad_drawn(reader, prepared.learning)


# --- corrected labels -----------------------------------------------------------------------


def test_data_are_opened_with_their_corrections(captchas: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config().data
    first, second = open_data(captchas, config).samples("train")[:2]
    corrections = Corrections(
        (
            Correction(first.name, first.label, "change", "z"),
            Correction(second.name, second.label, "drop"),
        )
    )
    labels = {s.name: s.label for s in open_data(captchas, config, corrections).samples("train")}
    assert labels[first.name] == "z"
    assert second.name not in labels


def test_corrections_without_data_are_refused(tiny_config: MakeConfig) -> None:
    config = tiny_config("data.synthetic=plain:9").data
    with pytest.raises(ConfigError, match=r"Corrections are of the labels of DATA\. Received: "):
        open_data(None, config, Corrections())
