"""The first tab: a photo and words in, named regions out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from segwright.errors import InputError, SegwrightError
from segwright.files.record import plain, record
from segwright.methods import DEFAULT, find_method
from segwright.methods.base import settings_known
from segwright.refine import REFINERS
from segwright.refine.pipeline import parse_refiners
from segwright.server.page import reproduce
from segwright.server.page.corrections import read_place, read_steps
from segwright.server.page.downloads import write_files
from segwright.server.page.figure import regions_figure
from segwright.server.page.parts import (
    HEAVY,
    LIGHT,
    PRIVATE,
    Page,
    buttons,
    code,
    component,
    facts,
    photo_input,
    photo_name,
    refusal,
    waiting,
    wire,
)  # fmt: skip
from segwright.server.page.work import Job, Stopped, Update, follow
from segwright.server.page.workspace import NO_REFINER, OWN, Request, Result

CANDIDATES = (OWN, "paper", "reference", "prefilter", "none")
BACKGROUNDS = (OWN, "prototypes", "threshold", "none")
FILES = ("Label map", "Overlay", "COCO JSON", "Cut-outs")
DEFAULT_BANK = ""
# What ``asked_for`` takes, in the order of the tab's inputs.
ASKED = (
    "words", "method", "refiner", "candidates", "clusters", "sharpen_first", "seed", "bank", "stuff", "background", "more",
)  # fmt: skip


@dataclass(frozen=True)
class SegmentTab:
    """What other tabs use of it.

    Attributes:
        token: by which the page remembers this browser tab (``Page.shelf``); it stays when the tab is loaded again.
        restore: (token, request) -> the values of ``restored``: what was remembered.
    """

    token: gr.Textbox
    restore: Callable[..., Any]
    restored: list[Any]
    words: gr.Textbox
    method: gr.Dropdown
    bank: gr.Dropdown


def build(page: Page) -> SegmentTab:
    """The tab's components and events."""
    token = gr.Textbox(visible="hidden", show_label=False)
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            photo, _ = photo_input(page)
            words = gr.Textbox(
                label="Words", placeholder="dog, sofa", info="What to look for, separated by commas. None: what is in the photo."
            )
            start, stop = buttons("Segment")
            method = method_input(page)
            refiner = gr.Dropdown([OWN, NO_REFINER, *REFINERS, "g4seg,crf"], value=OWN, label="Refiner")
            settings, bank = _settings(page, method)
        with gr.Column(scale=2, min_width=300, elem_classes="sw-result"):
            status, figure, dropped = gr.HTML(elem_classes="sw-block"), component(), gr.HTML(elem_classes="sw-block")
            with gr.Row():
                files = [gr.DownloadButton(name, visible=False, size="sm", min_width=110) for name in FILES]
            details = component()
    inputs, outputs = [photo, words, method, refiner, *settings], [status, figure, details]

    def run(request: gr.Request, ticket: str, name: str, *given: Any) -> Iterator[tuple[Any, ...]]:
        page.shelf.put(name, given)

        def work(job: Job) -> Result:
            asked = asked_for(**dict(zip(ASKED, given[1:], strict=True)))
            made = page.workspace.segment(page.read(given[0]), photo_name(str(given[0])), asked, job)
            page.shelf.put(name, given, made)
            return made

        yield from page.run(request, ticket, work, shown, ("", ""))

    def write(name: str, request: gr.Request) -> list[Any]:
        """What is said of what was changed by hand, and the files."""
        kept = page.shelf.get(name)
        if kept is None or kept.result is None:
            return ["", *[gr.DownloadButton(value=None, visible=False)] * len(FILES)]
        result: Result = kept.result
        paths = write_files(result.image, result.corrected, result.photo, page.place(request))
        return [by_hand(result), *(gr.DownloadButton(value=str(path), visible=True) for path in paths)]

    def keep(name: str, request: gr.Request, event: gr.EventData) -> list[Any]:
        """A word was switched, or something was taken back."""
        kept = page.shelf.get(name)
        if kept is None or kept.result is None:
            return [gr.skip()] * (3 + len(FILES))
        changes = kept.result.changes.after(read_steps(event._data))
        again = bool(kept.result.changes.added)  # what was added lies where something was dropped: the picture is another one
        made = replace(kept.result, changes=changes)
        page.shelf.put(name, kept.asked, made)
        figure, details = shown(made)
        return [figure if again else gr.skip(), details, *write(name, request)]

    def add(name: str, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        """A place was pointed at."""
        kept, same = page.shelf.get(name), [gr.skip()] * (3 + len(FILES))
        if kept is None or kept.result is None:
            return
        before: Result = replace(kept.result, changes=kept.result.changes.after(read_steps(event._data)))
        made: Any = None
        try:
            label, place = read_place(event._data, before.segmentation)
            for made in follow(lambda job: page.workspace.also(before, label, place, job)):
                if isinstance(made, Update):
                    yield [waiting(made.text), *same]
        except SegwrightError as error:
            yield [refusal(error), *same]
            return
        page.shelf.put(name, kept.asked, made)
        yield ["", *shown(made), *write(name, request)]

    def remember(name: str, *given: Any) -> None:
        kept = page.shelf.get(name)
        page.shelf.put(name, given, None if kept is None else kept.result)

    def restore(name: str, request: gr.Request) -> list[Any]:
        kept = page.shelf.get(name)
        if kept is None:
            return [gr.skip()] * (len(inputs) + 3 + len(FILES))
        path, *rest = kept.asked
        there = path if path and Path(path).is_file() else None
        return [there, *rest, *(("", "") if kept.result is None else shown(kept.result)), *write(name, request)]

    def clicked(fn: Any, given: Any, out: Any, **options: Any) -> Any:
        return gr.on([start.click, words.submit], fn, given, out, **options)

    done = wire(page, clicked, stop, status, run, inputs=[token, *inputs], outputs=outputs)
    done.then(write, token, [dropped, *files], **PRIVATE)
    figure.kept(keep, token, [figure, details, dropped, *files], trigger_mode="always_last", **LIGHT)
    figure.added(add, token, [status, figure, details, dropped, *files], **HEAVY)
    gr.on([photo.change, words.blur, method.input], remember, [token, *inputs], None, **LIGHT)
    _named_api(page, inputs)
    return SegmentTab(token, restore, [*inputs, figure, details, dropped, *files], words, method, bank)


def asked_for(
    words: str, method: str, refiner: str, candidates: str, clusters: float | str | None, *, sharpen_first: bool,
    seed: float | str | None, bank: str | None, stuff: str, background: str, more: str = "",
) -> Request:  # fmt: skip
    """The request in the tab's inputs.

    Raises:
        InputError: regions or a seed that are no whole number.
    """
    settings = {
        "refine": refiner,
        "candidates": candidates,
        "clusters": _whole(clusters, "Regions"),
        "sharpen_first": sharpen_first,
        "background": background if "bank" in find_method(method).options else None,
        "seed": _whole(seed, "Seed"),
    }
    return Request(words or "", method, settings, bank or "", stuff or "", more or "")


def _whole(value: float | str | None, label: str) -> int | None:
    """A number as it was typed, or as a program sent it."""
    text = "" if value is None else str(value).strip()
    try:
        return int(text) if text else None
    except ValueError:
        raise InputError(f"{label} must be a whole number, got {text[:40]!r}; leave it empty for the method's own") from None


def method_input(page: Page) -> gr.Dropdown:
    """The methods that run on the preset, and why the others do not."""
    offered, reasons = page.workspace.offered()
    info = (
        f"Not with preset {page.workspace.preset}: {'; '.join(f'{n} ({why})' for n, why in reasons.items())}." if reasons else None
    )
    return gr.Dropdown(list(offered), value=DEFAULT if DEFAULT in offered else offered[0], label="Method", info=info)


def shown(result: Result) -> tuple[str, str]:
    """The picture, and the facts below it."""
    spec, notes = result.spec, result.segmentation.notes
    row = parse_refiners(spec.kind.checked(spec.with_texts(result.texts).settings).refine, spec.kind.refiners)
    named = [f"{name} {value if value is not None else NO_REFINER}" for name, value in spec.settings.items()]
    chosen = ", ".join([*named, *result.texts])
    absent = [str(word) for word in result.words or () if word not in result.segmentation.found]
    details = facts(
        {
            "Preset": str(spec.preset),
            "Method": spec.name,
            "Settings": chosen or "the method's own",
            "Refiner": ", ".join(r.name for r in row) or NO_REFINER,
            "Seconds": f"{result.seconds:.2f}",
            "Caption": notes.get("caption") or "",
            "Words that may be in it": ", ".join(notes.get("candidates") or ()),
            "Words it was not taught": ", ".join(spec.unknown(result.words or ())),
            "Not found": ", ".join(notes.get("not_found") or absent),
        }
    )
    every = ", ".join(f"{name} {value}" for name, value in notes["settings"].items())
    note = "What was changed by hand is in the Python lines only." if result.changes.steps else ""
    again = code(reproduce.segment_command(result), reproduce.segment_lines(result) + reproduce.by_hand(result), every, note)
    figure = regions_figure(result.image, result.changes.drawn(result.segmentation), result.photo, changes=result.changes)
    return figure, details + again


def by_hand(result: Result) -> str:
    """What was dropped, and what was added."""
    words, changes = result.segmentation.words, result.changes
    dropped = ", ".join(word for word in result.segmentation.found if words.index(word) + 1 in changes.dropped)
    places = ", ".join(
        f"{words[one.label - 1]} at {', '.join(f'{v:g}' for v in one.place)}"
        for one in changes.added
        if one.label not in changes.dropped
    )
    lines = (f"Dropped by hand, and not in the files: {dropped}." if dropped else "", f"Added by hand: {places}." if places else "")
    return "".join(f'<p class="sw-note" role="status">{escape(line)}</p>' for line in lines if line)


def _settings(page: Page, method: gr.Dropdown) -> tuple[list[Any], gr.Dropdown]:
    """Folded away: what matters now and then."""
    with gr.Accordion("More settings", open=False):
        candidates = gr.Dropdown(
            list(CANDIDATES),
            value=OWN,
            label="Candidates",
            info="Which of the words may be in the photo: by caption, by CLIP, or all.",
        )
        # texts, since a number of Gradio's that is empty becomes 0 when it is first shown
        clusters = gr.Textbox(None, label="Regions (freeseg-diff)", placeholder="4", max_lines=1)
        sharpen = gr.Checkbox(False, label="Sharpen and split regions before naming them (freeseg-diff)")
        seed = gr.Textbox(None, label="Seed", placeholder="0", max_lines=1)
        bank = gr.Dropdown(
            [("the default one", DEFAULT_BANK), *((name, name) for name in page.workspace.bank_names())],
            value=DEFAULT_BANK, label="Bank of prototypes", info="Words that it lacks are made first.", visible=False,
        )  # fmt: skip
        stuff = gr.Textbox(label="Which of the words are stuff", placeholder="grass, sky", visible=False)
        background = gr.Dropdown(list(BACKGROUNDS), value=OWN, label="Background", visible=False)
        more = gr.Textbox(
            label="Any other setting, one a line", placeholder="features.kind=query", lines=2, info=_names(method.value)
        )

    def suit(name: str) -> list[Any]:
        kind = find_method(name)
        has = {*settings_known(kind), *kind.options}
        shown = [gr.update(visible=v in has) for v in ("clusters", "sharpen_first", "bank", "stuff", "bank")]
        return [*shown, gr.update(info=_names(name))]

    method.change(suit, method, [clusters, sharpen, bank, stuff, background, more], **LIGHT)
    return [candidates, clusters, sharpen, seed, bank, stuff, background, more], bank


def _names(method: str) -> str:
    return f"{', '.join(find_method(method).settings_tree())}. segwright methods {method} explains them."


def _named_api(page: Page, inputs: list[Any]) -> None:
    """/segment for programs: the same inputs, answered by the label map's file and the record."""
    hidden = gr.Button(visible=False)
    labels, facts_ = gr.File(visible=False, label="label map"), gr.JSON(visible=False, label="record")

    def segment(  # what has no default here or in the tab's inputs must be given by the client
        request: gr.Request, *, photo: str | None, words: str | None = None, method: str = DEFAULT, refiner: str = OWN,
        candidates: str = OWN, clusters: str | None = None, sharpen_first: bool = False, seed: str | None = None,
        bank: str | None = None, stuff: str | None = None, background: str = OWN, more: str | None = None,
    ) -> tuple[str, Any]:  # fmt: skip
        made: Any
        try:
            asked = asked_for(
                words or "", method, refiner, candidates, clusters, sharpen_first=sharpen_first, seed=seed, bank=bank,
                stuff=stuff or "", background=background, more=more or "",
            )  # fmt: skip
            *_, made = follow(lambda job: page.workspace.segment(page.read(photo), photo_name(str(photo)), asked, job))
        except (SegwrightError, Stopped) as error:
            raise gr.Error(str(error) or "stopped", print_exception=False) from error
        files = write_files(made.image, made.segmentation, made.photo, page.place(request))
        return str(files[0]), plain(record(made.segmentation, photo=Path(str(made.photo)).name))

    hidden.click(
        segment,
        inputs_kwargs=dict(zip(("photo", *ASKED), inputs, strict=True)),
        outputs=[labels, facts_],
        api_name="segment",
        concurrency_id="networks",
        concurrency_limit=1,
        show_progress="hidden",
    )
