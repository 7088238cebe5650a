"""The page on which suspected labels are looked at: one file that needs nothing else, offline.

It holds the one script of all pages. Decisions are kept by the browser, and saved as a file for
`--corrections`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from crnn_captcha.evaluation import Files
from crnn_captcha.files import write_text
from crnn_captcha.reporting.markup import document, marked, picture, text
from crnn_captcha.reporting.showcase import align
from crnn_captcha.suspects import REASONS, Suspect
from crnn_captcha.wording import percent

MAX_ROWS = 500  # each with its picture: more would make the page slow to open

STYLE = """
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
.text i { background: #fce1e2; color: #c81e2d; }
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
    rows = "".join(_row(suspect, picture(suspect.name, dataset)) for suspect in shown)
    write_text(path, _page(rows, shown, key, facts, total=len(suspects)))


def _page(
    rows: str, shown: Sequence[Suspect], key: str, facts: Mapping[str, str], *, total: int
) -> str:
    more = f", all {total:,} are in suspects.json" if total > len(shown) else ""
    data = {"key": key, "suspects": [{"name": s.name, "label": s.label} for s in shown]}
    body = f"""<p>Those most likely wrong come first. What you decide stays in this browser until
you save it; the data are never changed. Use the file: <code>crnn-captcha train DATA --out RUN
--corrections corrections.csv</code>, and likewise with <code>evaluate</code>.</p>
<div class="bar"><button type="button" id="save">Save corrections.csv</button>
<span id="decided" role="status"></span> <span id="notice" role="alert"></span></div>
<p class="facts">{KEYS}</p>
{rows}<script type="application/json" id="suspects">{_json(data)}</script>
"""
    script = Path(__file__).with_name("review.js").read_text(encoding="utf-8")
    facts = {**facts, "suspects": f"{len(shown):,}{more}"}
    return document("Labels to look at", facts, body, style=STYLE, script=script)


def _row(suspect: Suspect, image: str) -> str:
    pairs = align(suspect.label, suspect.text)
    label, read = marked((a, ok) for a, _, ok in pairs), marked((b, ok) for _, b, ok in pairs)
    buttons = "\n".join(
        f'<button type="button" data-decision="{decision}" aria-pressed="false">{decision}</button>'
        for decision in ("keep", "change", "drop")
    )
    return f"""<article data-row="" tabindex="0">
<div>{image or "The picture can't be shown."}</div>
<div>
<p>label <span class="text">{label}</span></p>
<p>read <span class="text">{read if suspect.text else "nothing"}</span> with
 {percent(suspect.confidence)} confidence;
 the label's probability is {suspect.label_probability:.1e}</p>
<p>{text(REASONS[suspect.reason])}</p>
<p>{buttons}
<input value="{escape(suspect.text)}" aria-label="What the image says" spellcheck="false"
 autocomplete="off"></p>
<p data-message role="alert"></p>
<small>{text(suspect.name)}</small>
</div>
</article>
"""


def _json(data: object) -> str:
    """JSON that no parser of HTML finds a tag in: what could begin or end one is escaped."""
    written = json.dumps(data)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written
