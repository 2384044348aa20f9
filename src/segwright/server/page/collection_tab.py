"""The third tab: several photos at once, with their overview, masks and exports."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from segwright.errors import SegwrightError
from segwright.refine import REFINERS
from segwright.server.page import reproduce
from segwright.server.page.collection import OFFERED, PHOTOS, Collected, collect, write_export, write_run
from segwright.server.page.figure import MADE
from segwright.server.page.guard import guarded, uploaded
from segwright.server.page.parts import PRIVATE, Page, buttons, code, component, facts, refusal, wire
from segwright.server.page.segment_tab import method_input
from segwright.server.page.work import Job
from segwright.server.page.workspace import NO_REFINER, OWN, Request


def build(page: Page) -> None:
    """The tab's components and events."""
    gr.Markdown(f"Up to {PHOTOS} photos with the same words. For more of them, and to go on later, there is `segwright segment`.")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            photos = guarded(gr.File(label="Photos", file_count="multiple", height=200), page.uploads, paths)
            words = gr.Textbox(
                label="Words", placeholder="dog, sofa", info="What to look for, separated by commas. None: the captions name it."
            )
            start, stop = buttons("Segment all")
            method = method_input(page)
            refiner = gr.Dropdown([OWN, NO_REFINER, *REFINERS, "g4seg,crf"], value=OWN, label="Refiner")
            with gr.Accordion("More settings", open=False):
                more = gr.Textbox(label="Any setting of the method, one a line", placeholder="seed=1", lines=2)
        with gr.Column(scale=2, min_width=300, elem_classes="sw-result"):
            status, shown, details = gr.HTML(elem_classes="sw-block"), component(), component()
            with gr.Row():
                files = [gr.DownloadButton(name, visible=False, size="sm", min_width=110) for name in ("Overview", "Masks")]
            with gr.Row(visible=False, elem_classes="sw-export") as exporting:
                format = gr.Dropdown(list(OFFERED), value=OFFERED[0], label="For another tool, with the photos", min_width=160)
                make = gr.Button("Export", min_width=90)
                exported = gr.DownloadButton("Export", visible=False, min_width=110)
            trouble = gr.HTML(elem_classes="sw-block")
    made = gr.State(None, time_to_live=3600)

    def run(request: gr.Request, ticket: str, *given: Any) -> Iterator[tuple[Any, ...]]:
        taken, named, kind, refine, lines = given

        def work(job: Job) -> Collected:
            found = [uploaded(path, page.uploads) for path in taken]
            asked = Request(named or "", kind, {"refine": refine}, more=lines or "")
            return collect(page.workspace, found, page.place(request), asked, job)

        yield from page.run(request, ticket, work, lambda done: (frame(done), summary(done), done), ("", "", None))

    def write(done: Collected | None) -> list[Any]:
        hidden = gr.DownloadButton(value=None, visible=False)
        if done is None:
            return ["", hidden, hidden, gr.Row(visible=False), hidden]
        given = [gr.DownloadButton(value=str(path), visible=True) for path in write_run(done)]
        return ["", *given, gr.Row(visible=True), hidden]

    def written(done: Collected | None, wanted: str) -> tuple[str, Any]:
        try:
            path = None if done is None else write_export(done, wanted)
        except SegwrightError as error:
            return refusal(error), gr.DownloadButton(value=None, visible=False)
        return "", gr.DownloadButton(label=Path(path or "").name, value=path and str(path), visible=path is not None)

    done = wire(
        page, start.click, stop, status, run, inputs=[photos, words, method, refiner, more], outputs=[status, shown, details, made]
    )
    done.then(write, made, [trouble, *files, exporting, exported], **PRIVATE)
    make.click(written, [made, format], [trouble, exported], **PRIVATE)


def paths(payload: Any) -> list[str]:
    """Of the uploads; Gradio's own way leaves an empty file a photo behind."""
    return [] if payload is None else [file.path for file in payload.root]


def frame(made: Collected) -> str:
    """The overview in a frame of its own, in which its script sees nothing of this page."""
    return (
        f'<iframe class="sw-frame" title="overview of the photos" sandbox="allow-scripts" data-made="{next(MADE)}" '
        f'data-page="{escape(made.html())}"></iframe>'
    )


def summary(made: Collected) -> str:
    """The facts below it, and the lines that make it again."""
    entries = {
        "Preset": str(made.spec.preset),
        "Method": made.spec.name,
        "Photos": f"{made.done} of {made.of}" + (", then it was stopped" if made.stopped else ""),
        "Seconds": f"{made.seconds:.2f}",
        "Left out": "; ".join(made.bad),
    }
    return facts(entries) + code(reproduce.collection_command(made), reproduce.collection_lines(made))
