"""Checks a built site: ``python tools/check_site.py site``. Every link and picture inside it leads somewhere, anchors included,
and no page makes the browser ask another host for anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("link", "href")}
NOT_LOADED = {"canonical", "next", "prev", "alternate", "license"}  # kinds of <link> that a browser does not fetch


@dataclass
class Document(HTMLParser):
    """A page's anchors, its links, and what it makes a browser load."""

    text: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        for name in ("src", "href"):
            if (tag, name) in LOADED and name in given and given.get("rel", "") not in NOT_LOADED:
                self.loaded.append(given[name])


def problems(site: Path) -> Iterator[str]:
    """One sentence for each thing that is wrong."""
    pages = {path.resolve(): Document(path.read_text("utf8")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        yield f"{site} holds no page; build it first: make docs"
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        yield from (f"{where}: the browser is made to ask another host for {url}" for url in page.loaded if _elsewhere(url))
        for url in (*page.links, *page.loaded):
            wrong = None if _elsewhere(url) else _broken(path, url, pages, site.resolve())
            if wrong:
                yield f"{where}: {url} {wrong}"


def _elsewhere(url: str) -> bool:
    return bool(urlsplit(url).scheme or urlsplit(url).netloc)


def _broken(page: Path, url: str, pages: dict[Path, Document], site: Path) -> str | None:
    """What is wrong with a link inside the site, or None."""
    parts = urlsplit(url)
    start = site if parts.path.startswith("/") else page.parent  # 404.html links from the root
    target = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "does not exist"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "has no such anchor"
    return None


def main() -> int:
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(found) or "all links of the site hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
