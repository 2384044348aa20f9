"""What the tabs share: the session's stop and folder, status lines, facts and lines that reproduce a result, the photo's input."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image as Pillow

from segwright.errors import SegwrightError
from segwright.mini.voc import data_folder
from segwright.server.page.guard import guarded, uploaded
from segwright.server.page.kept import Shelf
from segwright.server.page.uploads import read_upload, too_large
from segwright.server.page.work import Job, Stopped, Update, follow
from segwright.server.page.workspace import Workspace
from segwright.types import Image

HERE = Path(__file__).parent / "assets"
SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif")
CONVERTED = ".shown.png"  # behind the name of a photo that browsers cannot show
SCALED = ".scaled.png"  # in place of the ending of a photo that was made smaller
SAMPLES = 8
FOLDERS = 64  # sessions whose files are kept; programs that call the API never say that they leave
TURNS = 1024  # sessions whose latest turn is remembered
STOPPED = '<p class="sw-status" role="status">Stopped.</p>'
FAILED = '<p class="sw-status sw-error" role="alert">That could not be done; look at what was filled in, and try again.</p>'
# Where the result is below the window, as on a phone, it is brought into it.
SCROLL = """() => {
  const panel = [...document.querySelectorAll('[role=tabpanel]')].find((p) => p.offsetParent !== null);
  const made = panel?.querySelector('.sw-error, .sw-figure, .sw-swipe, .sw-sheet, .sw-frame, .sw-steps');
  const top = made?.getBoundingClientRect().top;
  if (top > innerHeight * 0.6 || top < 0) made.scrollIntoView({ block: 'start' });
}"""
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
LIGHT: dict[str, Any] = {**PRIVATE, "queue": False}
HEAVY: dict[str, Any] = {**PRIVATE, "concurrency_id": "networks", "concurrency_limit": 1}


@dataclass
class Turn:
    """One press of a start button: its ticket, what stops it, and whether it has left the queue."""

    ticket: str = field(default_factory=secrets.token_hex)
    stop: threading.Event = field(default_factory=threading.Event)
    started: bool = False


@dataclass
class Page:
    """One running page: its workspace, its temporary folder, and the latest turn of each session."""

    workspace: Workspace
    folder: Path
    turns: dict[str, Turn] = field(default_factory=dict)
    shelf: Shelf = field(default_factory=Shelf)

    def begin(self, request: gr.Request) -> tuple[str, str]:
        """A new run of a session; the earlier one is stopped, or never starts. Returns (status, ticket)."""
        self.halt(request)
        self.turns.pop(str(request.session_hash), None)
        turn = self.turns[str(request.session_hash)] = Turn()
        while len(self.turns) > TURNS:
            self.turns.pop(next(iter(self.turns))).stop.set()
        return waiting("Waiting for its turn"), turn.ticket

    def halt(self, request: gr.Request) -> Any:
        """Stop what the session runs, which then says so itself, or what it waits for."""
        turn = self.turns.get(str(request.session_hash))
        if turn is None or turn.stop.is_set():
            return gr.skip()
        turn.stop.set()
        return gr.skip() if turn.started else STOPPED

    def leave(self, request: gr.Request) -> None:
        """A session ends: its run is stopped, its files are removed."""
        self.halt(request)
        self.turns.pop(str(request.session_hash), None)
        shutil.rmtree(self.place(request), ignore_errors=True)

    @property
    def uploads(self) -> tuple[Path, ...]:
        """Folders in which everything lies that a request may name: uploads, and the samples."""
        return self.folder / "uploads", data_folder() / "JPEGImages"

    def place(self, request: gr.Request) -> Path:
        """The session's own folder for files to download, made if need be; beyond ``FOLDERS`` the oldest are removed."""
        above = self.folder / "sessions"
        place = above / (re.sub(r"\W", "_", str(request.session_hash))[:80] or "_")
        if not place.is_dir():
            place.mkdir(parents=True, exist_ok=True)
            others = sorted(above.iterdir(), key=lambda other: other.stat().st_mtime_ns)
            for other in others[:-FOLDERS]:
                shutil.rmtree(other, ignore_errors=True)
        return place

    def run(
        self,
        request: gr.Request,
        ticket: str,
        work: Callable[[Job], Any],
        show: Callable[[Any], tuple[Any, ...]],
        emptied: tuple[Any, ...],
    ) -> Iterator[tuple[Any, ...]]:
        """Do a job; yields (status, *outputs): what it is at while it runs, and in the end what ``show`` makes of its result.

        Args:
            ticket: of ``begin``; nothing is done where the session has begun another run since, or is gone.
            emptied: what the outputs beside the status become where the job fails or is stopped, so that nothing earlier looks
                like its result; until then they stay as they are. An Update's ``shown`` goes into the first of them.
        """
        same = (gr.skip(),) * len(emptied)
        turn = self.turns.get(str(request.session_hash))
        if turn is None or turn.ticket != ticket:
            yield gr.skip(), *same
            return
        turn.started = True
        try:
            for update in follow(work, turn.stop):
                if isinstance(update, Update):
                    first = same[:1] if update.shown is None else (update.shown,)
                    yield waiting(update.text, update.share), *first, *same[1:]
                else:
                    yield "", *show(update)
        except Stopped:
            yield STOPPED, *emptied
        except SegwrightError as error:
            yield refusal(error), *emptied

    def read(self, path: str | None) -> Image:
        """An uploaded photo.

        Raises:
            InputError: none, too large, or none that can be read.
        """
        return read_upload(None if path is None else uploaded(path, self.uploads), self.workspace.limits)

    def receive(self, path: str | None, request: gr.Request) -> tuple[Any, str]:
        """A photo just uploaded: taken as it is, made smaller or visible to browsers if it must be, or refused and taken away."""
        if path is None:
            return gr.skip(), ""
        name = Path(path).name
        try:
            image = self.read(path)
            note = too_large(uploaded(path, self.uploads), self.workspace.limits)
        except SegwrightError as error:
            return None, refusal(error)
        if not note and Path(path).suffix.lower() in SHOWN_BY_BROWSERS:
            return gr.skip(), ""
        file = self.place(request) / (f"{Path(path).stem}{SCALED}" if note else f"{name}{CONVERTED}")
        Pillow.fromarray(image).save(file, compress_level=1)
        made = f" It was made smaller, to {image.shape[1]}x{image.shape[0]}; the masks have that size."
        return str(file), note and f'<p class="sw-note" role="status">{escape(note + made)}</p>'


