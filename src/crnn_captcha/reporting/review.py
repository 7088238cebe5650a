"""The page on which suspected labels are looked at: one file that needs nothing else, offline.

Whatever comes from a data set (names, labels, texts) is escaped, pictures are drawn anew and
written into the page. Its one script is our own, named to the browser by its digest, and nothing
may be loaded or sent. Decisions are kept by the browser, and saved as a file for `--corrections`.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import cv2

from crnn_captcha.dataset import Sample
from crnn_captcha.errors import DatasetError, ImageError
from crnn_captcha.evaluation import Files
from crnn_captcha.files import write_text
from crnn_captcha.images import decode_image
from crnn_captcha.reporting.showcase import align, png
from crnn_captcha.suspects import REASONS, Suspect
from crnn_captcha.wording import percent, printable

MAX_ROWS = 500  # with pictures of 20 KB a page of 14 MB
MAX_SIDE = 640  # px; larger pictures are scaled down

STYLE = """
body { margin: 0; background: #f3f5f8; color: #181f2a; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { margin: 0; font-size: 28px; } .facts { color: #646e7d; margin: 4px 0 12px; }
.bar { position: sticky; top: 0; display: flex; flex-wrap: wrap; gap: 12px; align-items: center;
 padding: 10px 0; background: #f3f5f8; }
article { display: grid; grid-template-columns: minmax(200px, 320px) 1fr; gap: 16px; padding: 12px;
 margin: 0 0 12px; background: #fff; border: 1px solid #d9dee6; border-radius: 10px; }
article:focus-within, article:focus { outline: 3px solid #2563eb; }
article[data-row="keep"] { border-left: 8px solid #15803d; }
article[data-row="change"] { border-left: 8px solid #d97706; }
article[data-row="drop"] { border-left: 8px solid #c81e2d; }
article img { max-width: 100%; min-height: 80px; border: 1px solid #d9dee6; }
article p { margin: 0 0 6px; } small { color: #646e7d; overflow-wrap: anywhere; }
.text { font: 20px ui-monospace, monospace; letter-spacing: 2px; white-space: pre; }
.text b { font-weight: normal; border-radius: 3px; background: #fce1e2; color: #c81e2d; }
button, input { font: inherit; padding: 4px 12px; border: 1px solid #b6bfcc; border-radius: 6px; }
input { font-family: ui-monospace, monospace; width: 12em; } button { background: #fff; }
button[aria-pressed="true"] { background: #181f2a; color: #fff; }
[data-message] { color: #c81e2d; }
"""
KEYS = (
    "Keys: ↓ j next, ↑ k before, 1 keep, 2 change, 3 drop, 0 undecided, e type a correction "
    "(Enter changes, Esc leaves), s save."
)


def write_review(
    suspects: Sequence[Suspect],
    path: Path,
    *,
    dataset: Files,
    key: str,
    facts: Mapping[str, str],
) -> None:
    """Writes the page with the first `MAX_ROWS` suspects.

    Args:
        suspects: those most likely wrong first.
        path: of the page; a file there is replaced.
        dataset: gives the bytes of the images.
        key: tells the data from all others: the browser keeps decisions under it.
        facts: what was looked at, such as the data's name.

    Raises:
        OSError: if it can't be written.
    """
    shown = suspects[:MAX_ROWS]
    rows = "".join(_row(suspect, _picture(suspect, dataset)) for suspect in shown)
    write_text(path, _page(rows, shown, key, facts, total=len(suspects)))


def _page(
    rows: str, shown: Sequence[Suspect], key: str, facts: Mapping[str, str], *, total: int
) -> str:
    script = Path(__file__).with_name("review.js").read_text(encoding="utf-8")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    known = " · ".join(f"{_text(name)}: {_text(value)}" for name, value in facts.items())
    more = f", all {total:,} are in suspects.json" if total > len(shown) else ""
    data = {"key": key, "suspects": [{"name": s.name, "label": s.label} for s in shown]}
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; base-uri 'none';
 form-action 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Labels to look at</title>
<style>{STYLE}</style>
</head>
<body><main>
<h1>Labels to look at</h1>
<p class="facts">{known} · suspects: {len(shown):,}{more}</p>
<p>Those most likely wrong come first. What you decide stays in this browser until you save it; the
data are never changed. Use the file: <code>crnn-captcha train DATA --out RUN --corrections
corrections.csv</code>, and likewise with <code>evaluate</code>.</p>
<div class="bar"><button type="button" id="save">Save corrections.csv</button>
<span id="decided" role="status"></span> <span id="notice" role="alert"></span></div>
<p class="facts">{KEYS}</p>
{rows}</main>
<script type="application/json" id="suspects">{_json(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def _row(suspect: Suspect, picture: str) -> str:
    name, text = _text(suspect.name), escape(suspect.text)
    pairs = align(suspect.label, suspect.text)
    label, read = _marked((a, ok) for a, _, ok in pairs), _marked((b, ok) for _, b, ok in pairs)
    image = f'<img alt="{name}" src="{picture}">' if picture else "The picture can't be shown."
    buttons = "\n".join(
        f'<button type="button" data-decision="{decision}" aria-pressed="false">{decision}</button>'
        for decision in ("keep", "change", "drop")
    )
    return f"""<article data-row="" tabindex="0">
<div>{image}</div>
<div>
<p>label <span class="text">{label}</span></p>
<p>read <span class="text">{read or "nothing"}</span> with {percent(suspect.confidence)}
 confidence; the label's probability is {suspect.label_probability:.1e}</p>
<p>{_text(REASONS[suspect.reason])}</p>
<p>{buttons}
<input value="{text}" aria-label="What the image says" spellcheck="false" autocomplete="off"></p>
<p data-message role="alert"></p>
<small>{name}</small>
</div>
</article>
"""


def _marked(characters: Iterable[tuple[str, bool]]) -> str:
    """Characters, with those marked in which label and text differ."""
    return "".join(
        _text(character) if same or not character else f"<b>{_text(character)}</b>"
        for character, same in characters
    )


def _picture(suspect: Suspect, dataset: Files) -> str:
    """As a data URI; '' if it can't be read any more."""
    try:
        image = decode_image(dataset.read(Sample(suspect.name, suspect.label)))
    except (ImageError, DatasetError):
        return ""
    height, width = image.shape[:2]
    if (scale := MAX_SIDE / max(height, width)) < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype("uint8")
    return f"data:image/png;base64,{b64encode(png(image)).decode()}"


def _json(data: object) -> str:
    """JSON that no parser of HTML finds a tag in: what could begin or end one is escaped."""
    text = json.dumps(data)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _text(text: str) -> str:
    return escape(printable(text))
