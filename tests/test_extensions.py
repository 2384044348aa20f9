"""A method, a refiner, an export format, a preset and a data set of somebody's own: one new file (this one) and at most one
line in a table, and the command line, the page and the evaluation find it."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr
import hub
import numpy as np
import pytest
import torch
from evaluation.toys import make_folder

import segwright as sw
from segwright import datasets, methods, presets, refine
from segwright.cli import main, parser
from segwright.datasets.dataset import Dataset
from segwright.datasets.folders import folder
from segwright.errors import InputError
from segwright.evaluation import table_report, table_rows, tables
from segwright.files.html import Page
from segwright.files.masks import read_label_map
from segwright.methods.base import Method
from segwright.mini.voc import data_folder
from segwright.refine.base import Refiner, check_pair
from segwright.refine.pipeline import Row
from segwright.runs import exports
from segwright.runs.exports.objects import ExportSettings
from segwright.runs.reading import Collection
from segwright.server.page.app import make
from segwright.server.page.workspace import Workspace
from segwright.types import Image, Scores, Segmentation
from segwright.weights import Networks

PHOTO = data_folder() / "JPEGImages" / "val_00000.jpg"
PATH = f"{__name__}:Toy"


@dataclass(frozen=True)
class ToySettings:
    share: float = 0.5
    refine: Row = None
    seed: int = 0


@dataclass(frozen=True)
class Toy(Method):
    """The first word has the left share of every photo."""

    networks: Networks
    settings: ToySettings
    name: ClassVar = "toy"
    paper: ClassVar = "no paper; a test's"
    Settings: ClassVar = ToySettings

    def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
        return [self._one(image, tuple(words or ("thing",))) for image in images]

    def _one(self, image: Image, words: tuple[str, ...]) -> Segmentation:
        height, width = image.shape[:2]
        left = (torch.arange(width) < self.settings.share * width).float().expand(height, width)
        scores = self.refined(image, Scores(words, (0, 1), torch.stack([1 - left, left])))
        return Segmentation(labels=scores.argmax().numpy(), words=words, scores=scores)

    def explain(self, image: Image, words: Sequence[str] | None = None, title: str = "") -> Page:
        return Page(title, title, "<p>Half each.</p>")


@dataclass(frozen=True)
class Flip(Refiner):
    """What was left is right."""

    amount: float = 1.0
    name: ClassVar = "flip"

    def __call__(self, image: Image, scores: Scores, networks: Networks | None = None) -> Scores:
        check_pair(image, scores)
        return replace(scores, values=torch.lerp(scores.values, scores.values.flip(2), self.amount))

    def explain(self, image: Image, scores: Scores, networks: Networks | None = None, title: str = "") -> Page:
        return Page(title, title, "<p>Turned over.</p>")


def write(run: Collection, settings: ExportSettings) -> Iterator[tuple[str, bytes]]:
    """An export format."""
    for photo in run:
        yield f"{photo.name}.toy", json.dumps({"size": photo.size, "least": settings.min_area}).encode()


def read(root: Path | None, split: str, words: Sequence[str] | None = None) -> Dataset:
    """A data set's reader."""
    assert root is not None
    return replace(folder(root, split, words), name="toys", split=split)


@pytest.fixture(params=["toy", PATH])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The method by another package's entry point, and by its path."""
    if request.param == "toy":
        _install(monkeypatch)
    return str(request.param)


