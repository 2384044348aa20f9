"""Every format read back by somebody else's reader, or by a reader written from the format's documentation, and compared.

Masks with several parts, holes, single pixels and words that need escaping; polygons at the default simplification.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))
from toy import WORDS, Toy, make_photos, spec

import segwright as sw
from segwright.cli import main
from segwright.cli.listed import FORMAT_NAMES as LISTED
from segwright.errors import InputError
from segwright.mini.voc import data_folder, read_scenes
from segwright.runs.exports import FORMATS, export, shapes
from segwright.runs.segment import segment
from segwright.types import Image, Segmentation

Mask = np.ndarray
Key = tuple[str, str]  # photo's name, word
AT_LEAST = 0.98


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real outlines: the truth of scenes, their words in thirds of the vocabulary; and the toy's blobs with holes."""
    folder = tmp_path_factory.mktemp("collection")
    scenes = read_scenes("val", 4)
    truths = {image.tobytes(): truth for image, truth in zip(scenes.images, scenes.truths, strict=True)}

    class Knowing(Toy):
        def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
            if image.tobytes() not in truths:
                return super()._one(image, words)
            truth = truths[image.tobytes()]
            return Segmentation(words, np.where(truth > 0, truth % 3 + 1, 0))

    photos = [data_folder() / f"JPEGImages/val_0000{i}.jpg" for i in range(4)]
    make_photos(folder / "in/deep", 4)
    assert all(o.error is None for o in segment([*photos, folder / "in"], Knowing(), folder / "run", WORDS))
    return folder / "run"


@pytest.fixture(scope="module")
def masks(run: Path) -> dict[Key, Mask]:
    """From the run's own files."""
    found = {}
    for record in run.rglob("*.json"):
        if record.name != "run.json":
            with Pillow.open(record.with_suffix(".png")) as picture:
                labels = np.asarray(picture)
            for i in np.unique(labels):
                if i:
                    found[record.stem, WORDS[i - 1]] = labels == i
    assert len(found) > 12
    assert any(ndimage.label(m)[1] > 1 for m in found.values()), "several parts"
    assert any(ndimage.label(~np.pad(m, 1))[1] > 1 for m in found.values()), "holes"
    return found


def exact(*arguments: Any, **settings: Any) -> list[str]:
    """An export that leaves specks alone."""
    return export(*arguments, min_area=0, **settings)


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def check(read: dict[Key, Mask], masks: dict[Key, Mask], least: float) -> None:
    assert read.keys() == masks.keys()
    worst = min((iou(read[k], masks[k]), k) for k in masks)
    assert worst[0] >= least, worst


def stem(file: str) -> str:
    return Path(file).stem


# --- COCO


def coco_masks(path: Path) -> dict[Key, Mask]:
    tools = pytest.importorskip("pycocotools.coco")
    coco = tools.COCO(str(path / "annotations.json"))
    found = {}
    for a in coco.loadAnns(coco.getAnnIds()):
        name = stem(coco.loadImgs([a["image_id"]])[0]["file_name"])
        found[name, coco.loadCats([a["category_id"]])[0]["name"]] = coco.annToMask(a).astype(bool)
    return found


def test_coco_by_pycocotools(run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    exact(run, "coco", tmp_path / "rle")
    check(coco_masks(tmp_path / "rle"), masks, 1.0)
    exact(run, "coco", tmp_path / "polygon", masks="polygon")
    check(coco_masks(tmp_path / "polygon"), masks, AT_LEAST)
    content = json.loads((tmp_path / "polygon/annotations.json").read_text("utf8"))
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "cat"), (2, "dog & co"), (3, "sofa")]
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        name = stem(content["images"][a["image_id"] - 1]["file_name"])
        mask = masks[name, WORDS[a["category_id"] - 1]]
        assert a["area"] == mask.sum() == mask[y : y + h, x : x + w].sum()
        assert mask[y].any()
        assert mask[:, x + w - 1].any()


def test_compressed_run_lengths_are_pycocotools_own() -> None:
    tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 0.98, 1.0):
        mask = rng.random((70, 130)) < density
        assert shapes.coco_rle(mask)["counts"] == tools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


# --- polygons as such


def pillow(polygons: list[Any], shape: tuple[int, int]) -> Mask:
    """labelme's rule (labelme.utils.shape_to_mask): each polygon's line and inside, by Pillow, one over the other."""
    out = np.zeros(shape, bool)
    for points in polygons:
        picture = Pillow.fromarray(np.zeros(shape, np.uint8))
        ImageDraw.Draw(picture).polygon(xy=[tuple(p) for p in points], outline=1, fill=1)
        out |= np.asarray(picture) == 1
    return out


