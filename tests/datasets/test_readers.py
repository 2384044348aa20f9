"""Every reader: on real files where they are, on tiny made ones of each layout else; partial folders get one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from segwright.datasets import DATASETS, describe, open_dataset
from segwright.datasets.coco import CATEGORIES, stuff_table
from segwright.errors import InputError
from segwright.files.masks import write_label_map
from segwright.images import read
from segwright.words.vocabulary import load

REAL = Path(__file__).resolve().parents[3] / "shared" / "testdata"
needs_real = pytest.mark.skipif(not (REAL / "VOCdevkit").is_dir(), reason="../shared/testdata is not here")


def photo(path: Path, size: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def mask(path: Path, values: list[int], size: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_label_map(path, np.resize(np.array(values), size))


@needs_real
@pytest.mark.parametrize(("name", "classes"), [("voc", 20), ("voc20", 20), ("voc-c", 20)])
def test_every_real_voc_photo_and_mask(name: str, classes: int) -> None:
    dataset = open_dataset(name, REAL / "VOCdevkit")
    listed = (REAL / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").read_text("utf8").split()
    assert {i.id for i in dataset.items} <= set(listed)
    kept = 0
    for name_ in listed:
        stored = np.asarray(Pillow.open(REAL / f"VOCdevkit/VOC2012/SegmentationClass/{name_}.png"))
        present = set(np.unique(stored).tolist())
        item = next((i for i in dataset.items if i.id == name_), None)
        if name == "voc-c" and not (0 in present and len(present - {255}) == 2):
            assert item is None
            continue
        assert item is not None
        kept += 1
        truth = item.truth()
        assert read(item.photo).shape[:2] == truth.shape == stored.shape
        assert set(np.unique(truth)) <= {*range(classes + 1), 255}
        assert np.array_equal(truth, np.where(stored == 0, 255, stored) if name == "voc20" else stored)
    assert kept == len(dataset.items) == {"voc": 58, "voc20": 58, "voc-c": 21}[name]


@needs_real
def test_every_real_coco_photo_and_mask() -> None:
    """Against pycocotools' own reader of the annotation file, mask by mask."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO

    dataset = open_dataset("coco-object", REAL)
    other = COCO(str(REAL / "coco/annotations/instances_val2017.json"))
    places = {c: i for i, c in enumerate(sorted(other.getCatIds()), 1)}
    assert [c["name"] for c in other.loadCats(sorted(places))] == list(dataset.words)
    assert len(dataset.items) == 45
    for item in dataset.items:
        image = int(item.id)
        found = other.loadAnns(other.getAnnIds(imgIds=image))
        expected = np.zeros(read(item.photo).shape[:2], np.int64)
        for one in sorted(found, key=lambda a: -a["iscrowd"]):
            expected[other.annToMask(one) == 1] = places[one["category_id"]]
        assert np.array_equal(item.truth(), expected)


def test_context(tmp_path: Path) -> None:
    base = tmp_path / "VOCdevkit/VOC2010"
    photo(base / "JPEGImages/a.jpg")
    mask(base / "SegmentationClassContext/a.png", [0, 1, 59])
    (base / "ImageSets/SegmentationContext").mkdir(parents=True)
    (base / "ImageSets/SegmentationContext/val.txt").write_text("a\n", "utf8")
    assert np.unique(open_dataset("context", tmp_path).items[0].truth()).tolist() == [0, 1, 59]
    without = open_dataset("context59", tmp_path / "VOCdevkit")
    assert np.unique(without.items[0].truth()).tolist() == [1, 59, 255]
    assert without.words[0] == "airplane"
    assert without.official[0] == "aeroplane"


def test_coco_stuff_and_its_groups(tmp_path: Path) -> None:
    base = tmp_path / "coco_stuff164k"
    photo(base / "images/val2017/1.jpg")
    mask(base / "annotations/val2017/1.png", [0, 12, 92, 181, 255])  # person, stop sign (13), blanket (93), wood (182)
    fine = open_dataset("coco-stuff", tmp_path)
    found = [fine.words[i - 1] for i in fine.items[0].truth().ravel()[:4]]
    assert found == ["person", "stop sign", "blanket", "wood"]
    coarse = open_dataset("coco27", tmp_path)
    named = [coarse.words[i - 1] for i in coarse.items[0].truth().ravel()[:4]]
    assert named == ["person", "outdoor", "textile", "solid"]
    mask(base / "annotations/val2017/1_labelTrainIds.png", [0, 11, 170, 255])
    assert open_dataset("coco-stuff", tmp_path).items[0].truth().ravel()[:4].tolist() == [1, 12, 171, 255]


def test_coco_stuff_numbers() -> None:
    """Values of the published maps are category ids less 1; the official names of ids near the gaps."""
    names = load("coco-stuff171").words
    table = stuff_table(False, False)
    for category, name in {1: "person", 11: "fire hydrant", 13: "stop sign", 25: "giraffe", 27: "backpack", 90: "toothbrush",
                           92: "banner", 106: "clouds", 169: "tree", 182: "wood"}.items():  # fmt: skip
        assert names[table[category - 1] - 1] == name
    assert len(CATEGORIES) == 171
    assert table[11] == -1
    assert table[255] == 255


