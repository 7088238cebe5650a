"""Images whose every pixel is known: paper, and a bar of ink under a line."""

from __future__ import annotations

import numpy as np

from crnn_captcha.stages import PAPER, Image

RED, BLACK = (200, 30, 30), (5, 5, 5)


def paper(height: int, width: int) -> Image:
    """White, (height, width, 3)."""
    return np.full((height, width, 3), PAPER, np.uint8)


def captcha() -> Image:
    """80 x 300: a thick red bar as ink, crossed by a black line from edge to edge."""
    image = paper(80, 300)
    image[20:60, 100:110] = RED
    image[40:42] = BLACK
    return image
