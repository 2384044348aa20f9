"""The second tab: how the first tab's result came about, region by region."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from segwright.errors import InputError
from segwright.server.page.parts import Page, buttons, component, wire
from segwright.server.page.segment_tab import SegmentTab
from segwright.server.page.why import why
from segwright.server.page.work import Job
from segwright.server.page.workspace import Result


def build(page: Page, first: SegmentTab) -> None:
    """The tab's components and events."""
    gr.Markdown(
        "Which words competed for a region of the last result, and what decided. Choose a region with the mouse or the keyboard."
    )
    start, stop = buttons("Explain the last result")
    status, shown = gr.HTML(elem_classes="sw-block"), component()

    def explain(ticket: str, token: str, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        kept = page.shelf.get(token)
        result = None if kept is None else kept.result
        yield from page.run(request, ticket, lambda job: explained(result, job), lambda html: (html,), ("",))

    wire(page, start.click, stop, status, explain, inputs=[first.token], outputs=[status, shown])


def explained(result: Result | None, job: Job) -> str:
    """``why``, if there is a result.

    Raises:
        InputError: there is none.
    """
    if result is None:
        raise InputError("there is no result yet; segment a photo on the first tab")
    return why(result, job)
