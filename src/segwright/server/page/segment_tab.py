"""The first tab: a photo and words in, named regions out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from segwright.errors import SegwrightError
from segwright.files.record import plain, record
from segwright.methods import DEFAULT, find_method, list_methods
from segwright.methods.base import settings_known
from segwright.refine import REFINERS
from segwright.refine.pipeline import parse_refiners
from segwright.server.page import reproduce
from segwright.server.page.downloads import write_files
from segwright.server.page.figure import regions_figure
from segwright.server.page.parts import LIGHT, PRIVATE, Page, buttons, code, component, facts, photo_input, photo_name, wire
from segwright.server.page.work import Stopped, follow
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
    """What other tabs use of it."""

    result: gr.State
    words: gr.Textbox
    method: gr.Dropdown
    bank: gr.Dropdown


def build(page: Page) -> SegmentTab:
    """The tab's components and events."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            photo, _ = photo_input(page)
            words = gr.Textbox(
                label="Words", placeholder="dog, sofa", info="What to look for, separated by commas. None: the caption names it."
            )
            with gr.Row():
                method = gr.Dropdown(list(list_methods()), value=DEFAULT, label="Method", min_width=180)
                refiner = gr.Dropdown([OWN, NO_REFINER, *REFINERS, "g4seg,crf"], value=OWN, label="Refiner", min_width=180)
            settings, bank = _settings(page, method)
            start, stop = buttons("Segment")
        with gr.Column(scale=2, min_width=300):
            status, figure, details = gr.HTML(elem_classes="sw-block"), component(), component()
            with gr.Row():
                files = [gr.DownloadButton(name, interactive=False, size="sm", min_width=110) for name in FILES]
    result = gr.State(None, time_to_live=3600)
    inputs = [photo, words, method, refiner, *settings]
    outputs = [status, figure, details, result]

    def run(request: gr.Request, ticket: str, *given: Any) -> Iterator[tuple[Any, ...]]:
        path, asked = given[0], asked_for(**dict(zip(ASKED, given[1:], strict=True)))
        work = lambda job: page.workspace.segment(page.read(path), photo_name(path), asked, job)  # noqa: E731
        yield from page.run(request, ticket, work, lambda made: (*shown(made), made), len(outputs) - 1)

    def write(made: Result | None, request: gr.Request) -> list[Any]:
        if made is None:
            return [gr.skip()] * len(FILES)
        paths = write_files(made.image, made.segmentation, made.photo, page.place(request))
        return [gr.DownloadButton(value=str(path), interactive=True) for path in paths]

    def clicked(fn: Any, given: Any, out: Any, **options: Any) -> Any:
        return gr.on([start.click, words.submit], fn, given, out, **options)

    done = wire(page, clicked, stop, status, run, inputs=inputs, outputs=outputs)
    done.then(write, result, files, **PRIVATE)
    _named_api(page, inputs)
    return SegmentTab(result, words, method, bank)


def asked_for(
    words: str, method: str, refiner: str, candidates: str, clusters: float | None, *, sharpen_first: bool, seed: float | None,
    bank: str | None, stuff: str, background: str, more: str = "",
) -> Request:  # fmt: skip
    """The request in the tab's inputs."""
    settings = {
        "refine": refiner,
        "candidates": candidates,
        "clusters": None if clusters is None else int(clusters),
        "sharpen_first": sharpen_first,
        "background": background if "bank" in find_method(method).options else None,
        "seed": None if seed is None else int(seed),
    }
    return Request(words or "", method, settings, bank or "", stuff or "", more or "")


def shown(result: Result) -> tuple[str, str]:
    """The picture, and the facts below it."""
    spec, notes = result.spec, result.segmentation.notes
    row = parse_refiners(spec.kind.checked(spec.with_texts(result.texts).settings).refine, spec.kind.refiners)
    named = [f"{name} {value if value is not None else NO_REFINER}" for name, value in spec.settings.items()]
    chosen = ", ".join([*named, *result.texts])
    details = facts(
        {
            "Preset": str(spec.preset),
            "Method": spec.name,
            "Settings": chosen or "the method's own",
            "Refiner": ", ".join(r.name for r in row) or NO_REFINER,
            "Seconds": f"{result.seconds:.2f}",
            "Caption": notes.get("caption") or "",
            "Words that may be in it": ", ".join(notes.get("candidates") or ()),
        }
    )
    every = ", ".join(f"{name} {value}" for name, value in notes["settings"].items())
    again = code(reproduce.segment_command(result), reproduce.segment_lines(result), every)
    return regions_figure(result.image, result.segmentation, result.photo), details + again


def _settings(page: Page, method: gr.Dropdown) -> tuple[list[Any], gr.Dropdown]:
    """Folded away: what matters now and then."""
    with gr.Accordion("More settings", open=False):
        candidates = gr.Dropdown(
            list(CANDIDATES),
            value=OWN,
            label="Candidates",
            info="Which of the words may be in the photo: by caption, by CLIP, or all.",
        )
        clusters = gr.Number(None, label="Regions (freeseg-diff)", precision=0, minimum=1, maximum=32, placeholder="4")
        sharpen = gr.Checkbox(False, label="Sharpen and split regions before naming them (freeseg-diff)")
        seed = gr.Number(None, label="Seed", precision=0, placeholder="0")
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
        candidates: str = OWN, clusters: float | None = None, sharpen_first: bool = False, seed: float | None = None,
        bank: str | None = None, stuff: str | None = None, background: str = OWN, more: str | None = None,
    ) -> tuple[str, Any]:  # fmt: skip
        asked = asked_for(
            words or "", method, refiner, candidates, clusters, sharpen_first=sharpen_first, seed=seed, bank=bank,
            stuff=stuff or "", background=background, more=more or "",
        )  # fmt: skip
        made: Any
        try:
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
