"""Jobs for the campaigns that disturb them: what starts one, and what it must leave in the end.

Those of ``table`` are quick and need no networks; those of ``more`` are done in several processes, make pictures with real
networks, or are done by people and over a network. A job that is begun again goes on where it was.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import hub
import numpy as np
import torch
from common import contents
from evaluation.toys import Guessing, folder
from huggingface_hub import close_session, constants
from runs.toy import WORDS, make_photos, spec

from segwright.errors import SegwrightError
from segwright.evaluation.report import TIMING
from segwright.evaluation.run import evaluate
from segwright.files.disk import TEMPORARY
from segwright.files.masks import write_label_map
from segwright.methods.ovdiff import making
from segwright.methods.ovdiff.support import SupportSettings
from segwright.models.hub import Fetching, fetch
from segwright.models.repositories import File, Part
from segwright.models.sampling import SamplingSettings
from segwright.refine import CRF
from segwright.runs.exports import export
from segwright.runs.reading import open_run
from segwright.runs.refine_masks import RefinementSettings, refine_masks
from segwright.runs.review import Decision, Review
from segwright.runs.segment import segment
from segwright.untrusted import decode_object
from segwright.weights import load

COMMIT = "c0" * 20
SLOW = ("workers", "prototypes", "ray")  # of ``more``
Make = Callable[[Path], None]  # into a folder
Result = Callable[[Path], Any]  # of a finished one; equal to an undisturbed one's


class Jobs:
    """Inputs for all jobs, made once; ``table`` and ``more`` hold jobs, each with ``start`` and ``result``."""

    def __init__(self, place: Path) -> None:
        self.place = place
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
        self.more: dict[str, tuple[Make, Result]] = {
            "review": (self._review, self._reviewed),
            "fetch": (self._fetch, self._fetched),
            "workers": (lambda out: self._segment(out, workers=2), self._segmented),
            "prototypes": (self._prototypes, contents),
            "ray": (self._segment_by_ray, self._segmented),
        }
        self.whole: dict[str, Any] = {}
        self.decided = self.place / "decided"  # what a reviewer was told is kept

    def undisturbed(self, name: str) -> Any:
        """What the job leaves if nothing happens; done once. Several processes are held against one."""
        if name not in self.whole:
            start, result = (self.table | self.more)["segment" if name in ("workers", "ray") else name]
            start(self.place / "whole" / name)
            self.whole[name] = result(self.place / "whole" / name)
        return self.whole[name]

    def check(self, name: str, out: Path) -> None:
        """A disturbed job that was brought to its end is as an undisturbed one."""
        found, whole = (self.table | self.more)[name][1](out), self.undisturbed(name)
        assert found == whole, f"{name}: other results: {differing(found, whole)}"
        left = [p for p in out.rglob("*") if p.name.startswith(TEMPORARY)]
        assert not left, f"{name}: left over: {left}"

    def _segment(self, out: Path, **how: Any) -> None:
        for outcome in segment(self.photos, spec(), out, WORDS, batch=2, **how):
            if outcome.error is not None:
                raise outcome.error

    def _segment_by_ray(self, out: Path) -> None:
        paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        with mock.patch.dict(os.environ, {"PYTHONPATH": paths}):  # actors find the toy
            self._segment(out, workers=2, engine="ray")

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

    def _review(self, out: Path) -> None:
        """Somebody decides on each photo twice, sees what is decided already, and notes down what was said to be kept."""
        if not out.exists():
            self.decided.unlink(missing_ok=True)
            out.mkdir(parents=True)
        review = Review(open_run(self.exported))
        review.file = out / "review.jsonl"
        with open(self.decided, "a") as told:
            for verdict in ("rejected", "accepted"):
                for name in sorted(review.names):
                    known = review.decisions().get(name)
                    if known is not None and verdict in (known.verdict, "rejected"):
                        continue
                    kept = review.decide(Decision(name, verdict, by="ann", seen=known.number if known else 0))
                    told.write(f"{name} {kept.number} {verdict}\n")
                    told.flush()

    def _reviewed(self, out: Path) -> Any:
        review = Review(open_run(self.exported))
        review.file = out / "review.jsonl"
        lines = [decode_object(line) for line in (out / "review.jsonl").read_bytes().splitlines()]
        there = [f"{line['name']} {line['number']} {line['verdict']}" for line in lines]
        told = self.decided.read_text().splitlines()
        assert set(told) <= set(there), f"decisions lost: {sorted(set(told) - set(there))}"
        assert len(there) == len(set(there))
        return there, {name: one.verdict for name, one in review.decisions().items()}

    def _prototypes(self, out: Path) -> None:
        sampling = SamplingSettings(steps=1, guidance=1.0, negative="")
        settings = SupportSettings(pictures=3, batch=1, sampling=sampling, extractors=("sd",), parts=2)
        with mock.patch.object(making, "ovdiff_networks", return_value=self.networks):
            making.prototypes(("tv", "apple"), out, support=settings)

    def _fetch(self, out: Path) -> None:
        with self._hub(out) as part:
            fetch(part, Fetching(notify=lambda text: None))

    @contextmanager
    def _hub(self, cache: Path) -> Iterator[Part]:
        """A hub on 127.0.0.1 with one repository, asked in place of huggingface.co by whoever has that cache."""
        rng = np.random.default_rng(0)
        files = {"config.json": b"{}", **{f"{i}.safetensors": rng.bytes(size) for i, size in enumerate((400_000, 3_000_000))}}
        part = Part("a/b", COMMIT, "none", tuple(File(name, len(content)) for name, content in files.items()))
        with ExitStack() as stack:
            served = stack.enter_context(hub.serving())
            served.add("a/b", files, COMMIT)
            template = served.address + "/{repo_id}/resolve/{revision}/{filename}"
            set_to = {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": False, "ENDPOINT": served.address}
            for name, value in {**set_to, "HUGGINGFACE_CO_URL_TEMPLATE": template}.items():
                stack.enter_context(mock.patch.object(constants, name, value))
            stack.enter_context(mock.patch.dict(os.environ, {"NO_PROXY": "127.0.0.1,localhost"}))
            close_session()
            stack.callback(close_session)
            yield part

    def _fetched(self, out: Path) -> Any:
        (snapshot,) = out.glob("models--a--b/snapshots/*")
        blobs = {name: len(content) for name, content in contents(out / "models--a--b/blobs").items()}
        return contents(snapshot), blobs


def differing(found: Any, whole: Any) -> str:
    """Names of what differs, where results are files or pairs that begin with files."""
    one, two = (content[0] if isinstance(content, tuple) else content for content in (found, whole))
    if not (isinstance(one, dict) and isinstance(two, dict)):
        return "all"
    return ", ".join(sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))) or "more than files"


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