SHAPES = {
    "one pixel": [[1]],
    "a line": [[1, 1, 1, 1]],
    "diagonal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "ring": [[1, 1, 1], [1, 0, 1], [1, 1, 1]],
    "open at a corner": [[1, 1, 1], [1, 0, 1], [1, 1, 0]],
    "an island in a lake": [[1] * 5, [1, 0, 0, 0, 1], [1, 0, 1, 0, 1], [1, 0, 0, 0, 1], [1] * 5],
    "comb": [[1, 0, 1, 0, 1], [1, 1, 1, 1, 1]],
}


@pytest.mark.parametrize("name", SHAPES)
def test_unsimplified_polygons_are_exact(name: str) -> None:
    mask = np.array(SHAPES[name], bool)
    assert np.array_equal(pillow([c + 0.25 for c in shapes.chains(mask)], mask.shape), mask)
    polygons = shapes.outlines(mask)
    areas = [0.5 * (p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1)).sum() for p in polygons]
    assert min(areas) > 0, "all clockwise"
    assert sum(areas) == mask.sum()
    covered = sum(piece.sum() for piece, _ in shapes.pieces(mask))
    assert covered == mask.sum()


def test_unsimplified_polygons_of_random_masks_are_exact() -> None:
    rng = np.random.default_rng(1)
    for spread in (0.0, 0.6, 2.0):
        noise = ndimage.gaussian_filter(rng.random((24, 31)), spread)
        mask = noise > np.quantile(noise, 0.4)
        assert np.array_equal(pillow([c + 0.25 for c in shapes.chains(mask)], mask.shape), mask)
        corners = sum(0.5 * (p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1)).sum() for p in shapes.outlines(mask))
        assert corners == mask.sum()


# --- supervision (COCO, YOLO, VOC), in a process of its own: it is heavy, and optional

READER = """
import json, sys, numpy as np, supervision as sv
kind, folder, out = sys.argv[1:]
if kind == "coco":
    data = sv.DetectionDataset.from_coco(f"{folder}/images", f"{folder}/annotations.json", force_masks=True)
elif kind == "yolo":
    data = sv.DetectionDataset.from_yolo(f"{folder}/images", f"{folder}/labels", f"{folder}/data.yaml", force_masks=True)
else:
    data = sv.DetectionDataset.from_pascal_voc(f"{folder}/JPEGImages", f"{folder}/Annotations", force_masks=True)
found, boxes = {}, {}
for path, _, d in data:
    for mask, box, c in zip(d.mask if d.mask is not None else [], d.xyxy, d.class_id):
        key = json.dumps([path.replace("\\\\", "/").split("/")[-1].rsplit(".", 1)[0], data.classes[c]])
        found[key] = found.get(key, False) | np.asarray(mask, bool)
        boxes.setdefault(key, []).append(np.asarray(box).tolist())
np.savez(out, boxes=json.dumps(boxes), **found)
"""


