"""Training images are changed, each in its own way; others never are, and background stays 0."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from crnn_captcha.training.augmentation import (
    RandomChannelPermutation,
    RandomLines,
    RandomPatches,
    RandomShrink,
    RandomSlant,
    RandomWeight,
    make_augmentation,
)
from crnn_captcha.training.config import PRESETS, AugmentationConfig

WARPS = AugmentationConfig(2, 8, 0.02, 0.06, 0.08, permute_colours=True, shrink=0.1)
ALL = dataclasses.replace(WARPS, weight=0.5, lines=3, patches=3)
WIDTH, HEIGHT = 40, 20


def _bar() -> NDArray[np.float32]:
    """Upright bars in three colours: float32 (batch, width, height, channels)."""
    images = np.zeros([8, WIDTH, HEIGHT, 3], np.float32)
    images[:, 18:22, 2:18] = 0.2, 0.6, 1.0
    return images


def _apply(layer: Any, images: NDArray[np.float32], **options: Any) -> NDArray[np.float32]:
    return np.asarray(layer(images, **options))


def _centre(columns: NDArray[np.float32]) -> float:
    """Where ink lies along the width of (width, channels) pixels."""
    ink = columns.sum(axis=1)
    return float((ink * np.arange(len(ink))).sum() / ink.sum())


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(AugmentationConfig(rotation_degrees=5), id="rotation"),
        pytest.param(AugmentationConfig(shear_degrees=8), id="shear"),
        pytest.param(AugmentationConfig(translation_x=0.1), id="translation_x"),
        pytest.param(AugmentationConfig(translation_y=0.1), id="translation_y"),
        pytest.param(AugmentationConfig(zoom=0.2), id="zoom"),
        pytest.param(AugmentationConfig(permute_colours=True), id="permute_colours"),
        pytest.param(AugmentationConfig(shrink=0.2), id="shrink"),
        pytest.param(AugmentationConfig(weight=0.5), id="weight"),
        pytest.param(AugmentationConfig(lines=4), id="lines"),
        pytest.param(AugmentationConfig(patches=20), id="patches"),
        pytest.param(ALL, id="all"),
    ],
)
def test_images_change_in_training_only(config: AugmentationConfig) -> None:
    layer = make_augmentation(config, seed=3)
    images = _bar()
    changed = _apply(layer, images, training=True)
    assert changed.shape == images.shape
    assert np.abs(changed - images).max() > 0.05
    assert len({image.tobytes() for image in changed}) > 1  # each in its own way
    assert not np.array_equal(_apply(layer, images, training=True), changed)  # and each time
    np.testing.assert_array_equal(_apply(layer, images, training=False), images)
    np.testing.assert_array_equal(_apply(layer, images), images)


def test_background_stays_background() -> None:
    layer = make_augmentation(WARPS, seed=3)
    empty = np.zeros([4, WIDTH, HEIGHT, 3], np.float32)
    np.testing.assert_array_equal(_apply(layer, empty, training=True), empty)
    images = _bar()
    images[:, :, :5] = images[:, :, 15:] = 0
    changed = _apply(layer, images, training=True)
    for border in (changed[:, 0], changed[:, -1], changed[:, :, 0], changed[:, :, -1]):
        np.testing.assert_array_equal(border, 0)
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-5


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(AugmentationConfig(rotation_degrees=20), id="rotation"),
        pytest.param(AugmentationConfig(shear_degrees=20), id="shear"),
        pytest.param(AugmentationConfig(translation_x=0.3), id="translation_x"),
        pytest.param(AugmentationConfig(translation_y=0.3), id="translation_y"),
        pytest.param(AugmentationConfig(zoom=0.3), id="zoom"),
        pytest.param(AugmentationConfig(shrink=0.3), id="shrink"),
    ],
)
def test_what_moves_in_from_outside_is_background(config: AugmentationConfig) -> None:
    layer = make_augmentation(config, seed=3)
    full = np.ones([8, WIDTH, HEIGHT, 3], np.float32)
    changed = _apply(layer, full, training=True)
    assert (changed == 0).any()
    assert changed.mean() < 1


def test_the_same_seed_gives_the_same_changes() -> None:
    images = _bar()
    first, again, other = (
        _apply(make_augmentation(ALL, seed), images, training=True) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_two_layers_move_together() -> None:
    layer = make_augmentation(ALL, seed=7)
    assert layer is not None
    seeds = [stage.get_config()["seed"] for stage in layer.layers]
    assert len(seeds) == 9
    assert len(set(seeds)) == len(seeds)


def test_nothing_asked_for_is_no_layer() -> None:
    assert make_augmentation(AugmentationConfig(), seed=0) is None


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_augment(preset: str) -> None:
    assert make_augmentation(PRESETS[preset].augmentation, seed=0) is not None


def test_permuted_colours_are_the_same_colours() -> None:
    images = np.random.default_rng(0).random([64, 4, 3, 3], np.float32)
    permuted = _apply(RandomChannelPermutation(seed=1), images, training=True)
    np.testing.assert_allclose(np.sort(permuted, axis=-1), np.sort(images, axis=-1), atol=1e-6)
    orders = set()
    for image, changed in zip(images, permuted, strict=True):
        order = [int(np.abs(image - changed[..., [c]]).sum((0, 1)).argmin()) for c in range(3)]
        np.testing.assert_allclose(changed, image[..., order], atol=1e-6)  # one order an image
        orders.add(tuple(order))
    assert len(orders) == 6  # all there are


def test_a_grey_image_has_nothing_to_permute() -> None:
    images = np.random.default_rng(0).random([4, 4, 3, 1], np.float32)
    permuted = _apply(RandomChannelPermutation(seed=1), images, training=True)
    np.testing.assert_allclose(permuted, images)


def test_the_ink_beside_the_colours_stays_where_it_is() -> None:
    images = np.random.default_rng(0).random([32, 4, 3, 4], np.float32)
    permuted = _apply(RandomChannelPermutation(seed=1), images, training=True)
    np.testing.assert_allclose(permuted[..., 3], images[..., 3], atol=1e-6)
    colours, expected = (np.sort(either[..., :3], axis=-1) for either in (permuted, images))
    np.testing.assert_allclose(colours, expected, atol=1e-6)
    assert np.abs(permuted[..., :3] - images[..., :3]).max() > 0.1


def test_slanting_moves_top_and_bottom_oppositely() -> None:
    slanted = _apply(RandomSlant(20, seed=1), _bar(), training=True)
    moves = []
    for image in slanted:
        top, bottom = (_centre(image[:, row]) - 19.5 for row in (3, HEIGHT - 4))
        assert top == pytest.approx(-bottom, abs=0.3)
        moves.append(top)
    assert min(moves) < -0.5  # to the left as well
    assert max(moves) > 0.5  # as to the right
    assert max(map(abs, moves)) <= np.tan(np.radians(20)) * HEIGHT / 2
    middle = slanted[:, :, HEIGHT // 2]
    assert [_centre(row) for row in middle] == pytest.approx([19.5] * 8, abs=0.5)


def test_slanting_by_nothing_changes_nothing() -> None:
    images = _bar()
    slanted = _apply(RandomSlant(0, seed=1), images, training=True)
    np.testing.assert_allclose(slanted, images, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        RandomSlant(8, seed=5),
        RandomChannelPermutation(seed=5),
        RandomShrink(0.2, seed=5),
        RandomShrink(0.2, seed=5, views=4),
        RandomWeight(0.5, seed=5),
        RandomLines(4, seed=5),
        RandomPatches(20, seed=5),
    ],
    ids=["slant", "permute", "shrink", "shrink of views", "weight", "lines", "patches"],
)
def test_a_layer_is_rebuilt_from_its_configuration(layer: Any) -> None:
    rebuilt = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(rebuilt) is type(layer)
    images = _bar()
    changed = _apply(rebuilt, images, training=True)
    np.testing.assert_array_equal(changed, _apply(layer, images, training=True))
    assert layer.compute_output_shape((None, 9, 8, 3)) == (None, 9, 8, 3)


def _box(image: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """First and last pixel with ink along and across."""
    along, across = (np.flatnonzero(image.sum(axis=axes) > 0.05) for axes in ((1, 2), (0, 2)))
    return int(along[0]), int(along[-1]), int(across[0]), int(across[-1])


def test_shrinking_cuts_nothing_off_and_uses_the_room() -> None:
    full = np.zeros([64, WIDTH, HEIGHT, 3], np.float32)
    full[:, [0, -1]] = full[:, :, [0, -1]] = 1  # a frame: all of its sides have to stay
    shrunk = _apply(RandomShrink(0.3, seed=1), full, training=True)
    boxes = np.array([_box(image) for image in shrunk])
    lengths, heights = boxes[:, 1] - boxes[:, 0] + 1, boxes[:, 3] - boxes[:, 2] + 1
    for sizes, size in ((lengths, WIDTH), (heights, HEIGHT)):
        assert sizes.min() >= 0.7 * size - 2
        assert sizes.min() < 0.8 * size
        assert sizes.max() > 0.9 * size
    for image in shrunk:
        first, last, top, bottom = _box(image)
        middle = (first + last) // 2, (top + bottom) // 2
        sides = (
            image[first : first + 2, middle[1]],
            image[last - 1 : last + 1, middle[1]],
            image[middle[0], top : top + 2],
            image[middle[0], bottom - 1 : bottom + 1],
        )
        assert all(side.sum() > 0.5 for side in sides)
    assert len(set(boxes[:, 0])) > 3  # at many places
    assert len(set(boxes[:, 2])) > 2


def test_lines_are_drawn_and_nothing_else_changes() -> None:
    images = np.full([32, WIDTH, HEIGHT, 3], 0.25, np.float32)
    drawn = _apply(RandomLines(1, seed=1), images, training=True)
    assert drawn.min() == 0.25  # lines only ever add ink
    assert drawn.max() == 1
    changed = (drawn > 0.25).any(axis=(1, 2, 3))
    assert 8 <= changed.sum() <= 24  # about every second image gets its one line
    share = (drawn[changed] > 0.25).mean(axis=(1, 2, 3))
    assert share.max() < 0.2  # thin
    np.testing.assert_array_equal(drawn[..., 0], drawn[..., 2])  # and without colour
    many = _apply(RandomLines(8, seed=1), images, training=True)
    assert (many > 0.25).mean() > 2 * (drawn > 0.25).mean()


def test_a_line_is_no_ink() -> None:
    images = np.full([32, WIDTH, HEIGHT, 4], 0.25, np.float32)
    drawn = _apply(RandomLines(1, seed=1), images, training=True)
    share = (drawn[..., :1] - 0.25) / 0.75  # of a pixel that the line covers
    assert share.max() == 1
    np.testing.assert_allclose(drawn[..., 3:], 0.25 * (1 - share), atol=1e-6)  # hidden beneath


def test_strokes_become_bolder_or_thinner_by_one_degree_an_image() -> None:
    images = np.zeros([64, WIDTH, HEIGHT, 1], np.float32)
    images[:, 15:25, 5:15] = 0.8
    weighted = _apply(RandomWeight(0.5, seed=1), images, training=True)[..., 0]
    outside, edge = (
        np.hstack([weighted[:, x, top:bottom] for x in (left, right - 1)])
        for left, right, top, bottom in ((14, 26, 4, 16), (15, 25, 5, 15))
    )
    degrees = (outside[:, 0] + edge[:, 0]) / 0.8 - 1  # pixels that are added at each edge
    assert -0.5 <= degrees.min() < -0.4
    assert 0.4 < degrees.max() <= 0.5
    for values, full in ((outside, degrees.clip(0)), (edge, 1 + degrees.clip(None, 0))):
        np.testing.assert_allclose(values, 0.8 * full[:, None] * np.ones_like(values), atol=1e-6)
    np.testing.assert_allclose(weighted[:, 16:24, 6:14], 0.8, atol=1e-6)  # what is within stays
    beyond = np.ones([WIDTH, HEIGHT], bool)
    beyond[14:26, 4:16] = False
    np.testing.assert_array_equal(weighted[:, beyond], 0)  # and so does what is beyond


def test_patches_hide_a_little_and_nothing_else_changes() -> None:
    images = np.random.default_rng(0).uniform(0.25, 1, [64, WIDTH, HEIGHT, 3]).astype(np.float32)
    patched = _apply(RandomPatches(1, seed=1), images, training=True)
    hidden = (patched == 0).all(axis=-1)  # (batch, width, height)
    np.testing.assert_array_equal(patched[~hidden], images[~hidden])
    changed = hidden.any(axis=(1, 2))
    assert 16 <= changed.sum() <= 48  # about every second image gets its one patch
    sizes, places = set(), set()
    for image in hidden[changed]:
        along, across = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        assert image[np.ix_(along, across)].all()  # in one piece
        assert (np.diff(along) == 1).all()
        assert (np.diff(across) == 1).all()
        sizes.add((len(along), len(across)))
        places.add((along[0], across[0]))
    assert max(map(max, sizes)) <= 0.25 * HEIGHT
    assert len(sizes) > 5
    assert len(places) > changed.sum() / 2
    many = _apply(RandomPatches(8, seed=1), images, training=True)
    assert 4 * hidden.mean() < (many == 0).mean() < 0.2


@pytest.mark.parametrize(
    "layer",
    [RandomWeight(0), RandomLines(0), RandomPatches(0)],
    ids=["weight", "lines", "patches"],
)
def test_none_of_them_is_no_change(layer: Any) -> None:
    np.testing.assert_array_equal(_apply(layer, _bar(), training=True), _bar())


@pytest.mark.parametrize("views", [2, 4])
def test_views_of_an_image_move_alike_along_the_text_only(views: int) -> None:
    images = np.zeros([8, WIDTH, HEIGHT, 3], np.float32)
    images[:, [4, 20, 35], 4:16] = 1  # upright strokes
    layer = make_augmentation(AugmentationConfig(shrink=0.3, views=views), seed=1)
    moved = _apply(layer, images, training=True).sum(axis=3)
    along, across = moved.max(axis=2), moved.max(axis=1)  # (batch, width), (batch, height)
    along /= along.max(axis=1, keepdims=True)  # a stroke between pixels is paler
    of_images = along.reshape(-1, views, WIDTH)
    np.testing.assert_allclose(of_images, np.repeat(of_images[:, :1], views, axis=1), atol=1e-5)
    assert len({image.tobytes() for image in of_images[:, 0]}) == 8 // views  # unlike other images
    assert len({image.tobytes() for image in across}) == 8  # up, down and in height, each its own


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(AugmentationConfig(shear_degrees=20, views=2), id="shear"),
        pytest.param(AugmentationConfig(shrink=0.3, views=2), id="shrink"),
        pytest.param(AugmentationConfig(weight=0.5, views=2), id="weight"),
        pytest.param(AugmentationConfig(permute_colours=True, views=2), id="permute_colours"),
        pytest.param(AugmentationConfig(lines=4, views=2), id="lines"),
        pytest.param(AugmentationConfig(patches=20, views=2), id="patches"),
    ],
)
def test_views_of_an_image_are_changed_differently(config: AugmentationConfig) -> None:
    changed = _apply(make_augmentation(config, seed=1), _bar(), training=True)
    assert not np.array_equal(changed[::2], changed[1::2])
