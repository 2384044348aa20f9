"""Edits of what segwright writes and reads again: a run, a report, a bank, refined masks, an export, masks, lists, presets.

    python tests/campaigns/state.py [--size 5000] [--seed 0] [--seconds 3600]

After each edit the commands that read the folder give what they gave before, or refuse it in one sentence; ``segwright doctor``
sees whatever is refused; and after ``--repair`` and another start the results are byte for byte those of an undisturbed run.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Attack, Snapshot, contents, damaged, main, sentence, tried
from evaluation.toys import Empty, Guessing, folder
from runs.toy import WORDS, make_photos, spec
from safetensors.torch import save_file

from segwright.errors import SegwrightError
from segwright.evaluation.compare import compare, table
from segwright.evaluation.report import TIMING
from segwright.evaluation.run import evaluate
from segwright.files.coarse_masks import read_coarse
from segwright.files.masks import write_label_map
from segwright.files.seal import unseal
from segwright.mending.doctor import doctor
from segwright.mending.findings import Examined
from segwright.methods.ovdiff.bank import Bank, write_tensors
from segwright.presets import find_preset
from segwright.refine import CRF
from segwright.runs.exports import export
from segwright.runs.overview import overview
from segwright.runs.reading import open_run
from segwright.runs.refine_masks import RefinementSettings, refine_masks
from segwright.runs.segment import segment
from segwright.runs.sources import find
from segwright.weights import load


def attacked(part: Path, rng: random.Random, names: tuple[str, ...] = ("*",)) -> str:
    """One file of a folder damaged, taken away, or put in another one's place; returns its name."""
    files = sorted(p for name in names for p in part.rglob(name) if p.is_file())
    file = rng.choice(files)
    content = file.read_bytes()
    match rng.randrange(12):
        case 0:
            file.unlink()
        case 1:
            file.write_bytes(rng.choice(files).read_bytes())
        case 2:
            file.unlink()
            file.mkdir()
        case _:
            file.write_bytes(damaged(content, rng))
    return str(file.relative_to(part))


def seen(found: list[Examined]) -> bool:
    return any(one.findings for one in found)


class Run:
    """A run of three photos: exported, looked over, resumed."""

    def __init__(self, place: Path) -> None:
        self.photos, self.run, self.out = make_photos(place / "photos", 3), place / "run", place / "out"
        self.resume()
        self.before, self.snapshot = self.exported(), Snapshot(self.run)

    def resume(self, restart: bool = False) -> None:
        for outcome in segment(self.photos, spec(), self.run, WORDS, restart=restart):
            assert outcome.error is None, outcome.error

    def exported(self) -> Any:
        export(self.run, "coco", self.out)
        overview(self.run, self.out / "page.html")
        content = json.loads((self.out / "annotations.json").read_text("utf8"))
        return {name: content[name] for name in ("images", "annotations", "categories")}

    def attack(self, rng: random.Random) -> str:
        self.snapshot.restore()
        name = attacked(self.run, rng)
        after = tried(self.exported)
        cut = after is not None and tried(lambda: open_run(self.run).cut)
        overlay = name.endswith(".overlay.png")  # the page links to it and does not read it; the doctor does
        # A manifest cut behind a line is that of a run that was killed there: the photos before it come.
        whole = (self.run / "manifest.jsonl").is_file() and self.snapshot.files["manifest.jsonl"].startswith(
            (self.run / "manifest.jsonl").read_bytes()
        )
        assert after in (None, self.before) or cut or whole, f"{name}: another export, and nobody said so"
        found = tried(lambda: doctor(self.run)) or []
        changed = any(
            content != (self.run / n).read_bytes() if (self.run / n).is_file() else True
            for n, content in self.snapshot.files.items()
        )
        assert seen(found) or not changed or after == self.before, f"{name}: the doctor sees nothing"
        assert not (overlay and changed) or seen(found)
        if rng.random() < 0.5:
            tried(lambda: doctor(self.run, repair=True))
        try:
            self.resume()
            outcome = "harmless" if after == self.before else "made again"
        except SegwrightError as error:
            sentence(error)
            tried(lambda: doctor(self.run, repair=True))
            outcome = "repaired"
            if tried(lambda: self.resume() or True) is None:
                outcome = f"refused for {name}"
                self.again()
        assert self.exported() == self.before, f"{name}: {outcome}, and another export"
        now = contents(self.run)
        assert unseal(now["run.json"]) == unseal(self.snapshot.files["run.json"])  # spaces do not count
        for n, content in self.snapshot.files.items():
            assert n in ("run.json", "manifest.jsonl") or now[n] == content, f"{n} is another one after {name}: {outcome}"
        assert not outcome.startswith("refused") or name == "run.json", f"{name}: not mended"
        return f"run {outcome}"

    def again(self) -> None:
        if not (self.run / "run.json").is_file():
            self.snapshot.restore()  # a folder, or nothing, in its place: nothing says that a run is there
            return
        self.resume(restart=True)