@pytest.mark.parametrize(("kind", "least"), [("coco", 1.0), ("yolo", AT_LEAST), ("voc", AT_LEAST)])
def test_supervision(kind: str, least: float, run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    from importlib.util import find_spec

    if find_spec("supervision") is None:
        pytest.skip("supervision is not installed")
    flat = Path(shutil.copytree(run, tmp_path / "run"))
    exact(flat, kind, tmp_path / kind, copy_photos=True)
    code = [sys.executable, "-W", "ignore", "-c", READER, kind, str(tmp_path / kind), str(tmp_path / "read.npz")]
    subprocess.run(code, check=True, capture_output=True)
    with np.load(tmp_path / "read.npz") as content:
        read = {tuple(json.loads(k)): content[k] for k in content.files if k != "boxes"}
        boxes = {tuple(json.loads(k)): v for k, v in json.loads(str(content["boxes"])).items()}
    check(read, masks, least)
    if kind == "voc":
        for key, mask in masks.items():
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert boxes[key] == [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]


# --- VOC, YOLO by their own definitions


def test_voc_label_maps(run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    exact(run, "voc", tmp_path)
    read = {}
    for path in (tmp_path / "SegmentationClass").glob("*.png"):
        with Pillow.open(path) as picture:
            assert picture.mode == "P"
            labels = np.asarray(picture)
        read |= {(path.stem, WORDS[i - 1]): labels == i for i in np.unique(labels) if i}
    check(read, masks, 1.0)
    listed = (tmp_path / "ImageSets/Segmentation/default.txt").read_text().split()
    assert sorted(listed) == sorted({name for name, _ in masks})
    assert (tmp_path / "labelmap.txt").read_text().splitlines()[:2] == ["background:0,0,0::", "cat:128,0,0::"]
    annotation = Xml.parse(tmp_path / "Annotations/val_00000.xml").getroot()
    assert annotation.findtext("size/width") == "128"
    assert {o.findtext("name") for o in annotation.findall("object")} == {w for n, w in masks if n == "val_00000"}


@pytest.mark.parametrize("whole", [np.floor, np.rint], ids=["cut", "round"])
def test_yolo_lines_whether_a_reader_cuts_or_rounds(whole: Any, run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    exact(run, "yolo", tmp_path)
    sizes = {name: mask.shape for (name, _), mask in masks.items()}
    read: dict[Key, Mask] = {}
    for path in (tmp_path / "labels").glob("*.txt"):
        height, width = sizes[path.stem]
        for line in path.read_text().splitlines():
            number, *values = line.split()
            points = np.array(values, float).reshape(-1, 2)
            assert len(points) >= 3
            assert points.min() >= 0
            assert points.max() <= 1
            key = (path.stem, WORDS[int(number)])
            read[key] = read.get(key, False) | pillow([whole(points * [width, height])], (height, width))
    check(read, masks, AT_LEAST)
    names = re.findall(r'^  (\d+): (".*")$', (tmp_path / "data.yaml").read_text("utf8"), re.M)
    assert [(int(i), json.loads(n)) for i, n in names] == list(enumerate(WORDS))


# --- labelme


def test_labelme_by_its_own_rule(run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    exact(run, "labelme", tmp_path, copy_photos=True)
    read = {}
    for path in tmp_path.glob("*.json"):
        content = json.loads(path.read_text("utf8"))
        assert set(content) == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
        with Pillow.open(path.parent / content["imagePath"]) as photo:
            assert photo.size == (content["imageWidth"], content["imageHeight"])
        groups: dict[str, set] = {}
        for shape in content["shapes"]:
            assert shape["shape_type"] == "polygon"
            assert len(shape["points"]) > 2, "labelme refuses polygons of two points"
            key = (path.stem, shape["label"])
            read[key] = read.get(key, False) | pillow([shape["points"]], (content["imageHeight"], content["imageWidth"]))
            groups.setdefault(shape["label"], set()).add(shape["group_id"])
        assert all(len(g) == 1 for g in groups.values())
    check(read, masks, AT_LEAST)


# --- CVAT


def test_cvat_by_its_documented_layout(run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    """CVAT for images 1.1: masks are run lengths of their box, row by row, beginning outside; polygons are areas."""
    exact(run, "cvat", tmp_path / "rle")
    top = Xml.parse(tmp_path / "rle/annotations.xml").getroot()
    assert top.findtext("version") == "1.1"
    assert [label.findtext("name") for label in top.findall("meta/task/labels/label")] == list(WORDS)
    read = {}
    for image in top.findall("image"):
        for mask in image.findall("mask"):
            lengths = [int(n) for n in mask.attrib["rle"].split(", ")]
            left, across, down = (int(mask.attrib[k]) for k in ("left", "width", "height"))
            values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(down, across)
            whole = np.zeros((int(image.attrib["height"]), int(image.attrib["width"])), bool)
            whole[int(mask.attrib["top"]) :, left:][:down, :across] = values
            read[stem(image.attrib["name"]), mask.attrib["label"]] = whole
    check(read, masks, 1.0)
    exact(run, "cvat", tmp_path / "polygon", masks="polygon")
    read = {}
    for image in Xml.parse(tmp_path / "polygon/annotations.xml").getroot().findall("image"):
        shape = (int(image.attrib["height"]), int(image.attrib["width"]))
        for polygon in image.findall("polygon"):
            points = np.array([p.split(",") for p in polygon.attrib["points"].split(";")], float)
            key = (stem(image.attrib["name"]), polygon.attrib["label"])
            read[key] = read.get(key, False) | area(points, shape)
    check(read, masks, AT_LEAST)


def area(points: Mask, shape: tuple[int, int]) -> Mask:
    """Pixels whose centres lie inside a polygon (matplotlib-free even-odd rule)."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


# --- Label Studio


def unpacked(data: list[int]) -> np.ndarray:
    """thi.ng/rle-pack's decoder, from its documentation: a header, then runs (1) and stretches (0)."""
    bits, place = "".join(f"{byte:08b}" for byte in data), 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    count, size = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < count:
        repeated = take(1)
        length = take(sizes[take(2)]) + 1
        out += [take(size)] * length if repeated else [take(size) for _ in range(length)]
    assert len(out) == count
    return np.array(out, np.uint8)


def test_label_studio_by_its_documented_layout(run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    exact(run, "label-studio", tmp_path / "rle")
    exact(run, "label-studio", tmp_path / "polygon", masks="polygon")
    for kind, tag, least in (("rle", "brushlabels", 1.0), ("polygon", "polygonlabels", AT_LEAST)):
        config = Xml.parse(tmp_path / kind / "labels.xml").getroot()
        control = next(e for e in config if e.tag.lower() == tag)
        assert [label.attrib["value"] for label in control] == list(WORDS)
        read: dict[Key, Mask] = {}
        for task in json.loads((tmp_path / kind / "tasks.json").read_text("utf8")):
            for result in task["predictions"][0]["result"]:
                assert (result["from_name"], result["to_name"], result["type"]) == (control.attrib["name"], "image", tag)
                shape = (result["original_height"], result["original_width"])
                key = (stem(task["data"]["image"]), result["value"][tag][0])
                if kind == "rle":
                    channels = unpacked(result["value"]["rle"]).reshape(*shape, 4)
                    assert (channels == channels[..., :1]).all()
                    mask = channels[..., 3] == 255
                else:
                    mask = area(np.array(result["value"]["points"]) / 100 * shape[::-1], shape)
                read[key] = read.get(key, False) | mask
        check(read, masks, least)


def test_label_studios_own_decoder_reads_the_brush(masks: dict[Key, Mask]) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    from segwright.runs.exports.label_studio import brush as packed

    for mask in (*list(masks.values())[:3], np.ones((300, 300), bool)):
        assert np.array_equal(brush.decode_rle(packed(mask)).reshape(*mask.shape, 4)[..., 3] == 255, mask)


# --- parquet


def test_parquet_by_pyarrow(run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    tools = pytest.importorskip("pycocotools.mask")
    exact(run, "parquet", tmp_path)
    table = parquet.read_table(tmp_path / "segments.parquet")
    assert json.loads(table.schema.metadata[b"words"]) == list(WORDS)
    read = {}
    for row in table.to_pylist():
        counts = {"size": [row["height"], row["width"]], "counts": row["counts"].encode()}
        mask = read[row["name"].split("/")[-1], row["word"]] = tools.decode(counts).astype(bool)
        assert row["area"] == mask.sum()
        assert WORDS[row["category"] - 1] == row["word"]
    check(read, masks, 1.0)


@pytest.mark.parametrize("library", ["pandas", "datasets"])
def test_parquet_by_others(library: str, run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    reader = pytest.importorskip(library)
    if library == "datasets" and not hasattr(reader, "load_dataset"):
        pytest.skip("this is the folder of tests for segwright.datasets, not the library")
    exact(run, "parquet", tmp_path)
    path = str(tmp_path / "segments.parquet")
    if library == "pandas":
        frame = reader.read_parquet(path)
        keys = list(zip(frame["name"], frame["word"], frame["area"], strict=True))
    else:
        data = reader.load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
        keys = [(row["name"], row["word"], row["area"]) for row in data]
    assert {(n.split("/")[-1], w): a for n, w, a in keys} == {k: m.sum() for k, m in masks.items()}


# --- settings


def slow_merge(labels: Mask, least: int) -> Mask:
    """A twin of the rule, pixel by pixel: specks take the label of the nearest pixel that is of none."""
    specks = np.zeros(labels.shape, bool)
    for label in np.unique(labels):
        parts, count = ndimage.label(labels == label)
        for number in range(1, count + 1):
            specks |= (parts == number) & ((parts == number).sum() < least)
    out, kept = labels.copy(), np.argwhere(~specks)
    for y, x in np.argwhere(specks):
        apart = ((kept - [y, x]) ** 2).sum(1)
        nearest = {int(labels[tuple(place)]) for place in kept[apart == apart.min()]}
        assert out[y, x] not in nearest or len(nearest) >= 1
        out[y, x] = -1 if len(nearest) > 1 else nearest.pop()  # a tie may go either way
    return out


def test_specks_take_the_label_around_them(run: Path, masks: dict[Key, Mask], tmp_path: Path) -> None:
    export(run, "coco", tmp_path, min_area=150)
    read, changed = coco_masks(tmp_path), 0
    for name in {name for name, _ in masks}:
        labels = np.zeros(next(m for (n, _), m in masks.items() if n == name).shape, int)
        for i, word in enumerate(WORDS, 1):
            labels[masks.get((name, word), np.zeros(labels.shape, bool))] = i
        wanted = slow_merge(labels, 150)
        found = np.zeros(labels.shape, int)
        for i, word in enumerate(WORDS, 1):
            found[read.get((name, word), np.zeros(labels.shape, bool))] = i
        assert np.array_equal(found[wanted >= 0], wanted[wanted >= 0])
        changed += int((wanted != labels).sum())
        for label in np.unique(found):
            parts, count = ndimage.label(found == label)
            assert count == 0 or np.bincount(parts.ravel())[1:].min() >= 150
    assert changed > 0
    assert sw.export(run, "coco", tmp_path / "share", min_area=150 / 128**2)


def test_open_vocabulary_has_one_list_of_categories(tmp_path: Path) -> None:
    class Named(Toy):
        def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
            return super()._one(image, ("zebra", "ant") if image.shape[0] == 60 else ("moth",))

    make_photos(tmp_path / "in", 3)
    list(segment(tmp_path / "in", Named(), tmp_path / "run"))
    export(tmp_path / "run", "coco", tmp_path / "coco")
    content = json.loads((tmp_path / "coco/annotations.json").read_text("utf8"))
    assert [c["name"] for c in content["categories"]] == ["ant", "moth", "zebra"]
    ids = {c["name"]: c["id"] for c in content["categories"]}
    assert {a["category_id"] for a in content["annotations"] if a["image_id"] == 2} == {ids["moth"]}


def test_the_command_and_its_twin_write_the_same(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tuple(FORMATS) == tuple(LISTED)
    assert main(["export", str(run), "--format", "labelme", "-o", str(tmp_path / "a"), "--min-area", "9", "--simplify", "1"]) == 0
    sw.export(run, "labelme", tmp_path / "b", min_area=9, simplify=1.0)
    names = sorted(p.name for p in (tmp_path / "a").rglob("*.json"))
    assert names
    for p in (tmp_path / "a").rglob("*.json"):
        assert p.read_bytes() == (tmp_path / "b" / p.relative_to(tmp_path / "a")).read_bytes()
    assert main(["export", str(tmp_path), "--format", "coco", "-o", str(tmp_path / "c")]) == 2
    assert "run.json" in capsys.readouterr().err
    for bad in ({"min_area": -1}, {"masks": "png"}):
        with pytest.raises(InputError):
            export(run, "coco", tmp_path / "c", **bad)
    with pytest.raises(InputError, match="yolo holds masks as polygon or box only"):
        export(run, "yolo", tmp_path / "c", masks="rle")
    with pytest.raises(InputError, match="format must be one of"):
        export(run, "tiff", tmp_path / "c")


# --- the overview


def test_overview_opens_from_disk(run: Path, tmp_path: Path) -> None:
    page = sw.overview(run)
    text = page.read_text("utf8")
    assert page == run / "overview.html"
    assert "http" not in text
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    assert len(data) == 8
    for tile in data:
        assert (page.parent / tile["picture"]).is_file()
    assert {s[0] for tile in data for s in tile["segments"]} == set(WORDS)
    assert "dog &amp; co" in text
    elsewhere = sw.overview(run, tmp_path / "pages/all.html", embed=True).read_text("utf8")
    pictures = re.findall(r'"picture": "data:image/jpeg;base64,([^"]+)"', elsewhere)
    assert len(pictures) == 8
    assert base64.b64decode(pictures[0])[:2] == b"\xff\xd8"
    linked = json.loads(re.search(r'id="data">(.*?)</script>', sw.overview(run, tmp_path / "p.html").read_text("utf8"), re.S)[1])
    assert os.path.isfile(tmp_path / linked[0]["picture"])


def test_spec_and_function_runs_can_be_exported(tmp_path: Path) -> None:
    make_photos(tmp_path / "in", 2)
    list(segment(tmp_path / "in", spec(), "memory://exported/run", WORDS))
    written = export("memory://exported/run", "coco", "memory://exported/coco")
    assert written == ["memory://exported/coco/annotations.json"]
    page = sw.overview("memory://exported/run", tmp_path / "page.html")
    assert page.read_text("utf8").count("data:image/jpeg") == 4
