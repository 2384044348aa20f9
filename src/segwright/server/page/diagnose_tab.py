"""The sixth tab: the Critical Look's report for a photo."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from segwright.diagnosis.subject import PARTS
from segwright.server.page import reproduce
from segwright.server.page.parts import Page, buttons, code, component, facts, photo_input, photo_name, wire
from segwright.server.page.why import diagnose
from segwright.server.page.work import Job
from segwright.words.vocabulary import parse_words


def build(page: Page) -> None:
    """The tab's components and events."""
    gr.Markdown("Where the features of CLIP and of the diffusion model say little about a photo, shown and measured.")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            photo, _ = photo_input(page)
            words = gr.Textbox(label="Words", placeholder="dog, sofa")
            parts = gr.CheckboxGroup(list(PARTS), value=list(PARTS), label="Parts")
            start, stop = buttons("Diagnose")
        with gr.Column(scale=2, min_width=300, elem_classes="sw-result"):
            status, report, details = gr.HTML(elem_classes="sw-block"), component(), component()

    def run(ticket: str, path: str | None, named: str, wanted: list[str], request: gr.Request) -> Iterator[tuple[Any, ...]]:
        def work(job: Job) -> tuple[str, str]:
            began = time.perf_counter()
            html = diagnose(page.read(path), photo_name(str(path)), named, wanted, page.workspace.networks, job=job)
            seconds = time.perf_counter() - began
            chosen = [p for p in PARTS if p in wanted]
            given = (page.workspace.loading, photo_name(str(path)), parse_words(named), chosen)
            summary = facts({"Preset": page.workspace.preset, "Parts": ", ".join(chosen), "Seconds": f"{seconds:.2f}"})
            return html, summary + code(reproduce.diagnose_command(*given), reproduce.diagnose_lines(*given))

        yield from page.run(request, ticket, work, lambda made: made, ("", ""))

    wire(page, start.click, stop, status, run, inputs=[photo, words, parts], outputs=[status, report, details])
