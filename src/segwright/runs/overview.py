"""A run at a glance: one HTML page of all photos with their overlays, to sort by word, score and area.

The page needs no network. Its pictures are the run's own overlays, loaded as they come into view, so that a page of 10,000
photos stays small; with ``embed``, and for runs that are not on this machine, they are put into the page, made smaller.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections import defaultdict
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import quote

from PIL import Image as Pillow

from segwright.files.disk import atomic_write
from segwright.files.places import Local
from segwright.images import opened
from segwright.runs.reading import Collection
from segwright.runs.refined import open_results
from segwright.runs.store import Line

SIDE = 220  # pixels of an embedded picture's long side
NAME = "overview.html"

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0; }
header { position: sticky; top: 0; background: Canvas; padding: .7em 1.2em; border-bottom: 1px solid var(--line); z-index: 1; }
h1 { font-size: 1.15em; margin: 0 0 .4em; overflow-wrap: anywhere; }
label { margin-right: 1.2em; white-space: nowrap; } select, input { font: inherit; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 1em; padding: 1.2em; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; background: var(--soft); }
figure img { display: block; width: 100%; height: 190px; object-fit: contain; background: var(--soft); }
figcaption { padding: .5em .7em; font-size: .9em; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; } td { padding: 0 .3em 0 0; } td + td { text-align: right; width: 4em; }
tr.chosen { font-weight: 600; } .none { opacity: .65; }
details { padding: .8em 1.2em 0; } li { overflow-wrap: anywhere; }
"""

SCRIPT = """
const photos = JSON.parse(document.getElementById('data').textContent);
const main = document.querySelector('main'), count = document.getElementById('count');
const word = document.getElementById('word'), by = document.getElementById('by'), down = document.getElementById('down');
const text = (tag, content) => { const e = document.createElement(tag); e.textContent = content; return e; };
function tile(photo) {
  const figure = document.createElement('figure'), link = document.createElement('a'), img = document.createElement('img');
  img.loading = 'lazy'; img.src = photo.picture; img.alt = photo.segments.map(s => s[0]).join(', ') || 'nothing found';
  if (!photo.link.startsWith('data:')) link.href = photo.link;  // browsers go to no address that holds the picture itself
  link.append(img); figure.append(link);
  const caption = document.createElement('figcaption'), table = document.createElement('table');
  caption.append(text('strong', photo.name));
  for (const [name, score, area] of photo.segments) {
    const row = table.insertRow();
    row.dataset.word = name;
    const share = area < 0.0005 ? '<0.1 %' : (100 * area).toFixed(1) + ' %';
    row.append(text('td', name), text('td', share), text('td', score === null ? '-' : score.toFixed(3)));
    row.cells[1].title = 'area'; row.cells[2].title = 'score';
  }
  caption.append(photo.segments.length ? table : text('div', 'nothing found'));
  if (!photo.segments.length) caption.lastChild.className = 'none';
  figure.append(caption);
  return figure;
}
const tiles = photos.map(tile);
function value(photo, number) {
  const own = photo.segments.filter(s => !word.value || s[0] === word.value);
  if (by.value === 'name') return number;
  if (by.value === 'words') return photo.segments.length;
  if (by.value === 'word') return own.length ? own.reduce((a, s) => s[2] > a[2] ? s : a)[0] : '';
  const numbers = own.map(s => s[by.value === 'score' ? 1 : 2]).filter(n => n !== null);
  return numbers.length ? Math.max(...numbers) : -1;
}
function show() {
  const kept = photos.map((photo, i) => i).filter(i => !word.value || photos[i].segments.some(s => s[0] === word.value));
  const values = photos.map(value), sign = down.checked ? -1 : 1;
  kept.sort((a, b) => values[a] === values[b] ? a - b : sign * (values[a] < values[b] ? -1 : 1));
  main.replaceChildren(...kept.map(i => tiles[i]));
  for (const row of main.querySelectorAll('tr')) row.className = row.dataset.word === word.value ? 'chosen' : '';
  count.textContent = kept.length + ' of ' + photos.length + ' photos';
  if (self === top) location.replace('#' + new URLSearchParams({ word: word.value, by: by.value, down: down.checked ? 1 : 0 }));
}
const asked = new URLSearchParams(location.hash.slice(1));
if (asked.has('word')) word.value = asked.get('word');
if (asked.has('by')) by.value = asked.get('by');
if (asked.has('down')) down.checked = asked.get('down') === '1';
for (const control of [word, by, down]) control.addEventListener('change', show);
show();
"""


