"""Words, parts and instances of label maps, and the neighbours' own types of them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from scipy import ndimage

import segwright as sw
from segwright.errors import InputError
from segwright.images import as_image
from segwright.mini.scenes import THINGS, draw
from segwright.mini.voc import data_folder, read_scenes
from segwright.objects import find_objects, least_pixels, without_specks
from segwright.objects.instances import instances
from segwright.types import Scores, Segmentation

WORDS = ("cat", "dog")


def two(touch: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A mask of two blocks, and features that tell them apart."""
    mask = np.zeros((64, 64), bool)
    mask[10:40, 4:30], mask[20:50, 30 if touch else 34 : 60] = True, True
    features = np.zeros((3, 32, 32), np.float32)
    features[0, :, :15], features[1, :, 15:] = 1, 1
    features[2] = np.random.default_rng(0).normal(0, 0.1, (32, 32))
    return mask, features


def test_touching_things_are_parted_by_their_features() -> None:
    mask, features = two()
    found = instances(mask, features)
    assert len(found) == 2
    assert np.array_equal(found[0] | found[1], mask)
    assert not (found[0] & found[1]).any()
    left = mask & (np.arange(64) < 30)
    assert (found[0] & left).sum() / (found[0] | left).sum() > 0.95
    assert ndimage.label(mask)[1] == 1, "parts cannot"


def test_one_thing_stays_one_where_nothing_tells_its_cells_apart() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:40] = True
    assert len(instances(mask, np.ones((3, 32, 32), np.float32))) == 1


def test_a_thing_behind_a_post_stays_one() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:50, 10:50] = True
    mask[:, 29:31] = False
    assert ndimage.label(mask)[1] == 2
    assert len(instances(mask, np.ones((3, 32, 32), np.float32))) == 1


def test_instances_are_the_same_each_time_and_of_any_shape() -> None:
    mask, features = two()
    first, again = instances(mask, features), instances(mask, features)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for shape in ((1, 1), (3, 200), (37, 53)):
        found = instances(np.ones(shape, bool), features)
        assert np.array_equal(np.sum(found, 0), np.ones(shape))


def test_a_dot_is_an_instance() -> None:
    mask = np.zeros((500, 500), bool)
    mask[3, 4] = True
    (found,) = instances(mask, np.ones((2, 32, 32), np.float32))
    assert np.array_equal(found, mask)


def test_small_things_go_to_the_nearest() -> None:
    mask, features = two()
    assert len(instances(mask, features, least=1200)) == 1


def result(**more: Any) -> Segmentation:
    labels = np.zeros((40, 60), int)
    labels[4:16, 4:18], labels[20:36, 4:20], labels[10:30, 30:50] = 1, 1, 2
    rows = torch.from_numpy(np.stack([labels == i for i in range(3)])).float()
    values = rows * torch.tensor([0.8, 0.9, 0.5])[:, None, None]
    values[0] += 1 - values.sum(0)
    return Segmentation(WORDS, labels, Scores(WORDS, (0, 1, 2), values), **more)


def test_words_and_parts_with_scores_and_boxes() -> None:
    words, parts = result().objects(), result().objects("parts")
    assert [(one.word, one.category, one.box, one.score) for one in words] == [
        ("cat", 1, (4, 4, 20, 36), 0.9),
        ("dog", 2, (30, 10, 50, 30), 0.5),
    ]
    assert [one.box for one in parts] == [(4, 4, 18, 16), (4, 20, 20, 36), (30, 10, 50, 30)]
    assert [one.area for one in parts] == [168, 256, 400]


def test_instances_need_features_and_take_those_of_the_method() -> None:
    with pytest.raises(InputError, match="features"):
        result().objects("instances")
    flat = np.ones((2, 8, 8), np.float32)
    own, given = result(features=lambda: flat).objects("instances"), result().objects("instances", features=lambda: flat)
    assert [(one.word, one.box) for one in own] == [(one.word, one.box) for one in given]
    assert {one.word for one in own} == {"cat", "dog"}


@pytest.mark.parametrize(("min_area", "pixels"), [(0, 0), (0.001, 3), (1, 1), (150, 150)])
def test_shares_and_pixels(min_area: float, pixels: int) -> None:
    assert least_pixels(min_area, (50, 60)) == pixels


def test_where_all_are_specks_nothing_changes() -> None:
    labels = np.arange(12).reshape(3, 4)
    assert np.array_equal(without_specks(labels, 5), labels)


def test_holes_are_filled_like_specks() -> None:
    labels = np.ones((20, 20), int)
    labels[5, 5] = 0
    assert (without_specks(labels, 4) == 1).all()
    assert [one.area for one in find_objects(labels, ("a",), min_area=4)] == [400]


