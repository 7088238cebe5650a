"""The report of an evaluation: one page that needs nothing else, and its parts as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from crnn_captcha.dataset import Sample
from crnn_captcha.errors import RunError
from crnn_captcha.evaluation import Files
from crnn_captcha.files import write_bytes, write_text
from crnn_captcha.outcomes import EvaluationResult, Outcome
from crnn_captcha.reporting.canvas import require_matplotlib, save_figures
from crnn_captcha.reporting.figures import evaluation_figures, training_curves
from crnn_captcha.reporting.markup import data_uri, document, figures, marked, small, table, text
from crnn_captcha.reporting.showcase import (
    Pixels,
    ShowcaseEntry,
    align,
    draw_showcase,
    make_entry,
    network_view,
    png,
)
from crnn_captcha.wording import percent, percent_range, printable

SHOWCASE = 10  # examples in the showcase
EXAMPLES = 12  # rows of wrong and of right examples on the page

CAPTIONS = {
    "curves": "The training: losses, validation figures and learning rate by epoch",
    "by-length": "Exact match by label length, with 95 % intervals",
    "confidence": "Confidence of right and wrong texts, and how often each confidence is right",
    "risk-coverage": "How much is right if only the surest images are read",
    "confusions": "The confusions that cost most",
    "confusion-map": "Which character was read as which",
}


def prepare_report(directory: Path) -> None:
    """Makes the folder and refuses at once what would fail after minutes of work.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
        RunError: if the folder can't be made or written to.
    """
    require_matplotlib()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass  # a folder that is there may still not be written to
    except OSError as error:
        raise RunError(
            f"A report is written into a folder. Received: {directory} ({error.strerror}). "
            "Name another one."
        ) from error


def write_report(
    result: EvaluationResult,
    directory: Path,
    *,
    dataset: Files,
    pipeline: Callable[[Pixels], Pixels],
    title: str = "How well it reads",
    facts: Mapping[str, str] | None = None,
    history: Sequence[Mapping[str, float]] = (),
) -> Path:
    """Writes `evaluation.json`, `evaluation.md`, the figures, the showcase and `index.html`.

    Args:
        result: what is reported.
        directory: made if it isn't there; files of these names in it are replaced.
        dataset: gives the bytes of the example images.
        pipeline: makes of an image what the network takes.
        title: the page's headline.
        facts: what was evaluated, such as the names of data, split and model.
        history: of the training, a row for each epoch; its curves then come first.

    Returns:
        The path of `index.html`.

    Raises:
        MissingExtraError: if Matplotlib isn't installed.
        RunError: if the folder can't be made.
        OSError: if a file can't be written.
    """
    prepare_report(directory)
    facts = {name: printable(value) for name, value in (facts or {}).items()}
    curves = {"curves": training_curves(history)} if history else {}
    pictures = save_figures({**curves, **evaluation_figures(result)}, directory)

    def entries(outcomes: Iterable[Outcome], count: int) -> list[tuple[Outcome, ShowcaseEntry]]:
        return [
            (outcome, _entry(outcome, dataset, pipeline))
            for outcome in spread([o for o in outcomes if not o.broken], count)
        ]

    for name in {"curves", "showcase"} - pictures.keys():  # of a report before
        (directory / f"{name}.png").unlink(missing_ok=True)
    if shown := entries(result.outcomes, SHOWCASE):
        picture = draw_showcase([entry for _, entry in shown], title=printable(title))
        write_bytes(directory / "showcase.png", png(picture))
    examples = {
        "Wrong": entries((o for o in result.outcomes if not o.right), EXAMPLES),
        "Right": entries((o for o in result.outcomes if o.right), EXAMPLES),
    }
    numbers = json.dumps({**facts, **result.to_dict(outcomes=True)}, indent=1)
    write_text(directory / "evaluation.json", numbers + "\n")
    notes = "".join(f"- {name}: {value}\n" for name, value in facts.items())
    said = f"{result.summary}\n\n{result.coverage_summary}\n\n{result.to_markdown()}"
    write_text(directory / "evaluation.md", f"# {printable(title)}\n\n{notes}\n{said}")
    page = directory / "index.html"
    write_text(page, render_page(result, pictures, examples, title=title, facts=facts))
    return page


def render_page(
    result: EvaluationResult,
    pictures: Mapping[str, bytes],
    examples: Mapping[str, Sequence[tuple[Outcome, ShowcaseEntry]]],
    *,
    title: str,
    facts: Mapping[str, str],
) -> str:
    """The page as HTML.

    Args:
        result: the figures.
        pictures: PNG files by their name in `CAPTIONS`.
        examples: images with their outcomes, by the headline they stand under.
        title: the page's headline.
        facts: what was evaluated.
    """
    tables = "".join(table(header, rows) for header, rows in result.tables())
    shown = "".join(
        f"<h2>{text(name)}: {len(rows)} of {_count(result, rows[0][0].right):,}</h2>\n"
        f"{_examples(rows)}"
        for name, rows in examples.items()
        if rows
    )
    body = f"""<div class="cards">
{_cards(result)}</div>
<p>{text(result.summary)}</p>
<p>{text(result.coverage_summary)}</p>
{figures(CAPTIONS, pictures)}<h2>Tables</h2>
{tables}{shown}"""
    return document(title, facts, body)


def spread(outcomes: Sequence[Outcome], count: int) -> list[Outcome]:
    """Some outcomes, evenly from first to last: picked by place, not by how well they look."""
    if len(outcomes) <= count:
        return [*outcomes]
    return [outcomes[i * len(outcomes) // count] for i in range(count)]


def _entry(outcome: Outcome, dataset: Files, pipeline: Callable[[Pixels], Pixels]) -> ShowcaseEntry:
    data = dataset.read(Sample(outcome.name, outcome.label))
    return make_entry(
        data, pipeline, label=outcome.label, text=outcome.text, confidence=outcome.confidence
    )


def _count(result: EvaluationResult, right: bool) -> int:
    return sum(outcome.right is right for outcome in result.outcomes)


def _cards(result: EvaluationResult) -> str:
    surest = result.risk_coverage.at_coverage(0.9)
    cards = [
        (percent(result.exact_match), f"exact match ({percent_range(result.interval)})"),
        (percent(result.merged_exact_match), "exact match, look-alikes merged"),
        (percent(result.cer), "CER, character errors"),
        (percent(surest.exact_match), f"exact match of the surest {percent(surest.coverage)}"),
        (f"{result.images:,}", "images"),
        (f"{result.images_per_second:,.0f}", "images a second"),
    ]
    return "".join(f'<div class="card"><b>{value}</b>{name}</div>\n' for value, name in cards)


def _examples(rows: Sequence[tuple[Outcome, ShowcaseEntry]]) -> str:
    head = ("image", "what the network sees", "actual", "read", "", "confidence")
    cells = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(_example(outcome, entry) for outcome, entry in rows)
    return f'<div class="wrap"><table>\n<tr>{cells}</tr>\n{body}</table></div>\n'


def _example(outcome: Outcome, entry: ShowcaseEntry) -> str:
    name = text(outcome.name)
    pairs = align(outcome.label, outcome.text)
    verdict = (
        '<span class="right">✓ right</span>' if outcome.right
        else '<span class="wrong">✗ wrong</span>'
    )  # fmt: skip
    return (
        f'<tr><td><img alt="{name}" title="{name}" src="{data_uri(png(small(entry.image)))}"></td>'
        f'<td><img alt="what the network sees" '
        f'src="{data_uri(png(small(network_view(entry.prepared))))}"></td>'
        f'<td class="text actual">{marked((a, ok) for a, _, ok in pairs)}</td>'
        f'<td class="text read">{marked((b, ok) for _, b, ok in pairs)}</td>'
        f"<td>{verdict}</td><td>{percent(outcome.confidence)}</td></tr>\n"
    )
