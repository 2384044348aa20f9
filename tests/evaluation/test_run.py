"""evaluate: exact figures, resuming after a kill, refused folders, protocols, workers, the report's files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageChops
from toys import Empty, Guessing, Knowing, ToySpec, folder

from segwright.datasets import open_dataset
from segwright.datasets.dataset import Dataset
from segwright.errors import InputError
from segwright.evaluation.asking import Asking
from segwright.evaluation.measuring import Task, settle
from segwright.evaluation.protocols import OWN, PAPERS, PROTOCOLS, TCL_9, find_protocol, settings_for
from segwright.evaluation.report import TIMING
from segwright.evaluation.run import evaluate
from segwright.files.masks import read_label_map
from segwright.images import read
from segwright.methods.base import MethodSpec
from segwright.methods.cliper.method import PUBLISHED as CLIPER
from segwright.methods.cliper.method import CLIPer
from segwright.methods.iseg.method import PUBLISHED as ISEG
from segwright.methods.iseg.method import ISeg
from segwright.types import Image, Scores, Segmentation

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[2] / "shared" / "testdata"


class Finding(Empty):
    """Finds a sofa in the photo's left half and a lamp in the rest, whatever it is asked."""

    asked: list[Sequence[str] | None]

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        self.asked = [words]
        halves = [np.repeat(np.arange(i.shape[1])[None] * 2 // i.shape[1], i.shape[0], 0) + 1 for i in images]
        return [Segmentation(("sofa", "lamp"), labels) for labels in halves]


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key not in (TIMING, "check")}


def on_disk(out: Path) -> dict[str, Any]:
    return timeless(json.loads((out / "report.json").read_text("utf8")))


def test_reproduces_the_miniature_worlds_own_figure_to_the_last_digit(tmp_path: Path) -> None:
    from segwright.mini.figures import dataset_miou
    from segwright.mini.voc import read_scenes

    spec = MethodSpec("freeseg-diff", "mini", "cpu")
    report = evaluate(spec, open_dataset("mini"), tmp_path / "r", limit=5)
    assert (report.miou, report.content["miou_per_image"]) == dataset_miou(spec.load().many, read_scenes("val", 5))
    assert report.content["seeds"]["method"] == 0
    open_vocabulary = evaluate(spec, open_dataset("mini"), tmp_path / "open", "open", limit=5)
    assert (open_vocabulary.miou, open_vocabulary.content["miou_per_image"]) == dataset_miou(
        spec.load().many, read_scenes("val", 5), None
    )


def test_truth_gives_exactly_one_and_background_what_a_few_lines_say(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data")
    assert evaluate(Knowing(dataset), dataset, tmp_path / "truth").miou == 1.0
    report = evaluate(Empty(), dataset, tmp_path / "empty").content
    truths = np.concatenate([item.truth().ravel() for item in dataset.items])
    counts = [int((truths == c).sum()) for c in range(4)]
    assert report["iou"] == {"background": counts[0] / sum(counts), "cat": 0, "dog": 0, "sofa": 0}
    assert report["miou"] == pytest.approx(counts[0] / sum(counts) / 4)
    assert report["pixel_accuracy"] == counts[0] / sum(counts)
    assert report["miou_without_background"] == 0
    each = [np.mean(t[t != 255] == 0) / len(np.unique(t[t != 255])) for t in (i.truth() for i in dataset.items)]
    assert report["miou_per_image"] == pytest.approx(np.mean(each))


@pytest.mark.skipif(not (REAL / "coco").is_dir(), reason="../shared/testdata is not here")
@pytest.mark.parametrize("name", ["voc", "coco-object"])
def test_real_photos_truth_and_background(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pycocotools")
    dataset = open_dataset(name, REAL)
    assert evaluate(Knowing(dataset), dataset, tmp_path / "truth").miou == 1.0
    report = evaluate(Empty(), dataset, tmp_path / "empty")
    pixels = np.concatenate([item.truth().ravel() for item in dataset.items])
    pixels = pixels[pixels != 255]
    assert report.miou == pytest.approx(np.mean(pixels == 0) / len(set(pixels.tolist())), abs=1e-12)


def test_files_of_a_report(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data", photos=9)
    out = tmp_path / "r"
    report = evaluate(Guessing(), dataset, out)
    assert {p.name for p in out.iterdir()} == {
        "report.json",
        "report.md",
        "contact.png",
        "iou.png",
        "iou.svg",
        "run.json",
        "photos.jsonl",
        "predictions",
    }
    for item in dataset.items:
        assert read_label_map(out / f"predictions/{item.id}.png").shape == item.truth().shape
    low, high = report.content["intervals"]["miou"]
    assert low < report.miou < high
    assert f"{100 * report.miou:.2f}" in (out / "report.md").read_text("utf8")
    with Pillow.open(out / "contact.png") as sheet:
        assert sheet.width > 1000
        assert len(sheet.convert("RGB").getcolors(10**7) or []) > 1000
    shown = report.content["shown"]
    assert sum(map(len, shown.values())) == len({i for ids in shown.values() for i in ids}) == 9


KILLED = """
import sys
from pathlib import Path
from segwright.datasets import open_dataset
from segwright.evaluation.run import evaluate
from toys import Guessing
evaluate(Guessing(0.04), open_dataset("folder", sys.argv[1]), sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data", photos=12)
    whole = timeless(evaluate(Guessing(), dataset, tmp_path / "whole").content)
    out, rng, killed = tmp_path / "cut", np.random.default_rng(0), 0
    for wanted in sorted(rng.choice(np.arange(1, 11), 2, replace=False)):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(out)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
        )
        while process.poll() is None and lines(out) < wanted:
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0, 0.04)))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed == 2
    before = lines(out)
    assert 0 < before < 12
    assert not (out / "report.json").exists()
    assert timeless(evaluate(Guessing(), dataset, out).content) == whole == on_disk(out)
    assert len(set((out / "photos.jsonl").read_bytes().splitlines())) == lines(out) == 12
    for item in dataset.items:
        name = f"predictions/{item.id}.png"
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def lines(out: Path) -> int:
    file = out / "photos.jsonl"
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def test_a_line_cut_short_is_done_again_and_a_damaged_one_refused(tmp_path: Path) -> None:
    dataset, out = folder(tmp_path / "data"), tmp_path / "r"
    whole = timeless(evaluate(Guessing(), dataset, out).content)
    file = out / "photos.jsonl"
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    assert timeless(evaluate(Guessing(), dataset, out).content) == whole
    (out / "predictions/p2.png").unlink()
    assert timeless(evaluate(Guessing(), dataset, out).content) == whole
    assert (out / "predictions/p2.png").is_file()
    file.write_bytes(b"{}\n" + content)
    with pytest.raises(InputError, match=r"line 1 of .* is damaged"):
        evaluate(Guessing(), dataset, out)
    assert timeless(evaluate(Guessing(), dataset, out, resume=False).content) == whole


def test_a_folder_with_other_settings_is_refused_by_the_setting_that_differs(tmp_path: Path) -> None:
    dataset, out = folder(tmp_path / "data"), tmp_path / "r"
    evaluate(Empty(), dataset, out, limit=2)
    with pytest.raises(InputError, match=r"holds a run with limit = 2, this one has 3"):
        evaluate(Empty(), dataset, out, limit=3)
    with pytest.raises(InputError, match=r"holds a run with method = \"Empty\", this one has \"Guessing\""):
        evaluate(Guessing(), dataset, out, limit=2)
    with pytest.raises(InputError, match=r"protocol\.name"):
        evaluate(Empty(), dataset, out, "tcl", limit=2)
    first, other = (MethodSpec("freeseg-diff", "mini", "cpu", settings={"clusters": k}).identity() for k in (4, 5))
    assert first["settings"]["clusters"] == 4
    assert {k: v for k, v in first.items() if k != "settings"} == {k: v for k, v in other.items() if k != "settings"}


def test_somebody_else_at_work_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    from segwright.evaluation.store import Store

    with (
        Store(tmp_path, {"a": 1}, []),
        pytest.raises(InputError, match="another evaluation is at work"),
        Store(tmp_path, {"a": 1}, []),
    ):
        pass


def test_workers_give_the_same_report(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data")
    one = evaluate(ToySpec("freeseg-diff", "mini", "cpu"), dataset, tmp_path / "one", batch=4)
    two = evaluate(ToySpec("freeseg-diff", "mini", "cpu"), dataset, tmp_path / "two", workers=2)
    assert timeless(one.content) == timeless(two.content)
    broken = replace(dataset, items=(*dataset.items[:3], replace(dataset.items[3], photo=tmp_path / "none.png")))
    with pytest.raises(InputError, match=r"none\.png"):
        evaluate(ToySpec("freeseg-diff", "mini", "cpu"), broken, tmp_path / "three", workers=2)
    with pytest.raises(InputError, match="need a MethodSpec"):
        evaluate(Empty(), dataset, tmp_path / "x", workers=2)


def test_a_mask_of_another_size_and_bad_numbers_are_refused(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data", photos=2)
    Pillow.new("RGB", (5, 5)).save(tmp_path / "data/JPEGImages/p1.png")
    with pytest.raises(InputError, match=r"p1\.png is \(5, 5\) but its mask \(13, 14\)"):
        evaluate(Empty(), dataset, tmp_path / "r")
    for bad in ({"limit": 0}, {"workers": 0}, {"batch": 0}, {"protocol": "x"}, {"extra_words": ["cat"]}):
        with pytest.raises(InputError):
            evaluate(Empty(), dataset, tmp_path / "r2", **bad)  # type: ignore[arg-type]


def task(background: bool, words: tuple[str, ...] = ("cat", "dog"), extra: tuple[str, ...] = ()) -> Task:
    dataset = replace(open_dataset("mini").first(1), words=words, kinds=("thing",) * len(words), official=(), background=background)
    return Task(dataset, OWN, (*words, *extra), Asking(), Path("unused"))


def test_labels_without_background_are_the_argmax_over_words() -> None:
    values = torch.tensor([[0.6, 0.9, 1.0], [0.3, 0.0, 0.0], [0.1, 0.1, 0.0]]).view(3, 1, 3)
    scores = Scores(("cat", "dog"), (0, 1, 2), values)
    result = Segmentation(("cat", "dog"), scores.argmax().numpy(), scores)
    assert settle(result, (1, 3), task(True)).tolist() == [[0, 0, 0]]
    assert settle(result, (1, 3), task(False)).tolist() == [[1, 2, 0]], "no word scores at the last pixel"
    hard = Segmentation(("cat", "dog"), np.array([[0, 2, 1]]))
    assert settle(hard, (1, 3), task(False)).tolist() == [[0, 2, 1]]


def test_words_beyond_the_data_set_are_background_and_sizes_come_back() -> None:
    values = torch.tensor([[0.1, 0.1], [0.2, 0.6], [0.7, 0.3]]).view(3, 1, 2)
    scores = Scores(("cat", "dog", "grass"), (0, 1, 3), values)
    result = Segmentation(scores.words, scores.argmax().numpy(), scores)
    assert settle(result, (1, 2), task(True, extra=("grass",))).tolist() == [[0, 1]]
    wide = settle(result, (2, 8), task(True, extra=("grass",)))
    assert wide.shape == (2, 8)
    assert set(wide.ravel()) == {0, 1}
    assert wide[0, 0] == 0
    assert wide[0, -1] == 1
    hard = Segmentation(("cat", "dog"), np.array([[1, 2]]))
    assert settle(hard, (2, 4), task(True)).tolist() == [[1, 1, 2, 2]] * 2


def test_protocols_change_what_their_table_says() -> None:
    mini = open_dataset("mini").first(1)
    voc = replace(
        mini, name="voc", words=("airplane", "boat", "monitor"), kinds=("thing",) * 3, official=("aeroplane", "boat", "tvmonitor")
    )
    assert OWN.words(voc) == ("airplane", "boat", "monitor")
    assert PROTOCOLS["tcl"].words(voc) == ("aeroplane", "boat", "tvmonitor")
    assert PROTOCOLS["sclip"].words(voc) == ("aeroplane", "ship", "television monitor")
    photo = np.zeros((100, 200, 3), np.uint8)
    assert PROTOCOLS["tcl"].shown(photo).shape == (448, 896, 3)
    assert PROTOCOLS["sclip"].shown(photo).shape == (336, 672, 3)
    assert OWN.shown(photo) is photo
    paper = PAPERS["per-image"]
    assert paper.measure == "miou_per_image"
    assert paper.truth(np.array([[0, 255, 1]]), voc).tolist() == [[0, 0, 1]]
    assert paper.truth(np.array([[255, 1]]), replace(voc, background=False)).tolist() == [[255, 1]]
    for given in ({}, {"templates": ("{}",)}):
        source = MethodSpec("freeseg-diff", "mini", "cpu", settings=given)
        assert settings_for(PROTOCOLS["tcl"], source, voc) == ({} if given else {"templates": TCL_9})
    bare = settings_for(OWN, MethodSpec("ovdiff", "mini", "cpu"), replace(voc, background=False))
    assert bare == {"background": "none"}
    for kind, published in ((CLIPer, CLIPER), (ISeg, ISEG)):
        for name in ("voc", "context", "coco-object", "voc20"):
            there = {k: v for k, v in published.get(name.removeprefix("coco-"), {}).items() if k != "cross_heads"}
            source = MethodSpec(kind.name, "mini", "cpu")
            assert settings_for(find_protocol("paper", kind), source, replace(voc, name=name)) == there
            assert settings_for(OWN, source, replace(voc, name=name)) == {}
    stuff = settings_for(OWN, MethodSpec("cliper", "mini", "cpu"), replace(voc, name="coco-stuff", background=False))
    assert stuff == {"score": 0.0, "threshold": 1e-4, "stretch": False}
    assert len(TCL_9) == 9
    with pytest.raises(InputError, match="no paper's protocol"):
        find_protocol("paper", Empty)


def test_void_as_background_counts_in_the_papers_measure(tmp_path: Path) -> None:
    """An empty prediction: void pixels are right under FreeSeg-Diff's measure, left out under ours."""

    class FreeSegDiff(Empty):
        protocol = "per-image"

    dataset = folder(tmp_path / "data")
    report = evaluate(FreeSegDiff(), dataset, tmp_path / "r", "paper").content
    shares = [np.isin(i.truth(), (0, 255)).mean() / len(set(np.unique(i.truth())) - {255}) for i in dataset.items]
    assert report["measure"] == "miou_per_image"
    assert report["value"] == report["miou_per_image"] == pytest.approx(np.mean(shares))


def test_present_words_only(tmp_path: Path) -> None:
    heard_: list[tuple[str, ...]] = []

    class Asked(Empty):
        def many(self, images: Any, words: Any) -> list[Segmentation]:
            heard_.append(tuple(words))
            return [Segmentation(tuple(words), np.ones(image.shape[:2], np.int64)) for image in images]

    data: Dataset = open_dataset("mini").first(2)
    evaluate(Asked(), data, tmp_path / "r", present_only=True)
    for item, heard in zip(data.items, heard_, strict=True):
        assert heard == tuple(data.words[i - 1] for i in np.unique(item.truth()) if i)
        assert (read_label_map(tmp_path / f"r/predictions/{item.id}.png") == data.words.index(heard[0]) + 1).all()
        assert read(item.photo).shape == (128, 128, 3)


def test_photos_and_truths_that_were_replaced_are_measured_anew(tmp_path: Path) -> None:
    dataset, out = folder(tmp_path / "data"), tmp_path / "r"
    before = evaluate(Guessing(), dataset, out).content
    photo, mask = (tmp_path / f"data/{name}/p3.png" for name in ("JPEGImages", "SegmentationClass"))
    for file in (photo, mask):
        content = file.read_bytes()
        with Pillow.open(file) as picture:
            other = ImageChops.invert(picture) if file is photo else picture.point(lambda index: 0)
        other.save(file)
        whole = evaluate(Guessing(), dataset, tmp_path / f"whole-{file.parent.name}").content
        assert timeless(evaluate(Guessing(), dataset, out).content) == timeless(whole)
        assert whole["miou"] != before["miou"]
        file.write_bytes(content)
    assert timeless(evaluate(Guessing(), dataset, out).content) == timeless(before)
    prediction = out / "predictions/p1.png"
    content = prediction.read_bytes()
    prediction.write_bytes((out / "predictions/p2.png").read_bytes())
    evaluate(Guessing(), dataset, out)
    assert prediction.read_bytes() == content


def test_ids_that_are_not_utf8(tmp_path: Path) -> None:
    dataset, out = folder(tmp_path / "data"), tmp_path / "r"
    strange = replace(dataset, items=(replace(dataset.items[0], id="caf\udce9"), *dataset.items[1:]))
    assert strange.items[0].id == "caf\\udce9"
    evaluate(Guessing(), strange, out)
    assert json.loads((out / "photos.jsonl").read_text("utf8").splitlines()[0])["id"] == "caf\\udce9"
    before = (out / "photos.jsonl").read_bytes()
    evaluate(Guessing(), strange, out)
    assert (out / "photos.jsonl").read_bytes() == before, "known again"


def test_open_gives_no_words_and_knows_classes_by_their_names(tmp_path: Path) -> None:
    dataset, method = folder(tmp_path / "d"), Finding()
    report = evaluate(method, dataset, tmp_path / "r", "open").content
    assert method.asked == [None]
    hit, union = 0, 0
    for item in dataset.items:
        truth = item.truth()
        found = np.zeros(truth.shape, bool)
        found[:, : (truth.shape[1] + 1) // 2] = True
        hit += int((found & (truth == 3)).sum())
        union += int(((found | (truth == 3)) & (truth != 255)).sum())
    assert report["iou"]["sofa"] == pytest.approx(hit / union)
    assert report["iou"]["cat"] == 0
    with pytest.raises(InputError, match="gives no words"):
        evaluate(method, dataset, tmp_path / "p", "open", present_only=True)
