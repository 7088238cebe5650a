"""Effects change letters as they say, and only those that can bear it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from crnn_captcha.effects import Effects, choose_effects, weight_of
from crnn_captcha.fonts import Font
from crnn_captcha.glyphs import Letter, Shape, glyph
from crnn_captcha.styles import EffectStyle

FONT = Font("Aileron", "Regular", None)  # there on every machine
SIGN = glyph(FONT, "B", "ABCD")
HEIGHT_PX = 60.0
SHAPE = Shape(HEIGHT_PX / 48)


def _draw(effects: Effects, shape: Shape = SHAPE) -> Letter:
    return effects.draw(SIGN, shape, np.random.default_rng(0))


PLAIN = _draw(Effects())


def _all(**shares: float) -> EffectStyle:
    return EffectStyle(**shares)


def _choose(style: EffectStyle, stroke_px: float = 4.0, seed: int = 0) -> Effects:
    return choose_effects(style, HEIGHT_PX, stroke_px, np.random.default_rng(seed))


@pytest.mark.parametrize("name", [field.name for field in fields(EffectStyle)])
def test_each_effect_changes_the_letter(name: str) -> None:
    effects = _choose(_all(**{name: 1.0}))
    assert effects != Effects()
    shape = effects.shape(SHAPE.scale, 1.0, 0.0, 0.0)
    drawn = _draw(effects, shape)
    assert drawn.mask.max() == 255
    assert drawn.mask.shape != PLAIN.mask.shape or (drawn.mask != PLAIN.mask).any()


def test_shares_are_kept() -> None:
    chosen = [_choose(_all(wavy=0.25, boxed=0.5), seed=seed) for seed in range(400)]
    assert sum(effects.wave_px > 0 for effects in chosen) == pytest.approx(100, abs=30)
    assert sum(effects.box_px > 0 for effects in chosen) == pytest.approx(200, abs=40)
    assert {effects.rough_px for effects in chosen} == {0.0}


def test_without_a_share_nothing_is_chosen() -> None:
    assert _choose(EffectStyle()) == Effects()


def test_thin_letters_are_neither_hollowed_nor_coarse() -> None:
    style = _all(outlined=1, shadowed=1, pixelated=1, rough=1)
    thick, thin = _choose(style, stroke_px=4.0), _choose(style, stroke_px=0.5)
    assert thick.outline_px > 0 < thick.shadow_px
    assert thick.pixel_px > 0
    assert (thin.outline_px, thin.shadow_px, thin.pixel_px) == (0, 0, 0)
    assert 0 < thin.rough_px <= 0.25 < thick.rough_px


def test_a_box_holds_the_letter_as_a_hole() -> None:
    mask = _draw(Effects(box_px=5)).mask
    rows, columns = np.nonzero(PLAIN.mask)
    box = np.zeros_like(mask)
    box[rows.min() - 5 : rows.max() + 6, columns.min() - 5 : columns.max() + 6] = 255
    np.testing.assert_array_equal(mask.astype(int) + PLAIN.mask, box)


def test_a_box_around_nothing_is_none() -> None:
    invisible = replace(SHAPE, weight_px=-100.0)
    assert not _draw(Effects(box_px=5), invisible).mask.any()


def test_a_stripe_runs_through_all_letters_at_one_height() -> None:
    mask = _draw(Effects(stripe=(20, 24))).mask
    line = -PLAIN.top
    assert not mask[line - 24 : line - 20].any()
    np.testing.assert_array_equal(mask[: line - 24], PLAIN.mask[: line - 24])
    np.testing.assert_array_equal(mask[line - 20 :], PLAIN.mask[line - 20 :])


def test_large_pixels_are_full_or_empty() -> None:
    mask = _draw(Effects(pixel_px=6)).mask
    assert set(np.unique(mask)) == {0, 255}
    height, width = mask.shape
    rows, columns = (np.diff(mask.astype(int), axis=axis).any(axis=1 - axis) for axis in (0, 1))
    assert rows.sum() <= height // 6
    assert columns.sum() <= width // 6


def test_a_shadow_lies_below_to_the_right_and_free_of_the_edges() -> None:
    shape = replace(SHAPE, outline_px=1.2)
    hollow, shadowed = _draw(Effects(), shape).mask, _draw(Effects(shadow_px=6), shape).mask
    added = (shadowed > hollow) & (shadowed > 127)
    assert added.sum() > 50
    assert (shadowed >= hollow).all()
    rows, columns = np.nonzero(added)
    all_rows, all_columns = np.nonzero(hollow)
    assert rows.mean() > all_rows.mean()
    assert columns.mean() > all_columns.mean()
    assert not (added & (PLAIN.mask > 127)).any()  # nothing fills the letter itself


def test_rough_edges_stay_near_the_edges() -> None:
    rough = _draw(Effects(rough_px=2.0, grain_px=5.0)).mask > 127
    outside = _draw(Effects(), replace(SHAPE, weight_px=3.0)).mask > 127
    inside = _draw(Effects(), replace(SHAPE, weight_px=-3.0)).mask > 127
    assert (rough != (PLAIN.mask > 127)).sum() > 30
    assert not (rough & ~outside).any()
    assert not (inside & ~rough).any()


@pytest.mark.parametrize(
    ("weight", "stroke_px", "gain_px"),
    [(0.1, 2.0, 6.0), (0.0, 2.0, 0.0), (-0.01, 2.0, -0.6), (-0.1, 2.0, -1.6), (-0.1, 0.3, 0.1)],
)
def test_no_stroke_gets_so_thin_that_it_disappears(
    weight: float, stroke_px: float, gain_px: float
) -> None:
    expected = max(gain_px, 0.0) if stroke_px < 0.4 else gain_px
    assert weight_of(weight, HEIGHT_PX, stroke_px) == pytest.approx(expected, abs=0.11)
