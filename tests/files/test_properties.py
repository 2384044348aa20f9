"""What is written is read back the same; what is damaged is refused in one sentence. Found by Hypothesis, with fixed seeds."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="property tests need Hypothesis: pip install hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.files.coarse_masks import parse_words_map
from segwright.files.journal import decode_lines, encode_line, encode_lines
from segwright.files.masks import encode_label_map, read_label_map
from segwright.files.record import encode_record
from segwright.files.seal import seal, unseal
from segwright.images import read
from segwright.runs.store import Line
from segwright.untrusted import decode, decode_object, safe_name
from segwright.words.vocabulary import check_words

few = settings(max_examples=60, deadline=None, derandomize=True, database=None)
text = st.text(max_size=30)
values = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | text, st.lists)


@few
@given(arrays.arrays(np.int64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 65535)))
def test_label_maps(labels: np.ndarray) -> None:
    assert np.array_equal(read_label_map(io.BytesIO(encode_label_map(labels))), labels)


@few
@given(st.dictionaries(text.filter(lambda key: key not in ("after", "check")), values, min_size=1, max_size=5))  # never empty
def test_records_and_lines(content: dict) -> None:
    clean = {k.encode("utf8", "replace").decode(): v for k, v in content.items()}
    record = encode_record(clean)
    assert json.loads(record) == decode_object(record)
    line = encode_line(json.loads(record))
    assert line.count(b"\n") == 1
    (found,) = decode_lines(line, decode_object, "f")
    assert {key: found.pop(key) for key in ("after", "check")}.keys() == {"after", "check"}
    assert found == json.loads(record)
    assert unseal(seal(clean)) == json.loads(record)


@few
@given(st.lists(st.dictionaries(st.just("n"), values, min_size=1), max_size=6), st.data())
def test_journals(rows: list[dict], data: st.DataObject) -> None:
    """Lines are read back in their order; one that is moved, doubled, changed or taken out is seen."""
    lines = encode_lines(rows).splitlines(keepends=True)
    assert len(list(decode_lines(b"".join(lines), decode_object, "f"))) == len(rows)
    if not lines:
        return
    place, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    edits = [lines[:place] + lines[place + 1 :], lines[:place] + [lines[other]] + lines[place:]]
    byte = data.draw(st.integers(0, len(lines[place]) - 2))
    flipped = bytes([lines[place][byte] ^ 1])
    if flipped != b"\n":
        edits.append([*lines[:place], lines[place][:byte] + flipped + lines[place][byte + 1 :], *lines[place + 1 :]])
    for edited in edits:
        if edited == lines[: len(edited)]:
            continue  # the last one taken out: a journal that was not finished
        with pytest.raises(InputError, match="is damaged"):
            list(decode_lines(b"".join(edited), decode_object, "f"))


@few
@given(text, st.sampled_from(["done", "failed"]), st.lists(text, max_size=3), st.integers(1, 9), st.floats(0, 1e6))
def test_lines_of_a_manifest(photo: str, status: str, words: list[str], size: int, seconds: float) -> None:
    photo, *words = (t.encode("utf8", "backslashreplace").decode() for t in (photo, *words))
    done = status == "done"
    line = Line(
        photo, status, "a/b" if done else None, tuple(words), None if done else "why", seconds, (size, size) if done else None
    )
    assert list(decode_lines(encode_line(asdict(line)), partial(decode, kind=Line), "f")) == [line]


@few
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_safe_names_stay_inside(name: str) -> None:
    root = Path("/root-of-all/run")
    try:
        path = root / safe_name(name)
    except ValueError:
        return
    assert Path(*[part for part in path.parts if part != "."]).is_relative_to(root)
    assert ".." not in path.parts


@few
@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6))
def test_words_are_kept_or_refused(words: list[str]) -> None:
    try:
        kept = check_words(words)
    except InputError:
        return
    assert check_words(kept) == kept
    assert len(kept) == len(words)


@few
@given(st.text("0123456789=, abc²٣", max_size=20))
def test_maps_of_words(written: str) -> None:
    try:
        found = parse_words_map(written)
    except InputError:
        return
    assert parse_words_map(",".join(f"{i}={w}" for i, w in found.items())) == found


@few
@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM"]), st.integers(0, 300))
def test_pictures_are_read_or_refused(noise: bytes, kind: str, place: int) -> None:
    stream = io.BytesIO()
    Pillow.fromarray(np.arange(15 * 20 * 3, dtype=np.uint8).reshape(15, 20, 3)).save(stream, kind)
    whole = stream.getvalue()
    try:
        image = read(io.BytesIO(whole[:place] + noise + whole[place + len(noise) :]))
    except InputError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
