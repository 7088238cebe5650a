"""What all pages are made of: one look, and text that stays text.

Whatever comes from a data set (names, labels, texts) is escaped, pictures are written into the
page, and it holds no script and loads nothing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from crnn_captcha.wording import printable

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


def document(title: str, facts: Mapping[str, str], body: str) -> str:
    """A whole page as HTML.

    Args:
        title: the headline.
        facts: what it is about, below the headline.
        body: HTML, in which all that came from somewhere else is escaped.
    """
    known = " · ".join(f"{text(name)}: {text(value)}" for name, value in facts.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{STYLE}</style>
</head>
<body><main>
<h1>{text(title)}</h1>
<p class="facts">{known}</p>
{body}</main></body>
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


def data_uri(data: bytes) -> str:
    """A PNG file as an address, so that it is a part of the page."""
    return f"data:image/png;base64,{b64encode(data).decode()}"