class Report:
    """A report of four photos: compared with another one, evaluated again."""

    def __init__(self, place: Path) -> None:
        self.data, self.out, self.other = folder(place / "data", photos=4), place / "report", place / "other"
        evaluate(Empty(), self.data, self.other)
        self.content = self.evaluated()
        self.before, self.snapshot = table(compare([self.other, self.out])), Snapshot(self.out)

    def evaluated(self, resume: bool = True) -> Any:
        found = evaluate(Guessing(), self.data, self.out, resume=resume).content
        assert json.loads((self.out / "report.json").read_bytes())["value"] == found["value"]
        return {key: value for key, value in found.items() if key != TIMING}

    def attack(self, rng: random.Random) -> str:
        self.snapshot.restore()
        names = ("report.json", "photos.jsonl") if rng.random() < 0.7 else ("run.json", "p*.png")
        name = attacked(self.out, rng, names)
        after = tried(lambda: table(compare([self.other, self.out])))
        assert after in (None, self.before), f"{name}: another comparison, and nobody said so"
        found = tried(lambda: doctor(self.out)) or []
        assert seen(found) or after == self.before, f"{name}: the doctor sees nothing"
        if rng.random() < 0.7:
            return "report harmless" if after else "report refused"
        content = tried(self.evaluated)
        if content is None:
            tried(lambda: doctor(self.out, repair=True))
            content = tried(self.evaluated)
            if content is None:
                assert name == "run.json" or (self.out / name).is_dir(), name
                self.snapshot.restore()
                content = self.evaluated(resume=False)
        assert content == self.content, f"{name}: another report"
        return "report made again"


