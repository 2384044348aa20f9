"""The one list of annotations behind every format: objects, classes, names, boxes, splits; read back from each format's files."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))
from toy import WORDS, Toy, make_photos

from segwright.cli import main
from segwright.errors import InputError
from segwright.objects import box_of
from segwright.runs import exports
from segwright.runs.exports import FORMATS, export
from segwright.runs.exports.yolo import above as yolo_above
from segwright.runs.reading import Done, open_run
from segwright.runs.review import Decision, Review
from segwright.runs.segment import segment
from segwright.types import Image, Segmentation

Box = tuple[int, int, int, int]
Entry = tuple[str, str, Box]  # photo's name, word, box


class Blocks(Toy):
    """Two cats that do not touch, one sofa that does, and one speck of a cat."""

    def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
        labels = np.zeros(image.shape[:2], int)
        labels[5:20, 4:20], labels[30:50, 30:44], labels[20:30, 4:12] = 1, 1, 3
        labels[2, 50] = 1
        return Segmentation(words, labels)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blocks")
    make_photos(folder / "in", 10)
    assert all(one.error is None for one in segment(folder / "in", Blocks(), folder / "run", WORDS))
    return folder / "run"


PARTS = {("cat", (4, 5, 20, 20)), ("cat", (30, 30, 44, 50)), ("sofa", (4, 20, 12, 30))}
WHOLE = {("cat", (4, 5, 44, 50)), ("sofa", (4, 20, 12, 30))}


def entries(format: str, folder: Path) -> set[Entry]:
    """Every annotation of an export of boxes."""
    return {(name, word, tuple(map(round, box))) for name, word, box in READERS[format](folder)}  # type: ignore[misc]


def coco(folder: Path) -> Any:
    content = json.loads((folder / "annotations.json").read_text("utf8"))
    names = {one["id"]: Path(one["file_name"]).stem for one in content["images"]}
    words = {one["id"]: one["name"] for one in content["categories"]}
    for one in content["annotations"]:
        x, y, w, h = one["bbox"]
        assert one["segmentation"] == []
        yield names[one["image_id"]], words[one["category_id"]], (x, y, x + w, y + h)


def yolo(folder: Path) -> Any:
    top = folder if (folder / "data.yaml").exists() else folder.parent
    words = [json.loads(line.split(": ", 1)[1]) for line in (top / "data.yaml").read_text("utf8").splitlines() if line[:2] == "  "]
    for path in (folder / "labels").rglob("*.txt"):
        height, width = SIZES[path.stem]
        for number, x, y, w, h in csv.reader(path.read_text().splitlines(), delimiter=" "):
            middle, sides = np.array([x, y], float) * [width, height], np.array([w, h], float) * [width, height]
            yield path.stem, words[int(number)], (*(middle - sides / 2), *(middle + sides / 2))


def voc(folder: Path) -> Any:
    assert not (folder / "SegmentationClass").exists()
    for path in (folder / "Annotations").rglob("*.xml"):
        for one in Xml.parse(path).getroot().findall("object"):
            x0, y0, x1, y1 = (int(one.findtext(f"bndbox/{key}") or 0) for key in ("xmin", "ymin", "xmax", "ymax"))
            yield path.stem, one.findtext("name"), (x0 - 1, y0 - 1, x1, y1)


def labelme(folder: Path) -> Any:
    for path in folder.rglob("*.json"):
        for one in json.loads(path.read_text("utf8"))["shapes"]:
            assert one["shape_type"] == "rectangle"
            yield path.stem, one["label"], (*one["points"][0], *one["points"][1])


def cvat(folder: Path) -> Any:
    for image in Xml.parse(folder / "annotations.xml").getroot().findall("image"):
        for one in image.findall("box"):
            yield Path(image.attrib["name"]).stem, one.attrib["label"], [float(one.attrib[k]) for k in ("xtl", "ytl", "xbr", "ybr")]


def label_studio(folder: Path) -> Any:
    for task in json.loads((folder / "tasks.json").read_text("utf8")):
        for one in task["predictions"][0]["result"]:
            assert one["type"] == "rectanglelabels"
            v, (w, h) = one["value"], (one["original_width"] / 100, one["original_height"] / 100)
            box = (v["x"] * w, v["y"] * h, (v["x"] + v["width"]) * w, (v["y"] + v["height"]) * h)
            yield Path(task["data"]["image"]).stem, v["rectanglelabels"][0], box


def parquet(folder: Path) -> Any:
    table = pytest.importorskip("pyarrow.parquet").read_table(folder / "segments.parquet")
    for row in table.to_pylist():
        assert row["counts"] is None
        yield row["name"], row["word"], row["box"]


READERS = {
    "coco": coco, "yolo": yolo, "voc": voc, "labelme": labelme, "cvat": cvat, "label-studio": label_studio, "parquet": parquet,
}  # fmt: skip
SIZES = {f"p{i}": (60 + 5 * (i % 4), 64 + 7 * (i % 3)) for i in range(10)}
NAMES = set(SIZES)


def test_every_format_has_a_reader_here() -> None:
    assert READERS.keys() == FORMATS.keys()


@pytest.mark.parametrize("format", READERS)
def test_words_and_parts_and_boxes(format: str, run: Path, tmp_path: Path) -> None:
    for kind, wanted in (("words", WHOLE), ("parts", PARTS)):
        export(run, format, tmp_path / kind, objects=kind, boxes_only=True)
        assert entries(format, tmp_path / kind) == {(name, word, box) for name in NAMES for word, box in wanted}


@pytest.mark.parametrize("format", READERS)
def test_classes_and_names(format: str, run: Path, tmp_path: Path) -> None:
    export(run, format, tmp_path / "a", objects="parts", boxes_only=True, classes=("sofa",), renamed={"sofa": "couch"})
    assert entries(format, tmp_path / "a") == {(name, "couch", (4, 20, 12, 30)) for name in NAMES}
    export(run, format, tmp_path / "b", objects="parts", boxes_only=True, renamed={"sofa": "thing", "cat": "thing"})
    assert entries(format, tmp_path / "b") == {(name, "thing", box) for name in NAMES for _, box in PARTS}


@pytest.mark.parametrize("format", READERS)
def test_splits_are_whole_exact_and_the_same_each_time(format: str, run: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        export(run, format, tmp_path / out, boxes_only=True, split={"train": 0.8, "val": 0.2}, copy_photos=True)
    found = {name: {one[0] for one in entries(format, tmp_path / "a" / name)} for name in ("train", "val")}
    assert {name: len(names) for name, names in found.items()} == {"train": 8, "val": 2}
    assert found["train"] | found["val"] == NAMES
    assert found == {name: {one[0] for one in entries(format, tmp_path / "b" / name)} for name in found}
    photos = {path.stem for path in (tmp_path / "a/val").rglob("*.png") if "Segmentation" not in str(path)}
    assert photos == found["val"]


def test_yolo_names_its_splits_in_one_file(run: Path, tmp_path: Path) -> None:
    export(run, "yolo", tmp_path, split={"train": 0.5, "val": 0.3, "test": 0.2})
    lines = (tmp_path / "data.yaml").read_text().splitlines()
    assert {"train: train/images", "val: val/images", "test: test/images"} <= set(lines)
    assert not any(line.startswith("path:") for line in lines), "Ultralytics takes it relative to where it is started"
    assert [p.relative_to(tmp_path) for p in tmp_path.rglob("data.yaml")] == [Path("data.yaml")]


@pytest.mark.parametrize(
    ("splits", "train", "val"), [(("a", "b"), "a", "b"), (("val", "rest"), "rest", "val"), (("train",), "train", "train")]
)
def test_yolo_always_has_train_and_val(splits: tuple[str, ...], train: str, val: str) -> None:
    ((_, content),) = yolo_above(("cat",), splits)
    assert content.decode().splitlines()[:2] == [f"train: {train}/images", f"val: {val}/images"]


def test_yolo_folders_lie_beside_their_file(run: Path, tmp_path: Path) -> None:
    """As Ultralytics resolves them: from "path", or without it from the folder of data.yaml."""
    yaml = pytest.importorskip("yaml")
    for out, split in (("whole", {}), ("parts", {"train": 0.8, "val": 0.2})):
        export(run, "yolo", tmp_path / out, split=split, copy_photos=True)
        data = yaml.safe_load((tmp_path / out / "data.yaml").read_text("utf8"))
        for name in ("train", "val"):
            assert list((tmp_path / out / data.get("path", "") / data[name]).glob("*.png"))


def test_voc_tells_objects_apart(run: Path, tmp_path: Path) -> None:
    export(run, "voc", tmp_path, objects="parts")
    with Pillow.open(tmp_path / "SegmentationObject/p0.png") as picture:
        things = np.asarray(picture)
    assert sorted(ndimage.find_objects(things)[0][0].indices(99)[:2]) == [5, 20]
    assert Counter(np.unique(things).tolist()) == {0: 1, 1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_supervision_reads_splits_of_parts(kind: str, run: Path, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    export(run, kind, tmp_path, objects="parts", split={"train": 0.8, "val": 0.2}, copy_photos=True)
    place = tmp_path / "val"
    if kind == "coco":
        data = supervision.DetectionDataset.from_coco(str(place / "images"), str(place / "annotations.json"), force_masks=True)
    else:
        yaml = str(tmp_path / "data.yaml")
        data = supervision.DetectionDataset.from_yolo(str(place / "images"), str(place / "labels"), yaml, force_masks=True)
    assert len(data) == 2
    for _, _, found in data:
        boxes = {tuple(map(round, box)) for box in found.xyxy.tolist()}
        assert {box for _, box in PARTS} == boxes or kind == "yolo"  # YOLO's reader draws lines half a pixel wide
        assert len(found) == 3


class Pairs(Toy):
    """Two cats that touch, and a sofa."""

    def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
        labels = np.zeros(image.shape[:2], int)
        labels[10:40, 6:52], labels[45:58, 36:60] = 1, 3
        return Segmentation(words, labels)


def halves(photo: Done) -> np.ndarray:
    """(2, 32, 32) features that tell what is left of column 29 from what is right of it."""
    left = np.arange(32) * photo.labels.shape[1] / 32 < 28.5
    return np.stack([np.tile(left, (32, 1)), np.tile(~left, (32, 1))]).astype(np.float32)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, np.ndarray]]]:
    """A run of which four photos were accepted, one with a word taken away and one with another name; and their masks."""
    folder = tmp_path_factory.mktemp("reviewed")
    make_photos(folder / "in", 8)
    assert all(one.error is None for one in segment(folder / "in", Pairs(), folder / "run", WORDS))
    review = Review(open_run(folder / "run"))
    for name, change in {"p0": {}, "p2": {"removed": ("sofa",)}, "p4": {"renamed": {"cat": "lynx"}}, "p7": {}}.items():
        review.decide(Decision(name, "accepted", **change))
    review.decide(Decision("p1", "rejected"))
    labels = {photo.name: photo.labels for photo in open_run(folder / "run")}
    masks = {name: {"cat": labels[name] == 1, "sofa": labels[name] == 3} for name in ("p0", "p2", "p4", "p7")}
    masks["p2"].pop("sofa")
    masks["p4"]["lynx"] = masks["p4"].pop("cat")
    return folder / "run", masks


def split_things(word: str, mask: np.ndarray, boxes: list[Box]) -> None:
    """The cats are two, each nearly one of the drawn halves, together the whole; a sofa is one."""
    whole = box_of(mask)
    if word == "sofa":
        assert boxes == [whole]
        return
    (left, right) = sorted(boxes)
    assert (left[0], left[1], left[3]) == whole[:2] + whole[3:]
    assert (right[2], right[1], right[3]) == (whole[2], whole[1], whole[3])
    assert abs(left[2] - 29) <= 3
    assert abs(right[0] - 29) <= 3


@pytest.mark.parametrize("format", READERS)
def test_instances_of_accepted_photos_in_splits(
    format: str, reviewed: tuple[Path, dict[str, dict[str, np.ndarray]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_features", lambda run, preset, device: halves)
    run, masks = reviewed
    shares = {"train": 0.75, "val": 0.25}
    export(run, format, tmp_path, objects="instances", boxes_only=True, accepted=True, split=shares, copy_photos=True)
    parts = {name: entries(format, tmp_path / name) for name in shares}
    assert {name: len({one[0] for one in found}) for name, found in parts.items()} == {"train": 3, "val": 1}
    read: dict[tuple[str, str], list[Box]] = {}
    for name, word, box in parts["train"] | parts["val"]:
        read.setdefault((name, word), []).append(box)
    assert read.keys() == {(name, word) for name, words in masks.items() for word in words}
    for (name, word), boxes in read.items():
        split_things(word, masks[name][word], boxes)


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_supervision_reads_masks_of_instances_of_accepted_photos(
    kind: str, reviewed: tuple[Path, dict[str, dict[str, np.ndarray]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervision = pytest.importorskip("supervision")
    monkeypatch.setattr(exports, "_features", lambda run, preset, device: halves)
    run, masks = reviewed
    export(run, kind, tmp_path, objects="instances", accepted=True, split={"train": 0.5, "val": 0.5}, copy_photos=True)
    seen: set[str] = set()
    for place in (tmp_path / "train", tmp_path / "val"):
        if kind == "coco":
            data = supervision.DetectionDataset.from_coco(str(place / "images"), str(place / "annotations.json"), force_masks=True)
        else:
            yaml = str(tmp_path / "data.yaml")
            data = supervision.DetectionDataset.from_yolo(str(place / "images"), str(place / "labels"), yaml, force_masks=True)
        for path, _, found in data:
            name = Path(path).stem
            words = [data.classes[i] for i in found.class_id]
            assert Counter(words) == {word: 1 if word == "sofa" else 2 for word in masks[name]}
            for word, mask in masks[name].items():
                union = np.any([one for one, its in zip(found.mask, words, strict=True) if its == word], axis=0)
                assert (union & mask).sum() >= 0.98 * (union | mask).sum()
            seen.add(name)
    assert seen == masks.keys()


@pytest.mark.parametrize("format", FORMATS)
def test_the_command_and_its_twin(format: str, run: Path, tmp_path: Path) -> None:
    asked = [
        "--objects",
        "parts",
        "--classes",
        "sofa, cat",
        "--map",
        "cat=animal",
        "--split",
        "train=0.5,val=0.5",
        "--min-area",
        "20",
    ]
    assert main(["export", str(run), "--format", format, "-o", str(tmp_path / "a"), *asked]) == 0
    given = {"classes": ("sofa", "cat"), "renamed": {"cat": "animal"}, "split": {"train": 0.5, "val": 0.5}}
    export(run, format, tmp_path / "b", objects="parts", min_area=20, **given)
    files = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert files == {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"classes": ("dog",)}, "no word of this run"),
        ({"renamed": {"dog": "cat"}}, "no word of this run"),
        ({"split": {"train": 0.8, "val": 0.3}}, "sum to 1"),
        ({"split": {"../x": 1.0}}, "a split's name"),
        ({"objects": "things"}, "objects must be one of"),
        ({"min_area": -1}, "min_area must be"),
        ({"min_area": float("nan")}, "min_area must be"),
        ({"boxes_only": True, "masks": "rle"}, "boxes_only"),
    ],
)
def test_bad_settings_are_refused_and_nothing_is_written(settings: Any, said: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        export(run, "coco", tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["cat", "cat=", "cat=a,cat=b"])
def test_a_bad_map_is_refused(text: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--format", "coco", "-o", str(tmp_path / "out"), "--map", text]) == 2
    assert "--map takes" in capsys.readouterr().err


def test_label_studio_photos_open(run: Path, tmp_path: Path) -> None:
    """Addresses as Label Studio's local storage serves them, or below a URL; a photo elsewhere is refused."""

    def images(**settings: Any) -> list[str]:
        export(run, "label-studio", tmp_path / "out", **settings)
        return [task["data"]["image"] for task in json.loads((tmp_path / "out/tasks.json").read_text())]

    start = "/data/local-files/?d="
    folder = run.parent / "in"
    assert all((Path("/") / one.removeprefix(start)).is_file() for one in images())
    assert all((folder / one.removeprefix(start)).is_file() for one in images(photo_root=str(folder)))
    assert images(photo_root="https://host/photos/")[0] == "https://host/photos/p0.png"
    assert all((tmp_path / "out" / one.removeprefix(start)).is_file() for one in images(copy_photos=True))
    with pytest.raises(InputError, match="does not lie below"):
        images(photo_root=str(tmp_path / "elsewhere"))