def test_ade20k_and_cityscapes(tmp_path: Path) -> None:
    photo(tmp_path / "ADEChallengeData2016/images/validation/a.jpg")
    mask(tmp_path / "ADEChallengeData2016/annotations/validation/a.png", [0, 1, 150])
    assert np.unique(open_dataset("ade20k", tmp_path).items[0].truth()).tolist() == [1, 150, 255]
    photo(tmp_path / "cityscapes/leftImg8bit/val/ulm/ulm_1_leftImg8bit.png")
    mask(tmp_path / "cityscapes/gtFine/val/ulm/ulm_1_gtFine_labelIds.png", [0, 7, 26, 33, 29])
    city = open_dataset("cityscapes", tmp_path)
    assert city.items[0].id == "ulm/ulm_1"
    labels = city.items[0].truth().ravel()[:5].tolist()
    assert [city.words[i - 1] for i in labels if i != 255] == ["road", "car", "bicycle"]
    assert labels[0] == labels[4] == 255


def test_folder_with_png_photos_and_a_list_of_words(tmp_path: Path) -> None:
    photo(tmp_path / "JPEGImages/a.png")
    photo(tmp_path / "JPEGImages/b.jpeg")
    for name in "ab":
        mask(tmp_path / f"SegmentationClass/{name}.png", [0, 1, 2, 255])
    with pytest.raises(InputError, match=r"classes\.txt is missing.*--words-file"):
        open_dataset("folder", tmp_path)
    dataset = open_dataset("folder", tmp_path, words=["cup", "spoon"])
    assert [i.photo.name for i in dataset.items] == ["a.png", "b.jpeg"]
    with pytest.raises(InputError, match=r"a\.png has the value 2; masks .* hold 0\.\.1, 255"):
        open_dataset("folder", tmp_path, words=["cup"]).items[0].truth()


def test_mini_splits() -> None:
    assert len(open_dataset("mini").items) == len(open_dataset("mini", split="held").items) == 200
    with pytest.raises(InputError, match="split of mini must be one of val, held"):
        open_dataset("mini", split="train")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        open_dataset("voc", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"does not hold voc: neither VOC2012/ImageSets/Segmentation nor"):
        open_dataset("voc", tmp_path)
    base = tmp_path / "VOC2012"
    (base / "ImageSets/Segmentation").mkdir(parents=True)
    photo(base / "JPEGImages/a.jpg")
    with pytest.raises(
        InputError, match=r"not complete: SegmentationClass is missing, it should lie at .*VOC2012/SegmentationClass"
    ):
        open_dataset("voc", tmp_path)
    (base / "SegmentationClass").mkdir()
    (base / "ImageSets/Segmentation/train.txt").write_text("a\n", "utf8")
    with pytest.raises(InputError, match=r"val\.txt is missing; there are train"):
        open_dataset("voc", tmp_path)
    (base / "ImageSets/Segmentation/val.txt").write_text("a\nb\n", "utf8")
    with pytest.raises(InputError, match=r"1 of 2 photos missing; the first should lie at .*b\.jpg"):
        open_dataset("voc", tmp_path)
    photo(base / "JPEGImages/b.jpg")
    with pytest.raises(InputError, match=r"2 of 2 masks missing; the first should lie at .*a\.png"):
        open_dataset("voc", tmp_path)
    (base / "ImageSets/Segmentation/val.txt").write_text("\n", "utf8")
    with pytest.raises(InputError, match="is empty; it should have one name a line"):
        open_dataset("voc", tmp_path)


def test_unknown_names_damaged_annotations_and_lists_that_lead_astray(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data must be one of voc"):
        open_dataset("imagenet", tmp_path)
    with pytest.raises(InputError, match="voc needs --root"):
        open_dataset("voc")
    with pytest.raises(InputError, match="has its own class list"):
        open_dataset("mini", words=["cat"])
    pytest.importorskip("pycocotools")
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    listing = tmp_path / "annotations/instances_val2017.json"
    for content in ("{", json.dumps({"images": []})):
        listing.write_text(content, "utf8")
        with pytest.raises(InputError, match="is no COCO annotation file"):
            open_dataset("coco-object", tmp_path)
    photo(tmp_path / "JPEGImages/x.jpg")
    mask(tmp_path / "x.png", [0])
    (tmp_path / "SegmentationClass").mkdir()
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("../x\n", "utf8")
    photo(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="is no name of a photo"):
        open_dataset("folder", tmp_path, words=["cat"])


def test_pycocotools_is_asked_for_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text("{}", "utf8")
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(InputError, match=r"pip install 'segwright\[coco\]'"):
        open_dataset("coco-object", tmp_path)


def test_description_names_all() -> None:
    text = describe()
    for name, source in DATASETS.items():
        assert f"{name}: " in text
        assert source.licence in text
