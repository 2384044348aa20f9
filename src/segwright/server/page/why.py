"""How a result came about, region by region, and the Critical Look's report of a photo, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from segwright.diagnosis.report import heat_over
from segwright.diagnosis.run import SECTIONS
from segwright.diagnosis.subject import PARTS, DiagnoseSettings, Subject, prompt_with
from segwright.errors import InputError
from segwright.files.html import figure, image_bytes
from segwright.server.page.figure import UNLABELLED, percent, regions_figure
from segwright.server.page.work import Job
from segwright.server.page.workspace import Result
from segwright.types import Image
from segwright.weights import Networks
from segwright.words.vocabulary import parse_words

RIVALS = 5  # words shown a region
SIDE = 220  # pixels of a map


def why(result: Result, job: Job | None = None) -> str:
    """The regions to choose from, a section for each of them, and the method's own steps.

    Raises:
        Stopped: the job was stopped.
    """
    job, found = job or Job(), result.segmentation
    labels = [int(label) for label in np.unique(found.labels)]
    parts = []
    for i, label in enumerate(labels):
        job.report(f"Looking at {_word(result, label)}", i / len(labels))
        parts.append(_section(result, label))
    regions = regions_figure(result.image, found, result.photo, picks=True)
    return f'{regions}{"".join(parts)}<div class="sw-steps">{_steps(result)}</div>'


def diagnose(image: Image, photo: str, words: str, parts: Sequence[str], networks: Networks, *, job: Job | None = None) -> str:
    """The Critical Look's report: where the networks' features fail on this photo.

    Args:
        words: as typed.
        parts: of ``PARTS``.

    Raises:
        InputError: no words or no parts.
        Stopped: the job was stopped.
    """
    job = job or Job()
    if not parts:
        raise InputError(f"choose at least one part of the report: {', '.join(PARTS)}")
    named = parse_words(words)
    caption = networks.captioner.caption([image])[0]
    subject = Subject(photo, image, named, prompt_with(networks, caption, named), caption)
    head = f"<p>Caption: <q>{escape(caption)}</q>. Prompt: <q>{escape(subject.prompt)}</q>.</p>"
    wanted = [part for part in PARTS if part in parts]
    done: dict[str, str] = {}
    for i, part in enumerate(wanted):
        job.report(f"Diagnosing: {part}", i / len(wanted), _report(head, done, wanted))
        done[part] = SECTIONS[part](networks, subject, DiagnoseSettings()).html()
    return _report(head, done, wanted)


def _report(head: str, done: Mapping[str, str], wanted: Sequence[str]) -> str:
    """The parts that are done, each to fold away, below their list, which says what is still to come."""
    entries = (f'<li><a href="#sw-part-{p}">{p}</a></li>' if p in done else f"<li>{p} ...</li>" for p in wanted)
    folds = (f'<details open id="sw-part-{p}"><summary>{p}</summary>{html}</details>' for p, html in done.items())
    return f'<div class="sw-steps">{head}<ol class="sw-contents">{"".join(entries)}</ol>{"".join(folds)}</div>'


def _word(result: Result, label: int) -> str:
    return result.segmentation.words[label - 1] if label else UNLABELLED


def _section(result: Result, label: int) -> str:
    where = np.asarray(result.segmentation.labels == label)
    head = f"<h3>{escape(_word(result, label))}, {percent(float(where.mean()))} of the photo</h3>"
    own = result.trace.region(label)
    body = f"{head}{_rivals(result, where)}{own}{_map(result, label)}"
    return f'<section class="sw-section" data-label="{label}" hidden>{body}</section>'


def _rivals(result: Result, where: np.ndarray) -> str:
    """The words that competed for a region: mean scores over its pixels."""
    scores = result.segmentation.scores
    if scores is None:
        return "<p>This method gives labels without scores.</p>"
    means = scores.values.cpu().numpy()[:, where].mean(1)
    order = np.argsort(-means, kind="stable")[:RIVALS].tolist()
    rows = "".join(
        f"<tr><td>{escape(_word(result, scores.labels[i]))}</td><td>{means[i]:.3f}</td>"
        f'<td><meter min="0" max="1" value="{means[i]:.3f}"></meter></td></tr>'
        for i in order
    )
    return f"<p>Who competed: mean score over the region's pixels, after refinement.</p><table>{rows}</table>"


def _map(result: Result, label: int) -> str:
    """Where the word scored."""
    scores = result.segmentation.scores
    if scores is None or label not in scores.labels or not result.trace.has_maps:
        return ""
    values = scores.values[scores.labels.index(label)]
    return figure(image_bytes(heat_over(result.image, values, SIDE)), f"score of {_word(result, label)}")


def _steps(result: Result) -> str:
    """What the method's own page says."""
    if body := result.trace.body():
        return body
    notes = result.segmentation.notes
    caption = f"<p>Caption: <q>{escape(notes['caption'])}</q></p>" if notes.get("caption") else ""
    return f"<h2>Words</h2>{caption}<p>Took part: <b>{escape(', '.join(notes.get('candidates', ())) or 'none')}</b>.</p>"
