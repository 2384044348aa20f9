"""The fourth tab: banks of prototypes for ovdiff, built from words, with live progress."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image as Pillow

from segwright.errors import InputError, SegwrightError
from segwright.methods.ovdiff.bank import Bank
from segwright.methods.ovdiff.bank_sheet import bank_sheet
from segwright.methods.ovdiff.default_bank import ovdiff_networks
from segwright.methods.ovdiff.support import SupportSettings, make_words, open_bank, support_of
from segwright.server.page import reproduce
from segwright.server.page.figure import picture, png, shrunk
from segwright.server.page.parts import LIGHT, Page, buttons, code, component, facts, refusal, wire
from segwright.server.page.segment_tab import SegmentTab
from segwright.server.page.work import Job
from segwright.server.page.workspace import Workspace
from segwright.words.vocabulary import parse_words

BATCH = 4  # pictures at once: few, so that one sees them come
MOST = 32  # pictures a word
SMALL = 96  # pixels of a shown support picture


def build(page: Page, first: SegmentTab) -> None:
    """The tab's components and events."""
    workspace = page.workspace
    gr.Markdown(
        "ovdiff compares photos with pictures that the diffusion model draws for each word. A bank keeps what it learned from them."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            name = gr.Dropdown(
                workspace.bank_names(), value="my-bank", allow_custom_value=True, label="Bank", info="A new name begins one."
            )
            words = gr.Textbox(label="Words", placeholder="dog, sofa, grass")
            stuff = gr.Textbox(label="Which of them are stuff", placeholder="grass", info="Stuff has no outline of its own.")
            pictures = gr.Slider(1, MOST, value=8, step=1, label="Pictures a word")
            steps = gr.Slider(1, 50, value=_steps(workspace), step=1, label="Denoising steps")
            start, stop = buttons("Build")
            use = gr.Button("Use it on the first tab")
            with gr.Row():
                out = gr.Textbox(label="Take a word out", placeholder="dog", min_width=160)
                remove = gr.Button("Remove", min_width=90)
        with gr.Column(scale=2, min_width=300, elem_classes="sw-result"):
            status, sheet, details = gr.HTML(elem_classes="sw-block"), component(), component()

    def make(request: gr.Request, ticket: str, *given: Any) -> Iterator[tuple[Any, ...]]:
        done = lambda made: (*made, *_menus(workspace, given[0]))  # noqa: E731
        *first, steps = given
        kept = (show(given[0]), "", gr.skip(), gr.skip())  # finished words stay in the bank
        yield from page.run(request, ticket, lambda job: build_bank(workspace, *first, steps=steps, job=job), done, kept)

    def take_out(bank: str, word: str) -> tuple[str, Any]:
        try:
            opened = workspace.bank(bank)
            opened.remove(word.strip())
            return "", contact_sheet(opened)
        except SegwrightError as error:
            return refusal(error), gr.skip()

    def show(bank: str) -> str:
        return contact_sheet(workspace.bank(bank)) if bank in workspace.bank_names() else ""

    def choose(bank: str) -> tuple[Any, ...]:
        try:
            known = ", ".join(workspace.bank(bank).entries())
        except SegwrightError as error:
            return refusal(error), gr.skip(), gr.skip(), gr.skip()
        message = f'<p class="sw-status" role="status">The first tab now uses ovdiff with {escape(bank)}.</p>'
        return message, "ovdiff", gr.update(choices=_choices(workspace), value=bank, visible=True), known

    inputs, outputs = [name, words, stuff, pictures, steps], [status, sheet, details, name, first.bank]
    wire(page, start.click, stop, status, make, inputs=inputs, outputs=outputs)
    remove.click(take_out, [name, out], [status, sheet], **LIGHT)
    name.input(show, name, sheet, **LIGHT)
    use.click(choose, name, [status, first.method, first.bank, first.words], **LIGHT)


def build_bank(
    workspace: Workspace, name: str, words: str, stuff: str, pictures: int, *, steps: int, job: Job | None = None
) -> tuple[str, str]:
    """Bring words into a bank of the page; (contact sheet, facts) as HTML.

    An existing bank keeps its settings; ``pictures`` and ``steps`` are for new ones.

    Raises:
        InputError: an unusable name, words, or stuff that is not among them.
        Stopped: the job was stopped; what is made stays.
    """
    began = time.perf_counter()
    job, folder, named = job or Job(), workspace.bank_path(name or ""), parse_words(words)
    kinds = parse_words(stuff) if stuff.strip() else ()
    if foreign := [word for word in kinds if word not in named]:
        raise InputError(f"{foreign[0]!r} is called stuff but is not among the words; add it to them")
    networks = workspace.shared(ovdiff_networks(workspace.preset, workspace.device, workspace.dtype, **workspace.single))
    sampling = replace(networks.preset.sampling, steps=int(steps))
    settings = support_of(folder) or SupportSettings(pictures=int(pictures), batch=min(BATCH, int(pictures)), sampling=sampling)
    bank = open_bank(networks, folder, settings)
    job.report("Drawing support pictures", 0.0)
    make_words(networks, bank, named, settings, kinds, progress=partial(_tell, job, bank))
    details = {
        "Preset": workspace.preset,
        "Bank": name,
        "Words": ", ".join(bank.entries()),
        "Pictures a word": str(settings.pictures),
    }
    details |= {"Denoising steps": str(settings.sampling.steps)} if settings.sampling else {}
    details |= {"Seconds": f"{time.perf_counter() - began:.2f}"}
    given = (workspace.loading, named, kinds, str(folder), settings)
    return contact_sheet(bank), facts(details) + code(reproduce.bank_command(*given), reproduce.bank_lines(*given))


def contact_sheet(bank: Bank) -> str:
    """All words of a bank with their support pictures, as HTML."""
    known = bank.entries()
    if not known:
        return '<p class="sw-note">The bank is empty.</p>'
    sheet = picture(bank_sheet(bank), f"support pictures of {', '.join(known)}")
    note = '<p class="sw-note">Outlined: where the word is. Dark: its background.</p>'
    return f'<div class="sw-sheet">{sheet}</div>{note}'


def growing(bank: Bank, word: str, count: int) -> str:
    """The contact sheet, and the pictures of the word that is being made."""
    folder = bank.path(word) / "pictures"
    images = []
    for i in range(count):
        with Pillow.open(folder / f"{i:03}.png") as made:
            images.append(f'<img alt="" src="{png(shrunk(np.asarray(made.convert("RGB")), SMALL))}">')
    new = f'<p class="sw-note">{escape(word)}</p><div class="sw-growing">{"".join(images)}</div>'
    return (contact_sheet(bank) if bank.entries() else "") + new


def _tell(job: Job, bank: Bank, word: str, made: int, of: int) -> None:
    job.report(f"Drawing {word}: {made} of {of} pictures", made / of, growing(bank, word, made))


def _steps(workspace: Workspace) -> int:
    return workspace.networks.preset.sampling.steps


def _choices(workspace: Workspace) -> Sequence[tuple[str, str]]:
    return [("the default one", ""), *((name, name) for name in workspace.bank_names())]


def _menus(workspace: Workspace, name: str) -> tuple[Any, Any]:
    return gr.update(choices=workspace.bank_names(), value=name), gr.update(choices=_choices(workspace))
