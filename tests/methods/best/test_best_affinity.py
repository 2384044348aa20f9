""" "This too": the affinity's region against loops in numpy, what is added, places that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods import load_method
from segwright.methods.best import affinity, dense
from segwright.methods.best.method import Best
from segwright.mini.scenes import draw
from segwright.models.heads import Heads
from segwright.types import Segmentation

HEIGHT, WIDTH, CELLS = 40, 56, 8
SCENE = draw("train", 3, 0)


def heads(seed: int) -> Heads:
    """Attention of two heads over cells whose queries and keys change smoothly from place to place."""
    generator, own = torch.Generator().manual_seed(seed), Heads()
    coarse = torch.rand(12, 1, 3, 3, generator=generator) * 4 - 2
    smooth = torch.nn.functional.interpolate(coarse, (CELLS, CELLS), mode="bicubic")[:, 0].flatten(1).T
    own._query = own._key = smooth.reshape(1, CELLS * CELLS, 2, 6)
    own._scale = 0.7
    return own


def attention(own: Heads) -> np.ndarray:
    """(64, 64), by numpy."""
    assert own._query is not None
    query = own._query[0].numpy().astype(float)
    rows = [np.exp(0.7 * query[:, h] @ query[:, h].T) for h in range(2)]
    return np.mean([row / row.sum(1, keepdims=True) for row in rows], 0)


def enlarged(values: np.ndarray) -> np.ndarray:
    """(8, 8) -> (40, 56), bilinear between the cells' centres, by the formula."""
    out = np.zeros((HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            v = np.clip((y + 0.5) * CELLS / HEIGHT - 0.5, 0, CELLS - 1)
            u = np.clip((x + 0.5) * CELLS / WIDTH - 0.5, 0, CELLS - 1)
            i, j = int(v), int(u)
            below, right = min(i + 1, CELLS - 1), min(j + 1, CELLS - 1)
            top = values[i, j] * (1 - (u - j)) + values[i, right] * (u - j)
            bottom = values[below, j] * (1 - (u - j)) + values[below, right] * (u - j)
            out[y, x] = top * (1 - (v - i)) + bottom * (v - i)
    return out


def flooded(where: np.ndarray, x: int, y: int) -> np.ndarray:
    """The part around a pixel, neighbour by neighbour."""
    seen, todo = np.zeros_like(where), [(y, x)]
    while todo:
        i, j = todo.pop()
        if 0 <= i < HEIGHT and 0 <= j < WIDTH and where[i, j] and not seen[i, j]:
            seen[i, j] = True
            todo += [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
    return seen


def expected(own: Heads, place: tuple[int, ...]) -> np.ndarray:
    """The region by what the docstrings say."""
    matrix = attention(own)
    if len(place) == 2:
        cell = (place[1] * CELLS // HEIGHT) * CELLS + place[0] * CELLS // WIDTH
        seen = (matrix @ matrix)[:, cell]
        held, least = 0.0, np.inf
        for value in sorted(seen, reverse=True):
            held, least = held + value, value
            if held >= 0.6 * seen.sum():
                break
        belongs = seen / (seen + least)
        return flooded(enlarged(belongs.reshape(CELLS, CELLS)) > 0.5, *place)
    x0, y0, x1, y1 = place
    inside = [
        i * CELLS + j
        for i in range(CELLS)
        for j in range(CELLS)
        if x0 <= (j + 0.5) * WIDTH / CELLS < x1 and y0 <= (i + 0.5) * HEIGHT / CELLS < y1
    ]
    share = matrix[:, inside].sum(1)
    region = np.zeros((HEIGHT, WIDTH), bool)
    region[y0:y1, x0:x1] = enlarged(share.reshape(CELLS, CELLS))[y0:y1, x0:x1] > 0.5
    return region


@pytest.fixture(scope="module")
def method() -> Any:
    return load_method("best", "mini", "cpu", refine=None)


@pytest.mark.parametrize("place", [(20, 13), (50, 35), (0, 0), (8, 6, 40, 30), (21, 0, 56, 40)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_region_against_loops(seed: int, place: tuple[int, ...], method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own, read = heads(seed), []

    def one_pass(networks: Any, image: Any, titles: Any, timestep: int, seed: int) -> dense.Pass:
        read.append((tuple(titles), timestep, seed))
        return dense.Pass(torch.zeros(1, 2, 2), torch.zeros(0, CELLS, CELLS), own, "")

    monkeypatch.setattr(dense, "one_pass", one_pass)
    got = method.reach(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "the dog on the left", place)
    wanted = expected(own, place)
    assert 0 < wanted.sum() < wanted.size
    assert (got != wanted).mean() < 0.002, "but for pixels on the edge itself"
    assert read == [(("dog",), 100, 0)]


def test_a_box_between_the_cells_centres_is_the_cell_that_holds_it() -> None:
    marked = affinity.cells_of((1, 1, 3, 2), (HEIGHT, WIDTH), CELLS)
    assert marked.nonzero().tolist() == [[0, 0]]
    assert affinity.cells_of((55.9, 39.9), (HEIGHT, WIDTH), CELLS).nonzero().tolist() == [[7, 7]]


def test_only_unlabelled_ground_is_added_and_the_notes_say_it() -> None:
    labels = np.zeros((4, 6), np.int64)
    labels[:, :2] = 1
    found = Segmentation(("dog", "sofa"), labels, notes={"seed": 0})
    where = np.zeros((4, 6), bool)
    where[1:3, 1:5] = True
    more = affinity.added(found, "sofa", (3, 2), where)
    assert np.array_equal(more.labels == 1, labels == 1)
    assert np.array_equal(more.labels == 2, where & (labels == 0))
    assert more.notes == {"seed": 0, "added": [{"word": "sofa", "place": [3, 2]}]}
    assert len(affinity.added(more, "dog", (0, 0), where).notes["added"]) == 2
    assert not found.labels[:, 2:].any(), "the first one is as it was"


def test_a_point_takes_its_own_part_or_the_nearest() -> None:
    where = np.zeros((10, 20), bool)
    where[2:5, 2:5] = where[2:8, 12:18] = True
    assert affinity.region(where, (3, 3)).sum() == 9
    assert affinity.region(where, (10, 9)).sum() == 36
    assert affinity.region(where, (0, 0, 14, 4)).sum() == 6 + 4
    assert not affinity.region(np.zeros((3, 3), bool), (1, 1)).any()


def test_on_a_photo_with_any_methods_result(method: Any) -> None:
    found = load_method("maskclip", "mini", "cpu", refine="crf")(SCENE.image, ["dog", "car"])
    thing = SCENE.things[0]
    empty = Segmentation(found.words, np.zeros_like(found.labels), found.scores, found.notes)
    box = tuple(int(v) for v in thing.box)
    crf = Best.on(method.networks)
    more = crf.also(SCENE.image, empty, "car", box)
    assert more.found == ("car",)
    assert np.array_equal(more.labels == 2, crf.reach(SCENE.image, "car", box))
    inside = np.zeros(more.labels.shape, bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    assert not (more.labels[~inside]).any()
    assert np.array_equal(crf.also(SCENE.image, empty, "car", box).labels, more.labels)


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ((1, 2, 3), "must be a point"), ("12", "must be a point"), ((1.0, float("nan")), "must be a point"),
        ((56, 3), "must lie in the photo, which has 56x40"), ((-1, 3), "must lie"), ((5, 5, 5, 9), "must lie"),
        ((0, 0, 57, 9), "must lie"),
    ],
)  # fmt: skip
def test_bad_places(place: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        affinity.check_place(place, (HEIGHT, WIDTH))


def test_a_word_that_is_not_there_is_refused(method: Any) -> None:
    found = Segmentation(("dog",), np.zeros(SCENE.image.shape[:2], np.int64))
    with pytest.raises(InputError, match="'cat' is not in the vocabulary"):
        method.also(SCENE.image, found, "cat", (3, 3))
    with pytest.raises(InputError, match="the region is"):
        affinity.added(found, "dog", (1, 1), np.zeros((2, 2), bool))
