"""The protocol "named" against a slow twin that reads the predictions from disk; the draw; resuming; refusals."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from toys import WORDS, Bare, Empty, Guessing, Knowing, folder

from segwright.cli import main
from segwright.datasets.dataset import Dataset
from segwright.errors import InputError
from segwright.evaluation.compare import compare, table
from segwright.evaluation.run import evaluate
from segwright.files.masks import read_label_map
from segwright.types import Image, Segmentation

MORE = (*WORDS, "tree", "car", "bird", "boat")


class Sure(Bare):
    """Guesses some of the words by the photo's bytes, on a part of it, and says how sure it is."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        self.asked.append(tuple(words or ()))
        return [self._one(image, tuple(words or ())) for image in images]

    def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
        rng = np.random.default_rng(int(image.astype(np.int64).sum()))
        labels = np.where(rng.random(image.shape[:2]) < 0.5, rng.integers(0, len(words) + 1, image.shape[:2]), 0)
        sure = {word: round(float(value), 1) for word, value in zip(words, rng.random(len(words)), strict=True)}
        kept = np.array([0, *(i if sure[word] > 0.4 else 0 for i, word in enumerate(words, 1))])
        return Segmentation(words, kept[labels], confidence=sure)


def world(tmp_path: Path, photos: int = 6) -> Dataset:
    """Some words are in some photos only, one of them on less than 0.5 % of it."""
    from segwright.datasets import open_dataset
    from segwright.files.masks import write_label_map

    root = tmp_path / "data"
    folder(root, photos=photos, side=20)
    for i in range(photos):
        file = root / f"SegmentationClass/p{i}.png"
        truth = read_label_map(file)
        truth[truth == 1 + i % 3] = 0
        truth[0, 0] = 4 if i % 2 else truth[0, 0]
        write_label_map(file, truth)
    (root / "classes.txt").write_text("\n".join(MORE) + "\n", "utf8")
    return open_dataset("folder", root)


def slow_draw(dataset: Dataset, absent: int, seed: int) -> dict[str, list[str]]:
    """What docs/evaluation.md says, word for word."""
    drawn = {}
    for item in dataset.items:
        there = {dataset.words[i - 1] for i in np.unique(item.truth()) if i not in (0, 255)}
        key = {w: hashlib.sha256(f"{seed}:{item.id}:{w}".encode()).hexdigest() for w in dataset.words}
        chosen = there | set(sorted(set(dataset.words) - there, key=key.__getitem__)[:absent])
        drawn[item.id] = [w for w in dataset.words if w in chosen]
    return drawn


def test_every_figure_against_a_slow_twin(tmp_path: Path) -> None:
    dataset, method = world(tmp_path), Sure()
    report = evaluate(method, dataset, tmp_path / "r", "named", absent=3, seed=5).content
    drawn = slow_draw(dataset, 3, 5)
    assert [list(words) for words in method.asked] == [drawn[item.id] for item in dataset.items]
    hit, union = defaultdict(int), defaultdict(int)
    there, scores, given, areas = [], [], [], []
    from segwright.images import read

    for item in dataset.items:
        truth, found = item.truth(), read_label_map(tmp_path / f"r/predictions/{item.id}.png")
        sure = Sure().many([read(item.photo)], drawn[item.id])[0].confidence
        truth, found = truth[truth != 255], found[truth != 255]
        for word in drawn[item.id]:
            label = MORE.index(word) + 1
            true, region = truth == label, found == label
            if true.any():
                hit[word] += int((true & region).sum())
                union[word] += int((true | region).sum())
            if 0 < true.mean() <= 0.005:
                continue
            there.append(bool(true.any()))
            scores.append(sure[word])
            given.append(bool(region.mean() > 0.005))
            areas.append(float(region.mean()))
    ious = {word: hit[word] / union[word] for word in hit}
    assert {w: v for w, v in report["iou"].items() if v is not None} == pytest.approx(ious)
    assert report["value"] == report["iou_present"] == pytest.approx(np.mean(list(ious.values())))
    is_there, was_given = np.array(there), np.array(given)
    assert report["found"] == pytest.approx(was_given[is_there].mean())
    assert report["false_alarms"] == pytest.approx(was_given[~is_there].mean())
    assert report["absent_area"] == pytest.approx(np.array(areas)[~is_there].mean())
    assert report["right"] == pytest.approx((was_given == is_there).mean())
    assert report["average_precision"] == pytest.approx(average_precision_score(is_there, scores))
    assert report["asked"] == {
        "present": int(is_there.sum()),
        "absent": int((~is_there).sum()),
        "all": sum(map(len, drawn.values())),
    }
    for row in report["curve"]:
        above = np.array(scores) >= row["confidence"]
        assert (row["found"], row["false_alarms"]) == pytest.approx((above[is_there].mean(), above[~is_there].mean()))
    low, high = report["intervals"]["false_alarms"]
    assert low < report["false_alarms"] < high
    picture = ElementTree.fromstring((tmp_path / "r/found-against-false-alarms.svg").read_text("utf8"))
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 1
    assert "absent words that are given one" in (tmp_path / "r/report.md").read_text("utf8")


