"""The report of a check: one page that shows what was found, and its parts as files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from crnn_captcha.checks import Evidence
from crnn_captcha.diagnosis import Diagnosis, Finding
from crnn_captcha.evaluation import Files
from crnn_captcha.files import write_text
from crnn_captcha.reporting.canvas import save_figures
from crnn_captcha.reporting.histograms import diagnosis_figures
from crnn_captcha.reporting.markup import document, figures, picture, text
from crnn_captcha.reporting.page import prepare_report

SHOWN = 12  # rows for each finding
IMAGES_SHOWN = 4  # in a row

CAPTIONS = {
    "characters": "How often each character comes",
    "lengths": "How many labels have each length",
    "widths": "How wide the images are",
    "heights": "How high the images are",
}


def write_datasheet(
    diagnosis: Diagnosis,
    directory: Path,
    *,
    dataset: Files,
    title: str = "What is in the data",
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Writes `check.json`, the figures and `index.html`, with pictures of what was found.

    Args:
        diagnosis: what is reported.
        directory: made if it isn't there; files of these names in it are replaced.
        dataset: gives the bytes of the images.
        title: the page's headline.
        facts: what was checked, such as the path of the data.

    Returns:
        The path of `index.html`.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
        RunError: if the folder can't be made.
        OSError: if a file can't be written.
    """
    prepare_report(directory)
    facts = dict(facts or {})
    for name in CAPTIONS:
        (directory / f"{name}.png").unlink(missing_ok=True)  # of a report before
    pictures = save_figures(diagnosis_figures(diagnosis), directory)
    write_text(
        directory / "check.json", json.dumps({**facts, **diagnosis.to_dict()}, indent=1) + "\n"
    )
    page = directory / "index.html"
    write_text(page, render_datasheet(diagnosis, pictures, dataset, title=title, facts=facts))
    return page


def render_datasheet(
    diagnosis: Diagnosis,
    pictures: Mapping[str, bytes],
    dataset: Files,
    *,
    title: str,
    facts: Mapping[str, str],
) -> str:
    """The page as HTML.

    Args:
        diagnosis: what is reported.
        pictures: PNG files by their name in `CAPTIONS`.
        dataset: gives the bytes of the images.
        title: the page's headline.
        facts: what was checked.
    """
    found = "".join(_finding(finding, dataset) for finding in diagnosis.findings)
    body = f"""<div class="cards">
{_cards(diagnosis)}</div>
<p>{text(diagnosis.summary)}</p>
{found}{figures(CAPTIONS, pictures)}"""
    return document(title, facts, body)


def _cards(diagnosis: Diagnosis) -> str:
    characters = set().union(*diagnosis.characters.values())
    cards = [
        *((f"{count:,}", f"images in {split}") for split, count in diagnosis.images.items()),
        (f"{len(characters):,}", "characters"),
        (f"{len(diagnosis.spoiling):,}", "sorts of problems"),
    ]
    return "".join(f'<div class="card"><b>{value}</b>{name}</div>\n' for value, name in cards)


def _finding(finding: Finding, dataset: Files) -> str:
    check, count = finding.check, len(finding.evidence)
    sort = '<span class="wrong">Problem</span>' if check.spoils else "Note"
    rows = "".join(_row(evidence, dataset) for evidence in finding.evidence[:SHOWN])
    more = f"<p>{count - SHOWN:,} more are in check.json.</p>\n" if count > SHOWN else ""
    return (
        f"<h2>{sort}: {text(check.title)} ({count:,})</h2>\n<p>{text(check.advice)}</p>\n"
        f'<div class="wrap"><table>\n{rows}</table></div>\n{more}'
    )


def _row(evidence: Evidence, dataset: Files) -> str:
    images = "".join(picture(name, dataset) for name in evidence.names[:IMAGES_SHOWN])
    labels = evidence.labels or ("",) * len(evidence.names)
    named = [
        f"{text(name)}{f': <b>{text(label)}</b>' if label else ''}"
        for name, label in zip(evidence.names, labels, strict=True)
    ]
    more = len(named) - IMAGES_SHOWN
    lines = [*named[:IMAGES_SHOWN], *([f"and {more:,} more"] if more > 0 else [])]
    cells = (images, "<br>".join(lines), text(evidence.detail))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells if cell)}</tr>\n"
