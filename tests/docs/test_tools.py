"""The tools that make and check the site find what they are there to find."""

from __future__ import annotations

from pathlib import Path

from check_site import problems
from cli_page import commands, page

from segwright.cli import parser


def site(folder: Path, **pages: str) -> list[str]:
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, "utf8")
    return list(problems(folder))


def test_a_site_without_fault(tmp_path: Path) -> None:
    one = '<h1 id="top">x</h1><a href="two.html#b">b</a><a href="#top">t</a><a href="https://example.org">out</a><img src="p.png">'
    (tmp_path / "p.png").touch()
    assert site(tmp_path, one=one, two='<p id="b">b</p><link rel="canonical" href="https://example.org">') == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    found = site(tmp_path, one='<a href="gone.html">x</a><a href="two.html#c">y</a><img src="q.png"><a href="#no">z</a>', two="")
    assert found == [
        "one.html: gone.html does not exist",
        "one.html: two.html#c has no such anchor",
        "one.html: #no has no such anchor",
        "one.html: q.png does not exist",
    ]


def test_requests_to_other_hosts_are_found(tmp_path: Path) -> None:
    text = '<link rel="stylesheet" href="https://fonts.example.org/x.css"><script src="//cdn.example.org/y.js"></script>'
    assert len(site(tmp_path, one=text)) == 2


def test_no_site_is_a_problem(tmp_path: Path) -> None:
    assert "make docs" in next(problems(tmp_path))


def test_the_page_of_commands_has_every_command() -> None:
    top = parser()
    headings = [line.lstrip("# ") for line in page(top).splitlines() if line.startswith("##")]
    assert headings == [command.prog for command in commands(top)]
    assert {"segwright segment", "segwright bank show", "segwright mini train"} <= set(headings)
