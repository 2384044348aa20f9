"""Masks as polygons and as run lengths, exactly; simplified only if asked.

Two kinds of polygons, since readers differ in what a polygon covers. ``outlines`` run along the edges of pixels, for readers
that fill the area inside (COCO, CVAT, Label Studio). ``chains`` run through the outermost pixels, for readers that
paint the line as well as what is inside (YOLO, VOC and labelme readers that draw with OpenCV or Pillow).
Neither can hold a hole: a part with holes is cut, along a column through the hole, into pieces that have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import approximate_polygon

Mask = NDArray[np.bool_]
Points = NDArray[np.int64]  # (K, 2), x and y
RIGHT, DOWN, LEFT, UP = range(4)
STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
AROUND = np.ones((3, 3), bool)


def without_specks(mask: Mask, min_area: int) -> Mask:
    """The mask without connected parts of fewer than ``min_area`` pixels (neighbours share a side)."""
    if min_area <= 1:
        return mask
    parts, _ = ndimage.label(mask)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return np.asarray((areas >= min_area)[parts])


def outlines(mask: Mask, simplify: float = 0.0) -> list[Points]:
    """Polygons along pixel edges, 0..W and 0..H, that cover exactly the (H, W) mask if not simplified.

    Args:
        simplify: how far, in pixels, a simplified line may lie from the exact one (Douglas and Peucker 1973).
    """
    return [_simplified(corners + offset, simplify) for piece, offset in pieces(mask) for corners in [_corners(piece)]]


def chains(mask: Mask, simplify: float = 0.0) -> list[Points]:
    """Polygons through the centres of the outermost pixels, as pixel indices; lines and inside are exactly the (H, W) mask.

    A piece of one or two pixels gives a polygon of three points, some of them equal.
    """
    found = []
    for piece, offset in pieces(mask):
        points = _simplified(_straightened(_pixels(piece)), simplify) + offset
        found.append(np.concatenate([points, points[[0] * max(0, 3 - len(points))]]))
    return found


def pieces(mask: Mask) -> Iterator[tuple[Mask, Points]]:
    """Parts without holes that together are the mask, each cut out, with its (x, y) in the mask; left before right."""
    parts, _ = ndimage.label(mask)
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        part = parts[box] == number
        offset = np.array([box[1].start, box[0].start])
        hole = _a_hole(part)
        if hole is None:
            yield part, offset
            continue
        for half, start in ((part[:, : hole + 1], 0), (part[:, hole + 1 :], hole + 1)):
            for piece, place in pieces(half):
                yield piece, place + offset + [start, 0]


def run_lengths(values: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs in (n,) bool, beginning with the zeros (0 if it begins with a one)."""
    changes = np.flatnonzero(np.diff(values.astype(np.int8))) + 1
    ends = np.concatenate([[0], changes, [len(values)]])
    lengths = np.diff(ends).tolist()
    return [0, *lengths] if len(values) and values[0] else lengths


def coco_rle(mask: Mask) -> dict[str, object]:
    """COCO's compressed run lengths: column by column, each count (from the fourth on less the one two before it) in
    groups of five bits from the lowest, with a bit for "more", as letters from "0" on.
    """
    counts = run_lengths(mask.ravel("F"))
    text = "".join(_letters(n - (counts[i - 2] if i > 2 else 0)) for i, n in enumerate(counts))
    return {"size": [mask.shape[0], mask.shape[1]], "counts": text}


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of a mask that is not empty, with x1 and y1 just outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _letters(value: int) -> str:
    text = ""
    while True:
        group, value = value & 31, value >> 5
        more = value != (-1 if group & 16 else 0)
        text += chr(48 + group + 32 * more)
        if not more:
            return text


def _a_hole(part: Mask) -> int | None:
    """The middle column of a hole, or None."""
    holes, count = ndimage.label(~np.pad(part, 1), AROUND)
    if count == 1:
        return None
    outside = holes[0, 0]
    columns = np.flatnonzero((holes == (1 if outside != 1 else 2)).any(0)) - 1
    return int(columns[len(columns) // 2])


def _walk(piece: Mask, visit: Callable[[int, int, int], None]) -> None:
    """Once around a piece without holes, clockwise, with the piece on the right: ``visit(x, y, direction)`` each pixel edge."""
    wide = np.pad(piece, 1)
    inside = wide[1:-1, 1:-1]
    go = np.zeros((4, piece.shape[0] + 1, piece.shape[1] + 1), bool)  # does an edge leave corner (y, x) that way?
    go[RIGHT, :-1, :-1] = inside & ~wide[:-2, 1:-1]
    go[DOWN, :-1, 1:] = inside & ~wide[1:-1, 2:]
    go[LEFT, 1:, 1:] = inside & ~wide[2:, 1:-1]
    go[UP, 1:, :-1] = inside & ~wide[1:-1, :-2]
    x, y = int(piece[0].argmax()), 0
    start, way = (x, y), RIGHT
    for _ in range(int(go.sum())):
        visit(x, y, way)
        x, y = x + int(STEPS[way][0]), y + int(STEPS[way][1])
        if (x, y) == start and not go[(way + 1) % 4, y, x]:
            return
        # Right first: where two pixels of the piece touch at a corner only, the line goes around the nearer one.
        way = next(turn % 4 for turn in (way + 1, way, way + 3) if go[turn % 4, y, x])


def _corners(piece: Mask) -> Points:
    """The corners of the outline, first not repeated."""
    corners: list[tuple[int, int]] = []
    before = [UP]

    def visit(x: int, y: int, way: int) -> None:
        if way != before[0]:
            corners.append((x, y))
        before[0] = way

    _walk(piece, visit)
    return np.array(corners, np.int64)


def _pixels(piece: Mask) -> Points:
    """The outermost pixels in order around the piece."""
    found: list[tuple[int, int]] = []

    def visit(x: int, y: int, way: int) -> None:
        pixel = (x - (way in (DOWN, LEFT)), y - (way in (LEFT, UP)))
        if not found or found[-1] != pixel:
            found.append(pixel)

    _walk(piece, visit)
    return np.array(found[:-1] if len(found) > 1 and found[-1] == found[0] else found, np.int64)


def _straightened(points: Points) -> Points:
    """Without the points that lie on the line between their neighbours."""
    if len(points) < 3:
        return points
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(1) < 0
    return points[turns | back]


def _simplified(points: Points, tolerance: float) -> Points:
    if tolerance <= 0 or len(points) < 4:
        return points
    far = int(((points - points[0]) ** 2).sum(1).argmax())
    first = approximate_polygon(points[: far + 1].astype(float), tolerance)
    second = approximate_polygon(np.concatenate([points[far:], points[:1]]).astype(float), tolerance)
    kept = np.concatenate([first[:-1], second[:-1]]).astype(np.int64)
    return kept if len(kept) >= 3 else points
