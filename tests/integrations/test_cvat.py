"""cvat-sdk's own driver runs our function against a stand-in of the server; masks decoded by the SDK are ours."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageDraw

aa = pytest.importorskip("cvat_sdk.auto_annotation")
from cvat_sdk import models  # noqa: E402
from cvat_sdk.auto_annotation import driver  # noqa: E402
from cvat_sdk.masks import decode_mask  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))
from toy import Toy  # noqa: E402

from segwright.errors import InputError  # noqa: E402
from segwright.integrations.cvat import Function, create  # noqa: E402
from segwright.mini.voc import data_folder, read_scenes  # noqa: E402
from segwright.types import Image, Scores, Segmentation  # noqa: E402
from segwright.words.vocabulary import parse_words  # noqa: E402

WORDS = parse_words("dog; hound, red car")
SIZE = (40, 60)


class Two(Toy):
    """Two dogs, one of them with a hole, and a car that is less sure."""

    def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
        labels = np.zeros(image.shape[:2], int)
        labels[4:16, 4:18], labels[20:36, 4:20], labels[10:30, 30:50] = 1, 1, words.index("red car") + 1
        labels[24:30, 8:14] = 0
        rows = torch.from_numpy(np.stack([labels == i for i in range(len(words) + 1)])).float()
        sure = torch.tensor([0.9, 0.9, *[0.5] * (len(words) - 1)])
        values = rows * sure[:, None, None]
        values[0] += 1 - values.sum(0)
        return Segmentation(words, labels, Scores(words, tuple(range(len(words) + 1)), values))


@dataclass
class Server:
    """What the driver asks of a CVAT server: a task's labels and frames, and a place for annotations."""

    labels: Sequence[str] = ("red car", "dog", "tree")
    shapes: list[Any] = field(default_factory=list)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("cvat"))

    @property
    def tasks(self) -> Any:
        return SimpleNamespace(api=self)

    def partial_update_annotations(self, action: str, task: int, *, patched_labeled_data_request: Any) -> None:
        assert (action, task) == ("create", 7)
        self.shapes += patched_labeled_data_request.shapes

    def task_data(self, client: Any, task: int, load_annotations: bool) -> Any:
        picture = Pillow.new("RGB", SIZE[::-1], "grey")
        media = SimpleNamespace(load_image=lambda: picture)
        samples = [SimpleNamespace(frame_name=f"{i}.png", frame_index=i, media=media) for i in range(2)]
        labels = [SimpleNamespace(id=100 + i, name=n, type="any", attributes=[], sublabels=[]) for i, n in enumerate(self.labels)]
        return SimpleNamespace(labels=labels, samples=samples)


def annotate(monkeypatch: pytest.MonkeyPatch, function: Function, server: Server | None = None, **how: Any) -> list[Any]:
    server = server or Server()
    monkeypatch.setattr(driver, "TaskDataset", server.task_data)
    aa.annotate_task(server, 7, function, **how)
    return server.shapes


@pytest.fixture
def truth() -> Segmentation:
    return Two()(np.zeros((*SIZE, 3), np.uint8), ("dog", "red car"))


def test_masks_decoded_by_the_sdk_are_ours(monkeypatch: pytest.MonkeyPatch, truth: Segmentation) -> None:
    shapes = annotate(monkeypatch, Function(Two(), WORDS))
    assert [(s.frame, s.label_id, s.type.value, s.source) for s in shapes] == [
        (frame, label, "mask", "auto") for frame in (0, 1) for label in (101, 100)
    ]
    for shape, word in zip(shapes, ("dog", "red car") * 2, strict=True):
        assert np.array_equal(decode_mask(shape.points, image_width=SIZE[1], image_height=SIZE[0]), truth.mask(word))


def test_parts_are_shapes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = annotate(monkeypatch, Function(Two(), WORDS, "parts"))
    boxes = [[*shape.points[-4:]] for shape in shapes if shape.frame == 0]
    assert boxes == [[4, 4, 17, 15], [4, 20, 19, 35], [30, 10, 49, 29]]


def test_polygons_fill_to_our_masks(monkeypatch: pytest.MonkeyPatch, truth: Segmentation) -> None:
    shapes = annotate(monkeypatch, Function(Two(), WORDS), conv_mask_to_poly=True)
    assert {shape.type.value for shape in shapes} == {"polygon"}
    for label, word in ((101, "dog"), (100, "red car")):
        big = Pillow.new("L", (SIZE[1] * 8, SIZE[0] * 8))
        for shape in (one for one in shapes if one.label_id == label and one.frame == 0):
            ImageDraw.Draw(big).polygon([8 * v for v in shape.points], fill=255)
        filled = np.asarray(big).reshape(SIZE[0], 8, SIZE[1], 8).mean((1, 3)) > 127
        mask = truth.mask(word)
        assert (filled & mask).sum() / (filled | mask).sum() >= 0.98
    groups = {shape.group for shape in shapes if shape.label_id == 101}
    assert len(groups) == 1
    assert groups != {0}


@pytest.mark.parametrize(("least", "labels"), [(None, {100, 101}), (0.6, {101}), (0.95, set())])
def test_the_confidence_threshold(least: float | None, labels: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert {s.label_id for s in annotate(monkeypatch, Function(Two(), WORDS), conf_threshold=least)} == labels


def test_labels_that_the_task_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(labels=("dog",))
    with pytest.raises(aa.BadFunctionError, match="'red car' is not in dataset"):
        annotate(monkeypatch, Function(Two(), WORDS), server)
    assert not server.shapes
    assert {s.label_id for s in annotate(monkeypatch, Function(Two(), WORDS), server, allow_unmatched_labels=True)} == {100}


def test_created_as_the_command_does_with_real_networks() -> None:
    thing = read_scenes("val", 1).notes[0]["things"][0]
    function = create(words=f"{thing}; a {thing}", preset="mini", device="cpu", method="freeseg-diff", candidates="none")
    assert [(one.name, one.id) for one in function.spec.labels] == [(thing, 1)]
    with Pillow.open(data_folder() / "JPEGImages/val_00000.jpg") as picture:
        shapes = function.detect(SimpleNamespace(conf_threshold=None, conv_mask_to_poly=False), picture)
        result = function.method(picture, function.words)
    assert shapes
    assert all(isinstance(shape, models.LabeledShapeRequest) for shape in shapes)
    for shape, one in zip(shapes, result.objects(), strict=True):
        assert np.array_equal(decode_mask(shape.points, image_width=picture.width, image_height=picture.height), one.mask)


@pytest.mark.parametrize("bad", [{"words": ""}, {"words": "a", "method": "none"}, {"words": "a", "objects": "x"}])
def test_bad_parameters_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        create(**{"preset": "mini", **bad})
