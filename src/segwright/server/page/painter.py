"""What a browser sends of a painting before it presses the button: bounded in pieces, bytes and pixels.

Gradio's painter sends background, layers and their picture ahead of the event, into a dictionary in memory that only that event
empties; how many, how long and of how many pixels is the browser's choice. Here it is ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import HTTPException
from gradio.components.image_editor import AcceptBlobs, EditorDataBlobs

from segwright.errors import InputError
from segwright.server.page.uploads import Limits, Named, check_pixels, open_upload

PIECES = ("background", "layer", "composite")
LAYERS = 4  # of one painting; the page itself has one
BYTES = 8  # times the limit of one upload: of all paintings that wait for their button; the oldest are forgotten


def bounded(painter: gr.ImageEditor, limits: Limits) -> gr.ImageEditor:
    """The painter, which from now on refuses what is too much, with status 413, and keeps the latest only."""
    keep, take = painter.accept_blobs, painter.preprocess

    def accept_blobs(data: AcceptBlobs) -> None:
        try:
            piece = check_piece(data, limits)
        except InputError as error:
            raise HTTPException(413, str(error)) from None
        stored: dict[str, EditorDataBlobs] = painter.blob_storage
        name = str(data.data["id"])
        if name in stored:
            stored[name] = stored.pop(name)  # the latest is the last
        forget(stored, int(BYTES * limits.megabytes * 1e6) - len(piece))
        keep(data)

    def preprocess(payload: Any) -> Any:
        try:
            for piece in _pieces(payload, painter.blob_storage, limits):
                check_pixels(piece, limits)
        except InputError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return take(payload)

    accept_blobs._is_server_fn = True  # type: ignore[attr-defined]
    painter.accept_blobs, painter.preprocess = accept_blobs, preprocess
    return painter


def check_piece(data: AcceptBlobs, limits: Limits) -> bytes:
    """The bytes of one piece of a painting.

    Raises:
        InputError: no piece of a painting, too many bytes or pixels, or a layer too many.
    """
    about, files = data.data, data.files
    index = str(about.get("index") or "null")
    known = re.fullmatch(r"null|\d{1,9}", index) and re.fullmatch(r"[\w.-]{1,80}", str(about.get("id")))
    if about.get("type") not in PIECES or not known or len(files) != 1 or not isinstance(files[0][1], bytes):
        raise InputError("this is no piece of a painting")
    if index != "null" and int(index) >= LAYERS:
        raise InputError(f"a painting may have {LAYERS} layers")
    piece = files[0][1]
    if len(piece) > limits.megabytes * 1e6:
        raise InputError(f"the painting has {len(piece) / 1e6:.1f} MB; this page takes {limits.megabytes:g} MB at most")
    check_pixels(Named(piece, "the painting"), limits)
    return piece


def forget(stored: dict[str, EditorDataBlobs], most: int) -> None:
    """Take the oldest paintings out until the others have no more than ``most`` bytes."""
    sizes = {name: sum(map(len, _blobs(painting))) for name, painting in stored.items()}
    total = sum(sizes.values())
    for name in list(stored)[:-1] if total > most else ():
        total -= sizes[name]
        del stored[name]
        if total <= most:
            break


def _blobs(painting: EditorDataBlobs) -> list[bytes]:
    return [blob for blob in (painting.background, painting.composite, *painting.layers) if blob]


def _pieces(payload: Any, stored: dict[str, EditorDataBlobs], limits: Limits) -> Iterator[Named]:
    """Of an event: what was sent ahead of it, or files of the uploads."""
    if payload is None:
        return
    if payload.id is not None:
        painting = stored.get(payload.id)
        yield from (Named(blob, "the painting") for blob in (_blobs(painting) if painting else ()))
        return
    for file in (payload.background, payload.composite, *(payload.layers or ())):
        if file is not None:
            yield open_upload(Path(file.path), limits)
