"""segwright doctor: what it says of whole, damaged and unfinished folders, and that mending touches nothing that is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from evaluation.toys import Guessing, folder
from runs.toy import WORDS, make_photos, spec

import segwright as sw
from segwright.cli import main
from segwright.errors import InputError, OutputError
from segwright.evaluation.report import TIMING
from segwright.evaluation.run import evaluate
from segwright.files.journal import encode_lines, surviving
from segwright.methods.ovdiff.bank import Bank, write_tensors
from segwright.runs.exports import export
from segwright.runs.segment import segment
from segwright.untrusted import decode_object


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"), 4)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    list(segment(photos, spec(), out, WORDS))
    return out


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_whole_is_not_touched(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in run.iterdir()}
    for more in ([], ["--repair"]):
        assert main(["doctor", str(run), *more]) == 0
        assert capsys.readouterr().out == f"{run}: run, 4 photos whole\n"
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in run.iterdir()} == before


def test_edited_results_are_set_aside_and_made_again(
    run: Path, whole: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = json.loads((run / "p1.json").read_text("utf8"))
    edited["segments"][0]["area"] += 1
    (run / "p1.json").write_text(json.dumps(edited), "utf8")
    (run / "p2.png").unlink()
    with pytest.raises(InputError, match=r"p1\.json' was edited or damaged; start segwright segment again"):
        export(run, "coco", tmp_path / "coco")
    assert main(["doctor", str(run)]) == 1
    said = capsys.readouterr().out
    assert "run, 2 photos whole" in said
    assert f"damaged: {run}/p1.json: it was edited or damaged; --repair sets it aside, and segwright segment makes it again" in said
    assert f"missing: {run}/p2.png" in said
    assert main(["doctor", str(run), "--repair"]) == 0
    assert json.loads((run / "p1.json.damaged").read_text("utf8")) == edited
    assert not (run / "p1.json").exists()
    assert (run / "p1.png").read_bytes() == (whole / "p1.png").read_bytes()
    assert len(export(run, "coco", tmp_path / "coco")) == 1, "the two that are whole"
    assert [o.photo.name for o in segment(photos, spec(), run, WORDS) if not o.earlier] == ["p1.png", "p2.png"]
    (run / "p1.json.damaged").unlink()
    now, then = files(run), files(whole)
    assert now.keys() == then.keys()
    assert all(now[name] == then[name] for name in now if name != "manifest.jsonl")


def test_an_overlay_is_made_again_at_once(run: Path, whole: Path) -> None:
    (run / "p0.overlay.png").write_bytes(b"x")
    (found,) = sw.doctor(run)
    assert [(f.state, f.mended) for f in found.findings] == [("damaged", False)]
    assert found.findings[0].remedy == "--repair makes it again"
    (mended,) = sw.doctor(run, repair=True)
    assert mended.findings[0].mended
    assert (run / "p0.overlay.png").read_bytes() == (whole / "p0.overlay.png").read_bytes()
    assert not sw.doctor(run)[0].findings


def test_lines_that_are_whole_are_kept(run: Path, photos: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (run / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (run / "manifest.jsonl").write_bytes(lines[0] + lines[1].replace(b"done", b"dome") + lines[2] + lines[3])
    with pytest.raises(InputError, match=r"line 2 of .*manifest\.jsonl' is damaged .* run: segwright doctor --repair"):
        list(segment(photos, spec(), run, WORDS))
    assert main(["doctor", str(run), "--repair"]) == 0
    assert "damaged, mended" in capsys.readouterr().out
    assert [o.photo.name for o in segment(photos, spec(), run, WORDS) if not o.earlier] == ["p1.png"]
    assert (run / "manifest.jsonl.damaged").exists()
    del lines[1]  # taken out without a trace: the next line knows
    (run / "manifest.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=r"line 2 of .* is damaged \(the line before it is another one\)"):
        export(run, "coco", run.parent / "coco")
    sw.doctor(run, repair=True)
    assert [o.photo.name for o in segment(photos, spec(), run, WORDS) if not o.earlier] == ["p1.png"]
    assert (run / "p1.png").read_bytes() == (whole / "p1.png").read_bytes()


def test_lines_that_survive() -> None:
    rows = [{"n": i} for i in range(4)]
    lines = encode_lines(rows).splitlines(keepends=True)
    for content, kept, wrong in (
        (lines, [0, 1, 2, 3], []),
        ([lines[0], b"x\n", *lines[2:]], [0, 2, 3], [2]),
        ([lines[0], *lines[2:]], [0, 2, 3], [2]),
        ([*lines[:3], lines[3][:-4]], [0, 1, 2], [4]),
        ([lines[1], lines[0]], [1, 0], [1, 2]),
        ([], [], []),
    ):
        found, numbers = surviving(b"".join(content), decode_object)
        assert [row["n"] for row in found] == kept
        assert numbers == wrong


def test_a_damaged_head_is_said_to_be_lost(run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = json.loads((run / "run.json").read_text("utf8"))
    (run / "run.json").write_text(json.dumps(head | {"words": ["cat", "dog & co", "couch"]}), "utf8")
    with pytest.raises(InputError, match=r"run\.json' is damaged \(its checksum is another one\)"):
        export(run, "coco", run.parent / "coco")
    assert main(["doctor", str(run), "--repair"]) == 1
    assert "cannot be made again; the results stay" in capsys.readouterr().out
    list(segment(photos, spec(), run, WORDS, restart=True))
    assert main(["doctor", str(run)]) == 0


def test_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = folder(tmp_path / "data"), tmp_path / "report"
    whole = evaluate(Guessing(), data, out).content
    assert main(["doctor", str(out / "report.json")]) == 0
    report = json.loads((out / "report.json").read_text("utf8"))
    (out / "report.json").write_text(json.dumps(report | {"miou": 0.99}), "utf8")
    assert main(["compare", str(out)]) == 2
    assert "report.json is damaged (its checksum is another one)" in capsys.readouterr().err
    (out / "predictions/p1.png").write_bytes((out / "predictions/p2.png").read_bytes())
    (found,) = sw.doctor(tmp_path, repair=True)
    assert (found.kind, found.whole) == ("report", 5)
    assert {(Path(f.path).name, f.state) for f in found.findings} == {("report.json", "damaged"), ("p1.png", "damaged")}
    assert json.loads((out / "report.json.damaged").read_text("utf8"))["miou"] == 0.99
    again = evaluate(Guessing(), data, out).content
    assert {k: v for k, v in again.items() if k != TIMING} == {k: v for k, v in whole.items() if k != TIMING}
    assert not sw.doctor(out)[0].findings


def test_a_bank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = Bank.make(tmp_path / "bank", {"support": {"pictures": 2}})
    for word in ("dog", "cat"):
        write_tensors(bank.path(word) / "sd.safetensors", {"average": torch.ones(3, 4)})
        bank.finish(word, "thing")
    head = (bank.folder / "bank.json").read_bytes()
    (bank.folder / "bank.json").write_bytes(head.replace(b"2", b"3"))
    with pytest.raises(InputError, match="its checksum is another one"):
        Bank.open(bank.folder)
    file = bank.path("dog") / "sd.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    word = (bank.path("cat") / "word.json").read_bytes()
    (bank.path("cat") / "word.json").write_bytes(word.replace(b"thing", b"stuff"))
    assert main(["doctor", str(bank.folder)]) == 1
    (mended,) = sw.doctor(bank.folder, repair=True)
    assert (mended.kind, mended.whole) == ("bank", 0)
    assert all(f.mended for f in mended.findings)
    assert json.loads((bank.folder / "bank.json").read_text("utf8")) == json.loads(head)
    assert list(Bank.open(bank.folder).entries()) == []
    assert (bank.path("cat") / "sd.safetensors").exists(), "what is whole is used again"
    assert {(Path(f.path).name, f.state) for f in sw.doctor(bank.folder)[0].findings} == {
        (bank.path("cat").name, "unfinished"),
        (bank.path("dog").name, "unfinished"),
    }
    assert main(["doctor", str(bank.folder)]) == 0


def test_folders_of_folders_and_none(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(run, "labelme", tmp_path / "export")
    assert [(Path(one.folder).name, one.kind) for one in sw.doctor(tmp_path)] == [("export", "export"), ("run", "run")]
    (tmp_path / "empty").mkdir()
    for wrong, sentence in (("empty", "there is no run, bank"), ("absent", "there is no folder")):
        assert main(["doctor", str(tmp_path / wrong)]) == 2
        assert sentence in capsys.readouterr().err


def test_nobody_else_is_at_work(run: Path) -> None:
    pytest.importorskip("fcntl")
    from segwright.files.places import Local

    place = Local(run)
    place.open()
    try:
        assert not sw.doctor(run)[0].findings
        with pytest.raises(InputError, match="is at work in"):
            sw.doctor(run, repair=True)
    finally:
        place.close()


def test_a_line_that_was_cut_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (run / "manifest.jsonl").read_bytes()
    (run / "manifest.jsonl").write_bytes(content[:-1] + b"x")
    assert main(["export", str(run), "--format", "coco", "-o", str(tmp_path / "coco")]) == 0
    assert "the last line of its manifest was cut" in capsys.readouterr().err
    assert main(["doctor", str(run), "--repair"]) == 0
    said = capsys.readouterr().out
    assert "unfinished, mended" in said
    assert "no line of the manifest names it" in said
    assert (run / "manifest.jsonl").read_bytes() == b"".join(content.splitlines(keepends=True)[:3])


def test_an_empty_folder_in_the_place_of_a_file(run: Path, photos: Path, whole: Path) -> None:
    (run / "p1.png").unlink()
    (run / "p1.png").mkdir()
    with pytest.raises(OutputError, match="because it is a folder"):
        list(segment(photos, spec(), run, WORDS))
    sw.doctor(run, repair=True)
    list(segment(photos, spec(), run, WORDS))
    assert (run / "p1.png").read_bytes() == (whole / "p1.png").read_bytes()
