"""Findings as text for a terminal or an issue, and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from segwright.selfcheck.run import Finding

MARK = {True: "ok", False: "NOT AS EXPECTED", None: ""}
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}.bad{background:#fdd}"
    "@media(prefers-color-scheme:dark){body{background:#111;color:#eee}.bad{background:#522}}"
)


def line(finding: Finding) -> str:
    """ "clip: tensors from files: 197 of 197 (expected: all) ok"."""
    expected = f" (expected: {finding.expected})" if finding.expected else ""
    return f"{finding.topic}: {finding.what}: {finding.found}{expected} {MARK[finding.good]}".rstrip()


def verdict(findings: Sequence[Finding]) -> str:
    """One sentence."""
    bad = [f for f in findings if f.good is False]
    judged = sum(f.good is not None for f in findings)
    if not bad:
        return f"All {judged} expectations are met."
    return f"{len(bad)} of {judged} expectations are not met: " + "; ".join(f"{f.topic}, {f.what}" for f in bad)


def page(findings: Sequence[Finding]) -> str:
    """The report as one HTML page without anything from elsewhere."""
    rows = "".join(
        f"<tr{' class=bad' if f.good is False else ''}>"
        + "".join(f"<td>{escape(text)}</td>" for text in (f.topic, f.what, f.found, f.expected, MARK[f.good]))
        + "</tr>"
        for f in findings
    )
    head = "".join(f"<th>{text}</th>" for text in ("", "what", "found", "expected", ""))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>segwright check</title><style>{STYLE}</style>'
        f"<h1>segwright check</h1><p>{escape(verdict(findings))}</p><table><tr>{head}</tr>{rows}</table>"
        f"<details><summary>as text, for an issue</summary><pre>{escape(chr(10).join(map(line, findings)))}</pre>"
        "</details></html>\n"
    )


def write(findings: Sequence[Finding], path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    from segwright.files.disk import atomic_write

    atomic_write(path, page(findings).encode())