def test_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    found = result().to_supervision("parts")
    assert isinstance(found, supervision.Detections)
    assert found.xyxy.tolist() == [[4, 4, 18, 16], [4, 20, 20, 36], [30, 10, 50, 30]]
    assert found.class_id.tolist() == [0, 0, 1]
    assert found.data["class_name"].tolist() == ["cat", "cat", "dog"]
    assert np.array_equal(found.mask[2], result().mask("dog"))
    assert np.allclose(found.confidence, [0.9, 0.9, 0.5])
    assert found.with_nms(0.5).mask.shape == (3, 40, 60)
    none = Segmentation(WORDS, np.zeros((4, 5), int)).to_supervision()
    assert len(none) == 0
    assert Segmentation(WORDS, np.ones((4, 5), int)).to_supervision().confidence is None


def test_transformers() -> None:
    found = result().to_transformers()
    assert [(one["label"], one["score"]) for one in found] == [("cat", 0.9), ("dog", 0.5)]
    assert all(isinstance(one["mask"], Pillow.Image) and one["mask"].mode == "L" for one in found)
    assert np.array_equal(np.asarray(found[1]["mask"]) == 255, result().mask("dog"))


def test_fiftyone_by_its_documented_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """FiftyOne starts a database when it is imported, so its three classes are stood in for."""
    fields = SimpleNamespace(
        Segmentation=lambda mask: ("segmentation", mask),
        Detections=lambda detections: ("detections", detections),
        Detection=lambda **given: given,
    )
    monkeypatch.setitem(sys.modules, "fiftyone", fields)
    kind, mask = result().to_fiftyone()
    assert (kind, mask.dtype) == ("segmentation", np.uint8)
    assert np.array_equal(mask, result().labels)
    kind, (_, _, dog) = result().to_fiftyone("parts")
    assert kind == "detections"
    assert dog["label"] == "dog"
    assert np.allclose(dog["bounding_box"], [30 / 60, 10 / 40, 20 / 60, 20 / 40])
    assert dog["mask"].shape == (20, 20)


@pytest.mark.parametrize("package", ["supervision", "fiftyone"])
def test_what_is_not_installed_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"segwright\\[{package}\\]"):
        getattr(result(), f"to_{package}")()


def test_images_of_every_kind(tmp_path: Path) -> None:
    photo = data_folder() / "JPEGImages/val_00000.jpg"
    wanted = sw.read(photo)
    with Pillow.open(photo) as picture, open(photo, "rb") as file:
        for given in (photo, str(photo), picture, file, wanted):
            assert np.array_equal(as_image(given), wanted)
    grey = wanted[..., 0]
    assert np.array_equal(as_image(grey), np.stack([grey] * 3, 2))
    clear = np.dstack([wanted, np.full(wanted.shape[:2], 0, np.uint8)])
    assert (as_image(clear) == 255).all()
    turned = Pillow.fromarray(wanted[:, :100])
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif(), quality=95)
    with Pillow.open(tmp_path / "turned.jpg") as picture:
        assert np.array_equal(as_image(picture), sw.read(tmp_path / "turned.jpg"))
    for bad in (None, 3, wanted.astype(float), np.zeros((0, 3, 3), np.uint8), [wanted]):
        with pytest.raises(InputError):
            as_image(bad)


def test_a_method_takes_them_and_tells_its_instances_apart() -> None:
    photo = data_folder() / "JPEGImages/val_00000.jpg"
    method = sw.load_method("freeseg-diff", "mini", device="cpu", candidates="none")
    words = read_scenes("val", 1).notes[0]["things"]
    with Pillow.open(photo) as picture:
        results = [method(given, words) for given in (photo, picture, sw.read(photo))]
        several = method.many([photo, picture], words)
    assert all(np.array_equal(one.labels, results[0].labels) for one in (*results, *several))
    things = results[0].objects("instances")
    assert things
    assert np.array_equal(np.sum([one.mask for one in things], 0) > 0, without_specks(results[0].labels, 17) > 0)


def test_two_of_a_kind_in_a_drawn_scene() -> None:
    """A training scene whose two things touch: two instances, each the truth's."""
    from segwright.models.object_features import object_features

    diffusion = sw.load("mini", "cpu").diffusion
    right = 0
    for index in range(4):
        scene = draw("train", 5, index, words=(THINGS[3],) * 2)
        features = object_features(diffusion, scene.image)
        found = find_objects((scene.labels > 0).astype(int), ("thing",), "instances", features=lambda features=features: features)
        right += len(found) == len(scene.things)
    assert right >= 2
