"""Jobs without networks for the campaigns that disturb them: what starts one, and what it must leave in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import contents
from evaluation.toys import Guessing, folder
from runs.toy import WORDS, make_photos, spec

from segwright.errors import SegwrightError
from segwright.evaluation.report import TIMING
from segwright.evaluation.run import evaluate
from segwright.files.disk import TEMPORARY
from segwright.files.masks import write_label_map
from segwright.refine import CRF
from segwright.runs.exports import export
from segwright.runs.reading import open_run
from segwright.runs.refine_masks import RefinementSettings, refine_masks
from segwright.runs.segment import segment
from segwright.untrusted import decode_object
from segwright.weights import load

Make = Callable[[Path], None]  # into a folder
Result = Callable[[Path], Any]  # of a finished one; equal to an undisturbed one's


class Jobs:
    """Inputs for all jobs, made once; ``names`` are jobs, each with ``start`` and ``result``."""

    def __init__(self, place: Path) -> None:
        self.photos, self.masks = make_photos(place / "photos", 5), place / "masks"
        self.data = folder(place / "data", photos=4)
        self.masks.mkdir()
        for i in range(5):
            size = (60 + 5 * (i % 4), 64 + 7 * (i % 3))
            write_label_map(self.masks / f"p{i}.png", np.indices(size).sum(0) // 40 % 3)
        self.networks = load("mini", "cpu")
        list(segment(self.photos, spec(), place / "exported", WORDS))
        self.exported = place / "exported"
        self.table: dict[str, tuple[Make, Result]] = {
            "segment": (self._segment, self._segmented),
            "evaluate": (self._evaluate, self._evaluated),
            "refine": (self._refine, self._refined),
            "export": (lambda out: self._export(out, "labelme"), _exported),
        }
        self.whole: dict[str, Any] = {}
        for name, (start, result) in self.table.items():
            start(place / "whole" / name)
            self.whole[name] = result(place / "whole" / name)

    def check(self, name: str, out: Path) -> None:
        """A disturbed job that was brought to its end is as an undisturbed one."""
        assert self.table[name][1](out) == self.whole[name], f"{name}: other results"
        left = [p for p in out.rglob("*") if p.name.startswith(TEMPORARY)]
        assert not left, f"{name}: left over: {left}"

    def _segment(self, out: Path) -> None:
        for outcome in segment(self.photos, spec(), out, WORDS, batch=2):
            if outcome.error is not None:
                raise outcome.error

    def _segmented(self, out: Path) -> Any:
        photos = [line.photo for line in open_run(out).done]
        lines = (out / "manifest.jsonl").read_bytes().count(b"\n")
        assert lines == len(set(photos)) == 5, "a photo lost or doubled"
        return {name: content for name, content in contents(out).items() if name != "manifest.jsonl"}

    def _evaluate(self, out: Path) -> None:
        evaluate(Guessing(), self.data, out)

    def _evaluated(self, out: Path) -> Any:
        report = decode_object((out / "report.json").read_bytes())
        kept = {name: value for name, value in report.items() if name not in (TIMING, "check")}
        lines = (out / "photos.jsonl").read_bytes().splitlines()
        assert {decode_object(line)["id"] for line in lines} == {item.id for item in self.data.items}
        return kept, contents(out / "predictions")

    def _refine(self, out: Path) -> None:
        settings = RefinementSettings((CRF(iterations=1),))
        for one in refine_masks(self.photos, self.masks, out, ["a", "b"], self.networks, settings=settings):
            if one.error is not None:
                raise one.error

    def _refined(self, out: Path) -> Any:
        return {name: content for name, content in contents(out).items() if name.endswith(".png")}

    def _export(self, out: Path, form: str) -> None:
        export(self.exported, form, out)


def _exported(out: Path) -> Any:
    return {name: content for name, content in contents(out).items() if not name.startswith("segwright-export")}


class Forked:
    """Something done in a forked process; its end is a number: 0 done, 2 refused in one sentence, 3 anything else."""

    def __init__(self, do: Callable[[], object], said: Path | None = None) -> None:
        self.pid = os.fork()
        if self.pid:
            return
        code, text = 3, ""
        try:
            torch.set_num_threads(1)  # threads do not come along
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 1), os.dup2(nothing, 2)
            do()
            code = 0
        except SegwrightError as error:
            code, text = (2 if "\n" not in str(error) else 3), str(error)
        except BaseException as error:
            import traceback

            text = "".join(traceback.format_exception(error))
        finally:
            if said is not None:
                with suppress(OSError):
                    said.write_text(text, "utf8")
            os._exit(code)

    def wait(self) -> int:
        """Exit code; minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
