"""What all pages are made of: one look, and text that stays text.

Whatever comes from a data set (names, labels, texts) is escaped, pictures are drawn anew and
written into the page, and it loads and sends nothing. A script is only run if it is our own, named
to the browser by its digest.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import cv2
import numpy as np

from crnn_captcha.dataset import Sample
from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.evaluation import Files
from crnn_captcha.images import load_image
from crnn_captcha.reporting.showcase import Pixels, png
from crnn_captcha.wording import printable

MAX_SIDE = 640  # px; larger pictures of a data set are scaled down
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
    "style-src 'unsafe-inline'"
)
STYLE = """
body { margin: 0; background: #f3f5f8; color: #181f2a; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { margin: 0; font-size: 28px; } h2 { margin: 40px 0 12px; font-size: 20px; }
.facts { color: #646e7d; margin: 4px 0 20px; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; }
.card, figure, table { background: #fff; border: 1px solid #d9dee6; border-radius: 10px; }
.card { flex: 1 1 150px; padding: 12px 16px; color: #646e7d; font-size: 14px; }
.card b { display: block; color: #181f2a; font-size: 28px; font-weight: 600; }
.figures { display: grid; gap: 12px;
 grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
figure { margin: 0; padding: 12px; } figure img { width: 100%; }
.wrap { overflow-x: auto; margin: 0 0 16px; }
table { border-collapse: separate; border-spacing: 0; }
th, td { padding: 6px 14px; text-align: left; border-bottom: 1px solid #eceff3; }
th { color: #646e7d; font-weight: 500; font-size: 14px; } tr:last-child td { border: 0; }
td img { display: block; max-width: 300px; max-height: 90px; border: 1px solid #d9dee6; }
.text { font: 20px ui-monospace, monospace; letter-spacing: 2px; white-space: pre; }
.text i { font-style: normal; border-radius: 3px; padding: 1px 2px; }
.actual i { background: #dcf3e4; color: #15803d; } .read i { background: #fce1e2; color: #c81e2d; }
.right { color: #15803d; } .wrong { color: #c81e2d; }
"""


def document(
    title: str, facts: Mapping[str, str], body: str, *, style: str = "", script: str = ""
) -> str:
    """A whole page as HTML.

    Args:
        title: the headline.
        facts: what it is about, below the headline.
        body: HTML, in which all that came from somewhere else is escaped.
        style: rules of this page alone, after those of all pages.
        script: of our own, without anything from somewhere else; run when the body is there.
    """
    policy, element = POLICY, ""
    if script:
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
        element = f"\n<script>{script}</script>"
    known = " · ".join(f"{text(name)}: {text(value)}" for name, value in facts.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body><main>
<h1>{text(title)}</h1>
<p class="facts">{known}</p>
{body}</main>{element}</body>
</html>
"""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f'<div class="wrap"><table>\n<tr>{head}</tr>\n{body}</table></div>\n'


def text(anything: str) -> str:
    """Text as HTML: nothing in it is markup or disturbs what it stands in."""
    return escape(printable(anything))


def marked(characters: Iterable[tuple[str, bool]]) -> str:
    """Characters with the wrong ones marked; a gap where one was left out or added."""
    return "".join(
        text(character) if right else f"<i>{text(character) or ' '}</i>"
        for character, right in characters
    )


def picture(name: str, dataset: Files) -> str:
    """An image of a data set, `MAX_SIDE` wide and high at most; nothing if it can't be read."""
    try:
        image = load_image(dataset.read(Sample(name, "")))
    except (DatasetError, ImageError):
        return ""
    return f'<img alt="{text(name)}" title="{text(name)}" src="{data_uri(png(small(image)))}">'


def small(image: Pixels) -> Pixels:
    """An image, uint8 (height, width, 3), scaled down to `MAX_SIDE` if it is larger."""
    height, width, _ = image.shape
    if (scale := MAX_SIDE / max(height, width)) >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def figures(captions: Mapping[str, str], pictures: Mapping[str, bytes]) -> str:
    """PNG files side by side, under a headline.

    Args:
        captions: what each says to somebody who can't see it, by name.
        pictures: files by name.
    """
    shown = "".join(
        f'<figure><img alt="{captions[name]}" src="{data_uri(data)}"></figure>\n'
        for name, data in pictures.items()
    )
    return f'<h2>Figures</h2>\n<div class="figures">\n{shown}</div>\n'


def data_uri(data: bytes) -> str:
    """A PNG file as an address, so that it is a part of the page."""
    return f"data:image/png;base64,{b64encode(data).decode()}"
