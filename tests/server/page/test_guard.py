"""Attacks on the page: files of this machine, endless ones, other hosts and origins, sessions without end."""

from __future__ import annotations

import http.client
import io
import json
import os
import urllib.error
import urllib.parse
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
from segwright.server.page.app import HARD, serving
from segwright.server.page.guard import HostGuard, uploaded
from segwright.server.page.parts import FOLDERS, TURNS, Page
from segwright.server.page.uploads import Limits
from segwright.server.page.workspace import Workspace

PHOTO = data_folder() / "JPEGImages/val_00014.jpg"


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


def blob(piece: bytes, id: str = "a", type: str = "layer", index: str = "0", files: int = 1) -> Any:
    return SimpleNamespace(data={"type": type, "index": index, "id": id}, files=[("f", piece)] * files)


def encoded(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Pillow.new("1", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def test_paintings_are_bounded() -> None:
    """Pieces sent ahead of the button filled memory: any number, any length, and a list as long as an index said."""
    import gradio as gr
    from fastapi import HTTPException

    from segwright.server.page.painter import bounded

    with gr.Blocks():
        painter = bounded(gr.ImageEditor(type="numpy"), Limits(megabytes=0.001, megapixels=0.01))
    small = encoded(10, 10)
    for attack in (
        blob(small, index="1000000000"),
        blob(small, index="-1"),
        blob(small, index="x"),
        blob(small, type="else"),
        blob(small, id="../x"),
        blob(small, id="x" * 1000),
        blob(small, files=0),
        blob(small, files=2),
        blob(small + bytes(1000)),
        blob(encoded(101, 100)),
    ):
        with pytest.raises(HTTPException) as refused:
            painter.accept_blobs(attack)
        assert refused.value.status_code == 413
    assert painter.blob_storage == {}
    for number in range(200):
        painter.accept_blobs(blob(small + bytes(500), id=f"p{number}"))
        painter.accept_blobs(blob(small, id=f"p{number}", type="background", index="null"))
    kept = list(painter.blob_storage)
    assert kept[-1] == "p199"
    assert len(kept) < 8000 / 500
    taken = painter.preprocess(painter.data_model(background=None, layers=[], composite=None, id="p199"))
    assert taken["layers"][0].shape[:2] == (10, 10)
    assert "p199" not in painter.blob_storage


def test_large_requests_are_refused(url: str) -> None:
    """By what they say of their length, and by what comes."""
    address = urllib.parse.urlsplit(url)
    most = int(2 * HARD * Limits().megabytes * 1e6)
    for stated in (str(most + 1), "1e9", "-1"):
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        connection.putrequest("POST", "/gradio_api/upload")
        connection.putheader("Content-Length", stated)
        connection.endheaders()
        assert connection.getresponse().status in (400, 413)
        connection.close()


def test_a_session_that_left_fails_no_other_call(workspace: Workspace, tmp_path: Path) -> None:
    """Gradio's queue raised for whoever called next, as long as the call of one that was gone waited."""
    from segwright.server.page.app import make

    queue = make(workspace, tmp_path)._queue
    queue.send_message(SimpleNamespace(alive=True, session_hash="gone", _id="1"), SimpleNamespace(event_id=None))