def _install(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.metadata.entry_points

    def entry_points(**chosen: Any) -> Any:
        mine = [importlib.metadata.EntryPoint("toy", PATH, methods.GROUP)] if chosen.get("group") == methods.GROUP else []
        return importlib.metadata.EntryPoints([*there(**chosen), *mine])

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    monkeypatch.setattr(methods, "entry_points", entry_points)


@pytest.fixture
def flip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(refine.REFINERS, "flip", Flip)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def segment(out: Path, *more: object, method: str = PATH) -> np.ndarray:
    """The label map of one photo."""
    options = ("--words", "dog, cat", "--preset", "mini", "--device", "cpu", "--method", method)
    assert run("segment", PHOTO, *options, *more, "-o", out) == 0
    return read_label_map(out / "val_00000.png")


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    return " ".join(capsys.readouterr().out.split())


def dropdowns() -> dict[str, list[str]]:
    """Label -> choices, of the page as it would be served."""
    blocks = make(Workspace("mini", "cpu"), Path("."))
    return {b.label: [str(value) for _, value in b.choices] for b in blocks.blocks.values() if isinstance(b, gr.Dropdown)}


def test_a_method_runs_with_its_settings(method: str, tmp_path: Path) -> None:
    labels = segment(tmp_path / "run", "--set", "share=0.25", method=method)
    assert labels[:, :30].all()
    assert not labels[:, 34:].any()
    told = json.loads((tmp_path / "run/val_00000.json").read_text("utf8"))
    assert (told["method"], told["preset"], told["seed"]) == ("toy", "mini", 0), "though its notes are empty"
    assert told["settings"] == {"share": 0.25, "seed": 0, "refine": None}
    python = sw.load_method(method, "mini", "cpu", share=0.25)(sw.read(PHOTO), ["dog", "cat"])
    assert np.array_equal(labels, python.labels)
    assert run("segment", PHOTO, "--words", "dog", "--preset", "mini", "--method", method, "-o", tmp_path / "run") == 2


def test_a_method_is_listed_with_its_settings(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("methods", method) == 0
    assert "share (number) = 0.5" in capsys.readouterr().out


def test_a_method_of_another_package_is_offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "toy" not in dropdowns()["Method"]
    _install(monkeypatch)
    assert run("methods") == 0
    assert "toy            no paper; a test's" in capsys.readouterr().out
    for command in ("segment", "explain", "evaluate"):
        assert ", toy or package.module:Class" in help_of(command, capsys)
    assert "toy" in dropdowns()["Method"]
    with pytest.raises(InputError, match=r"one of .*, toy, or package"):
        sw.load_method("toys")
    with pytest.raises(InputError, match=r"these have one: .*toy"):
        Method.explain(sw.load_method("toy", "mini", "cpu"), sw.read(PHOTO))


def test_a_method_is_evaluated_explained_and_examined(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--preset", "mini", "--device", "cpu", "--method", method)
    assert run("evaluate", "--data", "mini", "--limit", 2, *options, "-o", tmp_path / "report") == 0
    content = json.loads((tmp_path / "report" / "report.json").read_text("utf8"))
    assert content["photos"] == 2
    assert run("explain", PHOTO, *options, "--words", "dog", "-o", tmp_path / "page.html") == 0
    assert "Half each." in (tmp_path / "page.html").read_text("utf8")
    capsys.readouterr()
    run("check", "--preset", "mini", "--device", "cpu", "--for", method, "--pictures", 1)
    assert method in capsys.readouterr().out


def test_a_method_stands_in_a_table(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"row": "ours", "published": {"mini": 5.0}, "method": method, "settings": {"share": 0.25}}
    about = {"paper": "none", "note": "", "preset": "sd15", "protocol": "segwright"}
    paper = {**about, "tables": {"1": {"title": "a toy's", "rows": [row]}}}
    kept = table_rows.read_paper
    monkeypatch.setattr(table_rows, "FILES", (*table_rows.FILES, "toys"))
    for module in (tables, table_report, table_rows):
        monkeypatch.setattr(module, "read_paper", lambda file: paper if file == "toys" else kept(file))
    assert run("table", "toys/1", "--data", "mini", "--limit", 2, "--device", "cpu", "-o", tmp_path) == 0
    (line,) = json.loads((tmp_path / "toys-1.json").read_text("utf8"))["lines"]
    assert line["missing"] == ""
    assert 0 <= line["measured"]["miou"] < 0.2


def test_a_refiner_is_offered(flip: None, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("segment", "evaluate", "refine"):
        assert "of crf, pamr, g4seg, emi, specks, flip" in help_of(command, capsys)
    assert "one that has a page: g4seg, flip" in help_of("explain", capsys)
    assert run("methods", PATH) == 0
    assert "refine.flip.amount (number) = 1.0" in capsys.readouterr().out
    found = dropdowns()
    assert "flip" in found["Refiner"]
    assert "flip" in found["Refiners, in this order"]


def test_a_refiner_refines(flip: None, tmp_path: Path) -> None:
    plain = segment(tmp_path / "plain", "--set", "share=0.25")
    turned = segment(tmp_path / "turned", "--set", "share=0.25", "--refine", "flip")
    assert np.array_equal(turned, plain[:, ::-1])
    kept = segment(tmp_path / "kept", "--set", "share=0.25", "--refine", "flip", "--set", "refine.flip.amount=0")
    assert np.array_equal(kept, plain)
    coarse = ("--mask", tmp_path / "plain" / "val_00000.png", "--words-map", "1=dog", "--with", "flip", "--preset", "mini")
    assert run("refine", PHOTO, *coarse, "-o", tmp_path / "refined") == 0
    assert np.array_equal(read_label_map(tmp_path / "refined" / "val_00000.png"), turned)
    assert run("explain", PHOTO, *coarse, "-o", tmp_path / "page.html") == 0
    assert "Turned over." in (tmp_path / "page.html").read_text("utf8")


def test_an_export_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    segment(tmp_path / "run")
    with pytest.raises(SystemExit):
        run("export", tmp_path / "run", "--format", "toy", "-o", tmp_path / "out")
    monkeypatch.setitem(exports.FORMATS, "toy", (write, ("rle",), ""))
    assert "label-studio, parquet, toy" in help_of("export", capsys)
    assert run("export", tmp_path / "run", "--format", "toy", "--min-area", 3, "-o", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "val_00000.toy").read_text("utf8")) == {"size": [128, 128], "least": 3}


def test_a_preset(stocked: hub.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(presets.PRESETS, "toy", replace(presets.PRESETS["sd15"], name="toy", image_size=64))
    for command in ("segment", "evaluate", "refine", "fetch", "serve", "check"):
        assert "mini, toy" in help_of(command, capsys)
    assert run("presets") == 0
    assert "toy: 64 px" in capsys.readouterr().out
    assert run("fetch", "toy", "--for", "maskclip") == 0
    options = ("--words", "dog, cat", "--preset", "toy", "--device", "cpu", "--method", "maskclip")
    assert run("segment", PHOTO, *options, "-o", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf8"))["preset"] == "toy"


def test_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = datasets.Source(f"{__name__}:read", "toys", 3, True, ("JPEGImages/ID.png",), ("val",), "as it comes", "CC0")
    monkeypatch.setitem(datasets.DATASETS, "toys", source)
    for command in ("evaluate", "diagnose", "table"):
        assert "toys" in help_of(command, capsys)
    assert run("datasets") == 0
    assert "toys: toys; 3 classes and background" in capsys.readouterr().out
    root = make_folder(tmp_path / "toys")
    options = ("--preset", "mini", "--device", "cpu", "--method", PATH)
    assert run("evaluate", "--data", "toys", "--root", root, *options, "-o", tmp_path / "report") == 0
    content = json.loads((tmp_path / "report" / "report.json").read_text("utf8"))
    assert (content["run"]["data"], content["photos"]) == ("toys", 6)
