"""Method x data set x protocol -> report: resumable, in one process or several."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segwright.datasets.dataset import Dataset
from segwright.errors import InputError
from segwright.evaluation import named_report, report
from segwright.evaluation.asking import Asking
from segwright.evaluation.figures import headline, photo_score
from segwright.evaluation.measuring import Record, Task, measured
from segwright.evaluation.protocols import Protocol, find_protocol, settings_for
from segwright.evaluation.sheet import encode_sheet
from segwright.evaluation.store import Store
from segwright.files.disk import write_all
from segwright.files.seal import seal
from segwright.methods.base import Loaded, MethodSpec, as_source
from segwright.runs.workers import check_workers, parallel, serial
from segwright.words.published import class_names, unasked
from segwright.words.synonyms import spelled, split_names
from segwright.words.vocabulary import check_words

FORMAT = 2  # of run.json and photos.jsonl


@dataclass(frozen=True)
class Report:
    """What ``evaluate`` returns.

    Attributes:
        folder: with report.json, report.md, contact.png, predictions/, photos.jsonl and run.json.
        content: report.json's.
    """

    folder: Path
    content: dict[str, Any]

    @property
    def miou(self) -> float:
        """Dataset-level mIoU, 0..1, whatever the protocol's headline is; the protocol "named" has none."""
        return float(self.content["miou"])


def evaluate(
    method: Any,
    dataset: Dataset,
    out: str | os.PathLike[str],
    protocol: str = "segwright",
    limit: int | None = None,
    *,
    workers: int = 1,
    batch: int = 1,
    resume: bool = True,
    extra_words: Sequence[str] = (),
    present_only: bool = False,
    absent: int | None = None,
    only: Literal["absent", "one"] | None = None,
    seed: int = 0,
    progress: bool | None = False,
) -> Report:
    """Measure a method on a data set and write a report; a run that was interrupted resumes.

    Args:
        method: a ``MethodSpec``, a loaded method, or a function of several photos and words -> their segmentations.
        dataset: from ``segwright.datasets.open_dataset``.
        out: the report's folder. Begun with other settings, it is refused.
        protocol: "segwright", "tcl", "sclip", "named", "open" or "paper"; see ``segwright.evaluation.protocols``.
        limit: the first so many photos.
        workers: processes on the CPU; needs a ``MethodSpec``. The report is the same whatever the number.
        batch: photos through the networks at once; a kill loses at most ``batch`` times ``workers`` photos.
        resume: False throws away what is in ``out``.
        extra_words: asked for as well, counted as background where they are found (the kinds of ground, for instance);
            a method that distinguishes stuff takes them for stuff.
        present_only: ask each photo only for the words in its truth, as weakly supervised seeds are measured.
        absent: for the protocol "named": so many words a photo that are not in it (2 if None).
        only: for the protocol "named": "absent": ask for those words only; "one": for one word a photo, present or absent
            with equal chance.
        seed: of the bootstrap, and of the absent words.
        progress: a bar on standard error; None: only at a terminal.

    Raises:
        InputError: a photo or mask that cannot be used, unusable settings, or a folder with another run.
        WeightsError: networks that cannot be loaded.
        OutputError: results that cannot be written.
    """
    if batch < 1:
        raise InputError(f"batch must be 1 or more, got {batch}")
    source = as_source(method)
    check_workers(source, workers)
    dataset = dataset.first(limit)
    source = source.for_data(dataset.name)
    rules = find_protocol(protocol, source.kind)
    dataset, listed = rules.scored(dataset), source.of_profile.get("names")
    names = class_names(listed, dataset.name, dataset.words, rules.words(dataset))
    silent = frozenset(n for n, word in zip(names, dataset.words, strict=True) if word in unasked(listed, dataset.name))
    asked = check_words([*names, *extra_words])
    stuff = [asked[i] for i, kind in enumerate(dataset.kinds) if kind == "stuff"]
    source = source.with_settings(settings_for(rules, source, dataset))
    source = source.with_option("stuff", (*stuff, *asked[len(dataset.words) :]))
    source.fetch(words=rules.given)
    task = Task(dataset, rules, asked, _asking(rules, present_only, absent, only, seed), Path(out) / "predictions", silent)
    if rules.given:
        source.prepare(split_names(task.without_silent(asked))[0])  # first: what is made for the words is part of the identity
    identity = _identity(source, task, limit)
    with Store(out, identity, dataset.items, resume) as store:
        todo = [item for item in dataset.items if item.id not in store.done]
        several = workers > 1 and len(todo) > 1
        do = partial(measured, task=task, batch=batch)
        run = parallel(source, todo, do, workers) if several else serial(source, todo, do)
        for record in _shown(run, store, task, progress):
            store.add(record)
        return _finish(store, identity, task, seed)


