"""Parquet: segments.parquet, one row an object, with the mask as COCO's compressed run lengths, or null."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from segwright.errors import InputError
from segwright.objects import Object
from segwright.runs.exports.objects import Annotated, Annotations, ExportSettings
from segwright.runs.exports.shapes import coco_rle

PHOTOS = "images"
ROWS = 4096  # of a row group


def write(run: Annotations, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(f"--format parquet needs pyarrow ({error}); pip install 'segwright[parquet]'") from None
    columns: list[tuple[str, Any]] = [
        ("photo", pa.string()), ("file", pa.string()), ("name", pa.string()), ("width", pa.int32()), ("height", pa.int32()),
        ("word", pa.string()), ("category", pa.int32()), ("area", pa.int64()), ("box", pa.list_(pa.int32(), 4)),
        ("score", pa.float64()), ("counts", pa.string()),
    ]  # fmt: skip
    schema = pa.schema(
        columns, {"words": json.dumps(run.words, ensure_ascii=False), "run": json.dumps(run.run, ensure_ascii=False)}
    )
    stream, rows = io.BytesIO(), []
    with parquet.ParquetWriter(stream, schema) as writer:
        for photo in run:
            rows += [_row(photo, found, settings) for found in photo.objects]
            if len(rows) >= ROWS:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))
    yield "segments.parquet", stream.getvalue()


def _row(photo: Annotated, found: Object, settings: ExportSettings) -> dict[str, Any]:
    return {
        "photo": photo.photo,
        "file": photo.file,
        "name": photo.name,
        "width": photo.size[0],
        "height": photo.size[1],
        "word": found.word,
        "category": found.category,
        "area": found.area,
        "box": list(found.box),
        "score": found.score,
        "counts": None if settings.masks == "box" else coco_rle(found.mask)["counts"],
    }