def test_truth_and_silence(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "data")
    truth = evaluate(Knowing(dataset), dataset, tmp_path / "t", "named", absent=1).content
    assert (truth["iou_present"], truth["found"], truth["average_precision"], truth["curve"]) == (1, 1, None, [])
    silent = evaluate(Empty(), world(tmp_path / "w"), tmp_path / "e", "named").content
    assert (silent["iou_present"], silent["found"], silent["false_alarms"], silent["absent_area"]) == (0, 0, 0, 0)


def test_only_absent_and_only_one(tmp_path: Path) -> None:
    dataset, method = world(tmp_path, photos=14), Sure()
    absent = evaluate(method, dataset, tmp_path / "a", "named", absent=2, only="absent").content
    assert absent["measure"] == "false_alarms"
    assert (absent["asked"]["present"], absent["iou_present"], absent["found"]) == (0, None, None)
    one = evaluate(method, dataset, tmp_path / "o", "named", only="one", limit=14).content
    assert one["measure"] == "right"
    assert one["asked"]["all"] == 14
    assert 2 < one["asked"]["present"] < 12


def test_words_do_not_depend_on_how_a_run_goes(tmp_path: Path) -> None:
    dataset = world(tmp_path)
    whole = evaluate(Sure(), dataset, tmp_path / "whole", "named").content
    evaluate(Sure(), dataset, tmp_path / "cut", "named")
    lines = (tmp_path / "cut/photos.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut/photos.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:9])
    method = Sure()
    resumed = evaluate(method, dataset, tmp_path / "cut", "named", batch=3).content
    assert len(method.asked) == 4
    assert {k: v for k, v in resumed.items() if k != "timing"} == {k: v for k, v in whole.items() if k != "timing"}
    with pytest.raises(InputError, match="asking"):
        evaluate(Sure(), dataset, tmp_path / "cut", "named", absent=3)


def test_reports_are_compared_on_the_same_words(tmp_path: Path) -> None:
    dataset = world(tmp_path)
    for name, method, seed in (("guess", Guessing(), 0), ("sure", Sure(), 0), ("other", Sure(), 1)):
        evaluate(method, dataset, tmp_path / name, "named", seed=seed)
    first, second, third = compare([tmp_path / "guess", tmp_path / "sure", tmp_path / "other"])
    assert second.difference is not None
    assert second.difference.value == pytest.approx(second.report["iou_present"] - first.report["iou_present"])
    assert third.note == "not paired: other asking"
    assert "false alarms" in table([first, second, third])


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"protocol": "named", "absent": 0}, "absent must be 1 or more"),
        ({"protocol": "named", "present_only": True}, "leave present_only out"),
        ({"absent": 2}, "add --protocol named"),
        ({"protocol": "named", "only": "x"}, "only must be"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, how: dict[str, object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        evaluate(Empty(), folder(tmp_path / "data"), tmp_path / "r", **how)  # type: ignore[arg-type]


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--data", "mini", "--preset", "mini", "--device", "cpu", "--limit", "2", "--protocol", "named"]
    assert main([*command, "--only", "absent", "--method", "freeseg-diff", "-o", str(tmp_path / "r")]) == 0
    report = json.loads((tmp_path / "r/report.json").read_text("utf8"))
    assert "<- the protocol's headline" in capsys.readouterr().out
    assert report["asked"] == {"present": 0, "absent": 4, "all": 4}
