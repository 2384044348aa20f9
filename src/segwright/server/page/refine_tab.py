"""The fifth tab: a photo and a coarse mask, uploaded or painted, before and after refinement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.files.colors import color
from segwright.files.masks import write_label_map
from segwright.refine import REFINERS
from segwright.runs.refine_masks import RefinementSettings
from segwright.server.page import reproduce
from segwright.server.page.downloads import write_files
from segwright.server.page.figure import regions_figure, swipe
from segwright.server.page.guard import guarded, uploaded
from segwright.server.page.painter import bounded
from segwright.server.page.parts import LIGHT, PRIVATE, Page, buttons, code, component, facts, photo_input, photo_name, wire
from segwright.server.page.segment_tab import FILES
from segwright.server.page.uploads import open_upload
from segwright.server.page.work import Job
from segwright.server.page.workspace import RefineRequest, RefineResult

UPLOADED, PAINTED = "Upload it", "Paint it"
INKS = 7  # colours to paint with, those of the first labels


def build(page: Page) -> None:
    """The tab's components and events."""
    rows = [RefinementSettings().refiners, *REFINERS, "pamr,crf"]
    gr.Markdown("Outlines of any mask, made sharper. A mask is a PNG with an index a pixel, or scores (.npy, .safetensors).")
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            photo, _ = photo_input(page)
            source = gr.Radio([UPLOADED, PAINTED], value=UPLOADED, label="Coarse mask")
            mask = gr.File(label="Mask", file_types=[".png", ".npy", ".safetensors"], height=110)
            painter = bounded(_painter(), page.workspace.limits)
            for taking in (mask, painter):
                guarded(taking, page.uploads)
            named = gr.Textbox(
                label="What its indices are called",
                placeholder="1=dog, 2=sofa",
                info="Painted: 1 is the first colour, 2 the second.",
            )
            refiners = gr.Dropdown(rows, value=rows[0], label="Refiners, in this order")
            with gr.Accordion("More settings", open=False):
                more = gr.Textbox(label="Any setting of a refiner, one a line", placeholder="g4seg.timestep=100", lines=2)
            start, stop = buttons("Refine")
        with gr.Column(scale=2, min_width=300, elem_classes="sw-result"):
            status, pair, details, regions = gr.HTML(elem_classes="sw-block"), component(), component(), component()
            with gr.Row():
                files = [gr.DownloadButton(n, interactive=False, size="sm", min_width=110) for n in (*FILES, "Painted mask")]
    result = gr.State(None, time_to_live=3600)

    def refine(request: gr.Request, ticket: str, *given: Any) -> Iterator[tuple[Any, ...]]:
        path, how, file, painted, words, names, more = given

        def work(job: Job) -> RefineResult:
            image = page.read(path)
            name = photo_name(str(path))
            coarse = _painted_file(painted, image.shape[:2], page.place(request), name) if how == PAINTED else _uploaded(page, file)
            return page.workspace.refine(image, name, RefineRequest(coarse, words, names, more or ""), job)

        yield from page.run(request, ticket, work, lambda made: (*shown(made), made), ("", "", "", None))

    def write(made: RefineResult | None, request: gr.Request) -> list[Any]:
        if made is None:
            return [gr.DownloadButton(value=None, interactive=False)] * len(files)
        paths: list[Path | None] = list(write_files(made.image, made.segmentation, made.photo, page.place(request)))
        paths.append(made.request.mask if made.request.mask.parent == page.place(request) else None)
        return [gr.DownloadButton(value=None if p is None else str(p), interactive=p is not None) for p in paths]

    source.change(
        lambda how: (gr.update(visible=how == UPLOADED), gr.update(visible=how == PAINTED)), source, [mask, painter], **LIGHT
    )
    photo.change(lambda path: _canvas(page, path), photo, painter, **LIGHT)
    inputs = [photo, source, mask, painter, named, refiners, more]
    done = wire(page, start.click, stop, status, refine, inputs=inputs, outputs=[status, pair, details, regions, result])
    done.then(write, result, files, **PRIVATE)


def shown(result: RefineResult) -> tuple[str, str, str]:
    """Before and after, the facts below, and the regions."""
    moved = int((result.before.labels != result.segmentation.labels).sum())
    details = facts(
        {
            "Preset": result.loading[0],
            "Refiners": result.request.refiners,
            "Seconds": f"{result.seconds:.2f}",
            "Pixels with another word than before": f"{moved} of {result.before.labels.size}",
        }
    )
    again = code(reproduce.refine_command(result), reproduce.refine_lines(result))
    after = regions_figure(result.image, result.segmentation, result.photo)
    return swipe(result.image, result.before, result.segmentation), details + again, after


def painted_labels(layers: list[NDArray[np.uint8]], size: tuple[int, int]) -> NDArray[np.int64]:
    """(H, W) labels of what was painted: each opaque pixel goes to the nearest of the colours; the last layer lies on top.

    Args:
        layers: (h, w, 4) uint8 each.

    Raises:
        InputError: nothing is painted.
    """
    inks = np.array([color(i + 1) for i in range(INKS)], np.int64)
    labels = np.zeros(size, np.int64)
    for layer in layers:
        sized = np.asarray(Pillow.fromarray(layer).resize((size[1], size[0]), Pillow.Resampling.NEAREST)).astype(np.int64)
        where = sized[..., 3] > 127
        distance = ((sized[where][:, None, :3] - inks) ** 2).sum(-1)
        labels[where] = 1 + distance.argmin(1)
    if not labels.any():
        raise InputError("nothing is painted yet; paint the mask over the photo, with one colour a word")
    return labels


def _painter() -> gr.ImageEditor:
    inks = ["#{:02x}{:02x}{:02x}".format(*color(i + 1)) for i in range(INKS)]
    return gr.ImageEditor(
        label="Paint over the photo",
        visible=False,
        type="numpy",
        sources=[],
        transforms=[],
        layers=False,
        buttons=[],
        brush=gr.Brush(colors=inks, default_color=inks[0], color_mode="fixed", default_size=24),
    )


def _canvas(page: Page, path: str | None) -> Any:
    """The photo as what is painted over."""
    if path is None:
        return None
    try:
        return {"background": page.read(path), "layers": [], "composite": None}
    except InputError:  # its own line says why
        return gr.skip()


def _uploaded(page: Page, file: str | None) -> Path:
    if file is None:
        raise InputError("there is no mask yet; upload one, or paint it")
    path = uploaded(file, page.uploads)
    open_upload(path, page.workspace.limits)
    return path


def _painted_file(painted: Any, size: tuple[int, int], folder: Path, photo: str) -> Path:
    layers = [layer for layer in (painted or {}).get("layers", []) if layer is not None]
    return write_label_map(folder / f"{Path(photo).stem}.mask.png", painted_labels(layers, size))
