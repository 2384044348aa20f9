"""Attacks on the page: files of this machine, endless ones, other hosts and origins, sessions without end."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from segwright.errors import InputError
from segwright.files.masks import write_label_map
from segwright.mini.voc import data_folder

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'segwright[page]'")
from segwright.server.page.app import serving
from segwright.server.page.guard import HostGuard, uploaded
from segwright.server.page.parts import FOLDERS, TURNS, Page
from segwright.server.page.workspace import Workspace

PHOTO = data_folder() / "JPEGImages/val_00003.jpg"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace("mini", "cpu", banks=tmp_path_factory.mktemp("banks"))


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    with serving(workspace) as address:
        yield address


def ask(url: str, path: str, data: Any = None, **headers: str) -> tuple[int, str]:
    """Status and body."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(f"{url}{path}", body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode("utf8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf8", "replace")


def segment(url: str, photo: Any) -> str:
    """The reply of the named API to a photo given as a request names it."""
    given = [photo, "dog", "maskclip", "none", "none", None, False, None, "", "", "none", ""]
    status, body = ask(url, "gradio_api/call/segment", {"data": given})
    assert status == 200, body
    return ask(url, f"gradio_api/call/segment/{json.loads(body)['event_id']}")[1]


def test_files_outside_the_uploads_are_not_read_nor_told_from_absent_ones(url: str, tmp_path: Path) -> None:
    Pillow.new("RGB", (40, 30), "red").save(tmp_path / "secret.png")
    replies = set()
    for path in (tmp_path / "secret.png", tmp_path / "absent.png", "/dev/zero", "/etc/passwd", "../../secret.png", "a\0b"):
        for photo in ({"path": str(path)}, {"path": str(path), "meta": {"_type": "gradio.FileData"}}):
            reply = segment(url, photo)
            assert "event: error" in reply
            assert "complete" not in reply
            if "meta" not in photo:
                replies.add(reply.replace(repr(Path(path).name)[1:-1], "NAME").replace(json.dumps(Path(path).name)[1:-1], "NAME"))
    assert len(replies) <= 2  # a zero byte is written in another way


def test_uploads_are_read(url: str) -> None:
    boundary = "b0undary"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'.encode()
    body = head + PHOTO.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}gradio_api/upload", body, kind), timeout=60) as reply:
        (path,) = json.loads(reply.read())
    assert "event: complete" in segment(url, {"path": path, "meta": {"_type": "gradio.FileData"}})


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
def test_other_hosts_and_origins_are_refused(headers: dict[str, str], url: str) -> None:
    for path, data in (("", None), ("config", None), ("gradio_api/call/segment", {"data": []})):
        assert ask(url, path, data, **headers)[0] == 403


def test_its_own_names_are_served(url: str) -> None:
    port = url.rstrip("/").rsplit(":")[-1]
    for headers in ({}, {"Host": f"localhost:{port}"}, {"Origin": f"http://127.0.0.1:{port}"}, {"Host": f"[::1]:{port}"}):
        assert ask(url, "", **headers)[0] == 200


def test_names_that_are_allowed() -> None:
    own = HostGuard(SimpleNamespace(), "127.0.0.1", ["Photos.Example"])
    assert own._known("//photos.example:8443")
    assert own._known("https://photos.example")
    assert not own._known("//192.168.0.7")
    every = HostGuard(SimpleNamespace(), "0.0.0.0")
    assert every._known("//192.168.0.7:7860")
    assert not any(map(every._known, ("//evil.example", "//evil.example@127.0.0.1.evil.example", "//[", "null", "//")))


def test_links_lead_nowhere(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (tmp_path / "secret").write_text("mine")
    (uploads / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(uploads / "pipe")
    (uploads / "ring").symlink_to(uploads / "ring")
    (uploads / "own").write_text("yours")
    for name in ("link", "pipe", "ring", "absent", ".", "../secret", "../uploads-2/x"):
        with pytest.raises(InputError, match="no longer there"):
            uploaded(uploads / name, [uploads])
    assert uploaded(uploads / "own", [uploads]) == uploads / "own"


def test_masks_and_paint_come_from_uploads_only(workspace: Workspace, tmp_path: Path) -> None:
    import gradio as gr

    from segwright.server.page.guard import guarded

    write_label_map(tmp_path / "m.png", np.ones((3, 4), np.int64))
    with gr.Blocks():
        for component, payload in (
            (gr.File(), {"path": str(tmp_path / "m.png")}),
            (gr.ImageEditor(type="numpy"), {"background": None, "layers": [{"path": str(tmp_path / "m.png")}], "composite": None}),
        ):
            taking = guarded(component, [tmp_path / "uploads"])
            again = type(taking)(**taking.constructor_args)  # as Gradio does for a session after an update
            assert again.get_block_name() == taking.get_block_name() == type(taking).__base__.__name__.lower()
            for one in (taking, again):
                with pytest.raises(gr.Error, match="no longer there"):
                    one.preprocess(component.data_model(**payload))


def test_sessions_without_end_are_forgotten(workspace: Workspace, tmp_path: Path) -> None:
    page = Page(workspace, tmp_path)
    for number in range(TURNS + 10):
        request: Any = SimpleNamespace(session_hash=f"s{number}")
        page.begin(request)
        if number < 2 * FOLDERS:
            (page.place(request) / "file").write_text("x")
    assert len(list((tmp_path / "sessions").iterdir())) == FOLDERS
    assert len(page.turns) == TURNS
    odd: Any = SimpleNamespace(session_hash="../../x" * 99)
    assert page.place(odd).parent == tmp_path / "sessions"