def overview(run: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, embed: bool = False) -> Path:
    """Write the page of a run, as far as it is done.

    Args:
        run: what ``segwright segment`` wrote; a folder or a URL.
        out: the page; None: RUN/overview.html. A run at a URL needs one.
        embed: put the pictures into the page, so that it can be moved and sent.

    Returns:
        The page.

    Raises:
        InputError: there is no run, or it is damaged.
        OutputError: the page cannot be written.
    """
    collection = open_results(run)
    local = isinstance(collection.place, Local)
    page = Path(out) if out is not None else Path(collection.place.path(NAME) if local else NAME)
    return atomic_write(page, overview_page(collection, str(run), page, embed or not local).encode())


def overview_page(run: Collection, title: str, page: Path, embed: bool) -> str:
    """The page's HTML.

    Args:
        page: where it will lie; without ``embed`` its pictures are named from there.
        embed: the pictures are in it.
    """
    return _page(run, title, [_tile(run, line, page, embed) for line in run.done])


def word_table(run: str | os.PathLike[str]) -> str:
    """A run's words as a Markdown table: in how many photos each is, and its mean area and score there; the most frequent first.

    Raises:
        InputError: there is no run, or it is damaged.
    """
    collection, found = open_results(run), defaultdict(list)
    for line in collection.done:
        record = collection.record(line)
        for segment in record.segments:
            found[segment.word].append((segment.area / (record.size[0] * record.size[1]), segment.score))
    rows: list[tuple[str, ...]] = [("word", "photos", "mean area", "mean score")]
    for word, seen in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        scores = [score for _, score in seen if score is not None]
        score = f"{fmean(scores):.2f}" if scores else "-"
        rows.append((word, f"{len(seen)} of {len(collection.done)}", f"{fmean(area for area, _ in seen):.1%}", score))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])))
    return "\n".join(f"| {row[0]:<{widths[0]}} | {' | '.join(map(str.rjust, row[1:], widths[1:]))} |" for row in rows)


def _tile(run: Collection, line: Line, page: Path, embed: bool) -> dict[str, Any]:
    record = run.record(line)
    whole = record.size[0] * record.size[1]
    overlay = f"{line.name}.overlay.png"
    picture = _embedded(run, overlay) if embed else _link(run, overlay, page)
    return {
        "name": line.name,
        "picture": picture,
        "link": picture if embed else _link(run, overlay, page),
        "segments": [(s.word, s.score, round(s.area / whole, 5)) for s in record.segments],
    }


def _link(run: Collection, name: str, page: Path) -> str:
    """A file's address from the page's folder."""
    return quote(Path(os.path.relpath(run.place.path(name), page.parent)).as_posix())


def _embedded(run: Collection, name: str) -> str:
    with opened(io.BytesIO(run.place.read(name) or b"")) as (picture, _):
        small = picture.convert("RGB")
        small.thumbnail((SIDE, SIDE), Pillow.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _page(run: Collection, name: str, tiles: list[dict[str, Any]]) -> str:
    words = sorted({segment[0] for tile in tiles for segment in tile["segments"]}, key=str.casefold)
    choices = "".join(f'<option value="{escape(word)}">{escape(word)}</option>' for word in words)
    keys = {"name": "name", "word": "word", "score": "score", "area": "area", "words": "number of words"}
    sorts = "".join(f'<option value="{key}">{text}</option>' for key, text in keys.items())
    failed = "".join(f"<li>{escape(line.photo)}: {escape(line.reason or 'failed')}</li>" for line in run.failed)
    controls = (
        f'<label>Word <select id="word"><option value="">all</option>{choices}</select></label>'
        f'<label>Sort by <select id="by">{sorts}</select></label>'
        '<label><input type="checkbox" id="down"> largest first</label><span id="count"></span> '
        "<small>(words with area and score)</small>"
    )
    body = f"<header><h1>{escape(name)}</h1>{controls}</header>"
    if failed:  # above the photos, of which there may be thousands
        body += f"<details><summary>Could not be done: {len(run.failed)}</summary><ul>{failed}</ul></details>"
    body += "<main></main>"
    data = json.dumps(tiles, ensure_ascii=False).replace("<", "\\u003c")  # no word can end the script
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(name)}</title><style>{STYLE}</style>{body}<script type="application/json" id="data">{data}</script>'
        f"<script>{SCRIPT}</script></html>\n"
    )
