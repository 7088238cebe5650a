"""What is on a page, read as strictly as our pages are written."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "input"}


class WellFormed(HTMLParser):
    """The elements and the text of a page; fails if tags don't close, or an attribute is a script.

    Attributes:
        html: the page.
        elements: tags with their attributes, in order.
        scripts: what stands in each.
        text: all that is neither script nor style.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self._open[-1:] != ["style"]:
            self.text += data