def photo_name(path: str) -> str:
    """The name of a photo as the person knows it."""
    return Path(path).name.removesuffix(CONVERTED)


def photo_input(page: Page, label: str = "Photo") -> tuple[gr.Image, gr.HTML]:
    """A place for a photo, with samples, and the line that says why one was refused."""
    photo = gr.Image(label=label, type="filepath", sources=["upload", "clipboard"], height=200, buttons=[])
    guarded(photo, page.uploads, raw)  # the file as it is; ``read`` decodes it
    refused = gr.HTML(elem_classes="sw-block")
    photo.upload(page.receive, photo, [photo, refused], **LIGHT)
    photo.clear(str, None, refused, **LIGHT)
    pictures = sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[:SAMPLES]
    gr.Examples([[str(p)] for p in pictures], photo, label="Samples", api_visibility="private", elem_id=f"sw-samples-{photo._id}")
    return photo, refused


def raw(payload: Any) -> str | None:
    """An upload's path."""
    return None if payload is None else payload.path


def buttons(name: str) -> tuple[gr.Button, gr.Button]:
    """Start and stop."""
    with gr.Row():
        return gr.Button(name, variant="primary", scale=3, min_width=120), gr.Button("Stop", scale=1, min_width=80)


def wire(page: Page, start: Any, stop: Any, status: Any, work: Any, *, inputs: Any, outputs: Any) -> Any:
    """Start: take a ticket, then wait for the one queue; stop: at once. ``work`` gets the ticket before its inputs.

    The ticket travels by the browser, so that a run is told from a later one that overtook it while it waited.

    Returns:
        The event that ends the run.
    """
    ticket = gr.Textbox(visible="hidden", show_label=False)
    begun = start(page.begin, None, [status, ticket], **LIGHT)
    stop.click(page.halt, None, status, **LIGHT)
    done = begun.then(work, [ticket, *inputs], outputs, trigger_mode="multiple", **HEAVY)
    done.then(None, None, None, js=SCROLL)
    done.failure(lambda: FAILED, None, status, **LIGHT)  # what Gradio refused before ``work`` saw it; it says why itself
    return done


def component(value: str = "", **options: Any) -> gr.HTML:
    """HTML of the page's own, with its script."""
    script = (HERE / "script.js").read_text("utf8")
    return gr.HTML(value, js_on_load=script, apply_default_css=False, elem_classes="sw-block", **options)


def waiting(text: str, share: float | None = None) -> str:
    """What is being done."""
    bar = "<progress></progress>" if share is None else f'<progress value="{share:.3f}"></progress>'
    return f'<p class="sw-status" role="status">{bar}{escape(text)} ...</p>'


def refusal(error: SegwrightError) -> str:
    """Why something was not done."""
    text = str(error)
    return f'<p class="sw-status sw-error" role="alert">{escape(text[:1].upper() + text[1:])}.</p>'


def facts(entries: Mapping[str, str]) -> str:
    """ "Preset: mini. Seconds: 0.4." """
    text = " ".join(f"{escape(name)}: <b>{escape(value)}</b>." for name, value in entries.items() if value)
    return f'<p class="sw-facts">{text}</p>'


def code(command: str, lines: str, settings: str = "", note: str = "") -> str:
    """How to make a result again; ``settings``: all of them, with those that were not chosen."""
    every = f'<p class="sw-note">{escape(note)}</p>' if note else ""
    every += f'<p class="sw-note">All settings: {escape(settings)}.</p>' if settings else ""
    blocks = _block("On the command line", command) + _block("In Python", lines)
    return f"<details><summary>Make this again</summary>{blocks}{every}</details>"


def _block(title: str, text: str) -> str:
    return (
        f'<div class="sw-code">{title}<pre tabindex="0">{escape(text.strip())}</pre>'
        '<button type="button" class="sw-copy">Copy</button></div>'
    )