def _asking(rules: Protocol, present_only: bool, absent: int | None, only: str | None, seed: int) -> Asking:
    """What the arguments of ``evaluate`` mean.

    Raises:
        InputError: two that exclude each other.
    """
    if rules.unlabelled:
        if present_only:
            raise InputError("the protocol named asks for absent words; leave present_only out, or choose another protocol")
        if only not in (None, "absent", "one"):
            raise InputError(f"only must be absent or one, got {only!r}")
        return Asking(only or "named", 2 if absent is None else absent, seed)  # type: ignore[arg-type]
    if not rules.given and present_only:
        raise InputError(f"the protocol {rules.name} gives no words; leave present_only out, or choose another protocol")
    if absent is not None or only is not None:
        raise InputError(f"absent and only are settings of the protocol named, not of {rules.name}; add --protocol named")
    return Asking("present" if present_only else "all" if rules.given else "open")


def _identity(source: MethodSpec | Loaded, task: Task, limit: int | None) -> dict[str, Any]:
    """All that the report depends on. The folder of the data is not in it, so that data can be moved."""
    dataset = task.dataset
    ids = hashlib.sha256("\n".join(item.id for item in dataset.items).encode()).hexdigest()
    made = source.made_for(split_names(task.without_silent(task.asked))[0])
    return {
        "format": FORMAT,
        **source.identity(words=task.protocol.given),
        **({"made": made} if made else {}),
        "data": dataset.name,
        "split": dataset.split,
        "limit": limit,
        "photos": len(dataset.items),
        "ids_sha256": ids,
        "words": dataset.words,
        "asked": spelled(task.asked),
        **({"silent": sorted(task.silent)} if task.silent else {}),
        "asking": asdict(task.asking),
        "background": dataset.background,
        "protocol": asdict(task.protocol),
    }


def _shown(run: Iterator[Record], store: Store, task: Task, progress: bool | None) -> Iterator[Record]:
    """The records as they come, under a bar with time left and the mIoU so far."""
    from tqdm import tqdm

    classes = len(task.dataset.words) + 1
    so_far = np.zeros((classes, classes), np.int64)
    for record in store.done.values():
        so_far += record.cells.matrix(classes)
    off = {None: None, True: False, False: True}[progress]
    with tqdm(total=len(task.dataset.items), initial=len(store.done), unit="photo", disable=off, leave=False) as bar:
        for record in run:
            so_far += record.cells.matrix(classes)
            yield record
            bar.set_postfix_str(f"mIoU {100 * headline(so_far, task.dataset.background):.1f}", refresh=False)
            bar.update()


def _finish(store: Store, identity: dict[str, Any], task: Task, seed: int) -> Report:
    """report.json, report.md, contact.png and what the protocol adds, all of them or none."""
    records = [store.done[item.id] for item in task.dataset.items]
    kind = named_report if task.protocol.unlabelled else report
    content = kind.make_report(identity, records, task, seed)
    items = {item.id: item for item in task.dataset.items}
    shown = {kind: [items[i] for i in ids] for kind, ids in content["shown"].items()}
    classes = len(task.dataset.words) + 1
    scores = {i: photo_score(store.done[i].cells, classes) for ids in content["shown"].values() for i in ids}
    files = {
        store.folder / "report.json": seal(content),
        store.folder / "report.md": kind.markdown(content).encode(),
    }
    files |= {store.folder / name: picture for name, picture in kind.pictures(content).items()}
    if any(shown.values()):
        files[store.folder / "contact.png"] = encode_sheet(shown, scores, task)
    write_all(dict(files))
    return Report(store.folder, content)