class BankFolder:
    """A bank of two words, without networks."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "bank"
        bank = Bank.make(self.folder, {"support": {"pictures": 2}, "steps": 30})
        for number, (word, kind) in enumerate((("dog", "thing"), ("grass", "stuff"))):
            for file in ("sd.safetensors", "clip.safetensors"):
                write_tensors(bank.path(word) / file, {"average": torch.full((3, 4), float(number))})
            bank.finish(word, kind)
        self.before, self.snapshot = self.read(), Snapshot(self.folder)

    def read(self) -> Any:
        bank = Bank.open(self.folder)
        entries = bank.entries()
        tensors = {(e.word, f): {k: v.tolist() for k, v in bank.tensors(e, f).items()} for e in entries.values() for f in e.files}
        return bank.settings, {e.word: (e.kind, e.number, e.digest) for e in entries.values()}, tensors

    def attack(self, rng: random.Random) -> str:
        self.snapshot.restore()
        name = attacked(self.folder, rng)
        after = tried(self.read)
        lost = name.endswith("word.json") and not (self.folder / name).is_file()  # an unfinished word, which is made again
        assert after in (None, self.before) or lost, f"{name}: another bank, and nobody said so"
        found = tried(lambda: doctor(self.folder)) or []
        assert seen(found) or after == self.before, f"{name}: the doctor sees nothing"
        tried(lambda: doctor(self.folder, repair=True))
        mended = tried(self.read)
        assert mended is None or (mended[0] == self.before[0] and mended[1].items() <= self.before[1].items()), name
        assert mended is not None or (self.folder / name).is_dir(), f"{name}: not mended"
        return "bank harmless" if after == self.before else "bank refused"


class Masks:
    """Masks from files, and what they become."""

    def __init__(self, place: Path) -> None:
        self.photos, self.masks, self.out = make_photos(place / "photos", 3), place / "masks", place / "refined"
        self.masks.mkdir()
        labels = np.arange(64)[None].repeat(60, 0) // 32
        write_label_map(self.masks / "p0.png", labels)
        scores = np.stack([labels == i for i in range(2)]).astype(np.float32)
        np.save(self.masks / "p1.npy", scores)
        save_file({"scores": torch.from_numpy(scores)}, self.masks / "p2.safetensors")
        self.networks = load("mini", "cpu")
        self.refined()
        self.before, self.snapshot, self.given = contents(self.out), Snapshot(self.out), Snapshot(self.masks)

    def refined(self) -> None:
        settings = RefinementSettings((CRF(iterations=1),))
        for one in refine_masks(self.photos, self.masks, self.out, ["a"], self.networks, settings=settings):
            assert one.error is None, one.error

    def attack(self, rng: random.Random) -> str:
        self.snapshot.restore()
        self.given.restore()
        if rng.random() < 0.5:
            name = attacked(self.masks, rng)
            try:
                read_coarse(self.masks / name, (60, 64), {1: "a"})
            except SegwrightError as error:
                sentence(error)
                return "mask refused"
            return "mask read"
        name = attacked(self.out, rng)
        try:
            self.refined()
        except SegwrightError as error:
            sentence(error)
            assert seen(tried(lambda: doctor(self.out)) or []), name
            tried(lambda: doctor(self.out, repair=True))
            if tried(self.refined) is None and (name.endswith(".json") or (self.out / name).is_dir()):
                return "refinement refused"
        except AssertionError:
            assert (self.out / name).is_dir(), name
            return "refinement refused"
        now = contents(self.out)
        for n in ("p0.png", "p1.png", "p2.png"):
            assert now[n] == self.before[n], f"{n} is another one after {name}"
        return "refinement right"


class Inputs:
    """Lists of photos, preset folders, and the record of an export."""

    def __init__(self, place: Path) -> None:
        self.place, self.photos = place, make_photos(place / "photos", 3)
        self.list, self.preset, self.out = place / "photos.txt", place / "preset", place / "export"
        self.list.write_text("".join(f"photos/p{i}.png\n" for i in range(3)), "utf8")
        self.preset.mkdir()
        (self.preset / "segwright.json").write_text(json.dumps({"preset": "sd15", "licence": "openrail"}), "utf8")
        list(segment(self.photos, spec(), place / "run", WORDS))
        export(place / "run", "labelme", self.out)
        self.snapshots = [Snapshot(self.preset), Snapshot(self.out)]
        self.before = contents(self.out)

    def attack(self, rng: random.Random) -> str:
        for snapshot in self.snapshots:
            snapshot.restore()
        match rng.randrange(3):
            case 0:
                self.list.write_bytes(damaged(b"".join(b"photos/p%d.png\n" % i for i in range(3)), rng))
                found = tried(lambda: find(self.list))
                return "list refused" if found is None else "list read"
            case 1:
                attacked(self.preset, rng)
                return "preset refused" if tried(lambda: find_preset(self.preset)) is None else "preset read"
        name = attacked(self.out, rng, ("segwright-export.jsonl", "*.json"))
        if tried(lambda: export(self.place / "run", "labelme", self.out)) is None:
            return "export refused"
        now = contents(self.out)
        assert all(now[n] == content for n, content in self.before.items() if n != "segwright-export.jsonl"), name
        return "export right"


PARTS = (Run, Run, Run, Report, Report, BankFolder, BankFolder, Masks, Inputs)


def make(place: Path) -> Attack:
    made = {part: part(place / part.__name__) for part in (Run, Report, BankFolder, Masks, Inputs)}
    return lambda rng, number: made[PARTS[number % len(PARTS)]].attack(rng)


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", make, 5000))
