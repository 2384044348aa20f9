"""Label Studio's and X-AnyLabeling's protocols over the page's own server, and tasks that mean harm."""

from __future__ import annotations

import base64
import http.server
import io
import json
import resource
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'segwright[page]'")

sys.path.insert(0, str(Path(__file__).parents[2] / "runs"))
from toy import Toy

from segwright.errors import InputError
from segwright.mini.voc import data_folder
from segwright.objects import find_objects
from segwright.server.page.app import serving
from segwright.server.page.uploads import Limits
from segwright.server.page.workspace import Workspace
from segwright.server.tools import pictures
from segwright.server.tools.asking import Segmenter
from segwright.server.tools.label_config import parse_config, typed_words, words_for
from segwright.server.tools.mounting import allowed_pictures, mounted, token_for
from segwright.server.tools.pictures import Allowed, open_picture
from segwright.words.synonyms import names_of

TOKEN = "a-token"
BRUSH = '<View><Image name="image" value="$photo"/><BrushLabels name="b" toName="image"><Label value="bright" alias="light"/>\
<Label value="dark"/></BrushLabels></View>'
POLYGON = BRUSH.replace("Brush", "Polygon")
BOXES = BRUSH.replace("Brush", "Rectangle")


class Fast(Workspace):
    """The page's workspace with a method that needs no networks."""

    def method(self, spec: Any) -> Any:
        return Toy()


def picture(width: int = 60, height: int = 40) -> np.ndarray:
    """Dark left, bright right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = 150
    image[5:15, 5:15] = image[25:29, 5:15] = 255
    return image


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Pillow.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    (folder / "in").mkdir()
    for i in range(3):
        (folder / f"in/p{i}.png").write_bytes(png(picture(60 + i, 40)))
    (folder / "out.png").symlink_to("/etc/passwd")
    return folder


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    workspace = Fast("mini", "cpu", limits=Limits())
    allowed = Allowed(root, (), Limits(50, 1.0), seconds=2.0)
    tools = mounted(workspace, ("label-studio", "x-anylabeling"), allowed, TOKEN)
    with serving(workspace, tools=tools) as address:
        yield address.rstrip("/")


def ask(url: str, data: Any = None, token: str | None = TOKEN, **headers: str) -> tuple[int, Any]:
    body = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
    given = {"Content-Type": "application/json", **({"Token": token} if token else {}), **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, given), timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def predict(url: str, images: list[str], config: str = BRUSH, **more: Any) -> tuple[int, Any]:
    tasks = [{"id": i, "data": {"photo": image}} for i, image in enumerate(images)]
    return ask(f"{url}/label-studio/predict", {"tasks": tasks, "label_config": config, "project": "1.17", **more})


def wanted(image: np.ndarray) -> dict[str, np.ndarray]:
    found = Toy()(image, ("bright", "dark"))
    return {one.word: one.mask for one in find_objects(found.labels, found.words)}


def filled(polygons: list[Any], shape: tuple[int, int]) -> np.ndarray:
    """What polygons cover, at eight times the size, by Pillow."""
    big = Pillow.new("L", (shape[1] * 8, shape[0] * 8))
    for points in polygons:
        ImageDraw.Draw(big).polygon([(8 * x, 8 * y) for x, y in points], fill=255)
    return np.asarray(big).reshape(shape[0], 8, shape[1], 8).mean((1, 3)) > 127


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


# --- Label Studio


def test_health_and_setup(url: str) -> None:
    assert ask(f"{url}/label-studio/health") == (200, {"status": "UP", "model_class": "segwright"})
    code, answer = ask(f"{url}/label-studio/setup", {"project": "1.17", "schema": BRUSH, "extra_params": None})
    assert code == 200
    assert answer["model_version"].startswith("segwright ")
    assert ask(f"{url}/label-studio/webhook", {"action": "ANNOTATION_CREATED"})[0] == 200


@pytest.mark.parametrize("config", [BRUSH, POLYGON, BOXES])
def test_predictions_of_several_tasks_are_our_masks(config: str, url: str, root: Path) -> None:
    images = [f"/data/local-files/?d=in/p{i}.png" for i in range(3)] + [uri(png(picture(50, 30)))] * 3
    code, answer = predict(url, images, config)
    assert code == 200
    assert len(answer["results"]) == 6
    for number, one in enumerate(answer["results"]):
        image = picture(60 + number, 40) if number < 3 else picture(50, 30)
        masks = wanted(image)
        assert 0 <= one["score"] <= 1
        found: dict[str, list[Any]] = {}
        for region in one["result"]:
            assert (region["from_name"], region["to_name"]) == ("b", "image")
            assert (region["original_width"], region["original_height"]) == (image.shape[1], image.shape[0])
            found.setdefault(region["value"][region["type"]][0], []).append(region["value"])
        assert found.keys() == masks.keys()
        for word, values in found.items():
            if config is BRUSH:
                assert np.array_equal(unpacked(values[0]["rle"]).reshape(*image.shape[:2], 4)[..., 3] == 255, masks[word])
            elif config is POLYGON:
                points = [np.array(v["points"]) / 100 * image.shape[1::-1] for v in values]
                assert iou(filled(points, image.shape[:2]), masks[word]) >= 0.98
            else:
                ys, xs = np.nonzero(masks[word])
                assert round(values[0]["x"] / 100 * image.shape[1]) == xs.min()
                assert round(values[0]["height"] / 100 * image.shape[0]) == ys.max() + 1 - ys.min()


def unpacked(data: list[int]) -> np.ndarray:
    """thi.ng/rle-pack's decoder, from its documentation."""
    bits, place = "".join(f"{byte:08b}" for byte in data), 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    count, size = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < count:
        repeated = take(1)
        length = take(sizes[take(2)]) + 1
        out += [take(size)] * length if repeated else [take(size) for _ in range(length)]
    return np.array(out, np.uint8)


def test_words_come_from_labels_or_from_what_is_typed(url: str) -> None:
    config = parse_config(BRUSH)
    assert [names_of(word) for word in words_for(config, {})] == [("bright", "light"), ("dark",)]
    assert config.label_of("light") == "bright"
    context = {"result": [{"type": "textarea", "value": {"text": ["cat; kitten", "dog"]}}]}
    assert [names_of(word) for word in typed_words(context)] == [("cat", "kitten"), ("dog",)]
    code, answer = predict(url, [uri(png(picture()))], params={"context": context})
    labels = {label for region in answer["results"][0]["result"] for label in region["value"]["brushlabels"]}
    assert code == 200
    assert labels <= {"cat", "dog"}
    assert labels
    single = BRUSH.replace('<Label value="dark"/>', "")
    code, answer = predict(url, [uri(png(picture()))], single, params={"context": context})
    assert {label for region in answer["results"][0]["result"] for label in region["value"]["brushlabels"]} == {"bright"}


def test_a_projects_extra_params_choose_confidence_and_objects(url: str) -> None:
    image = uri(png(picture()))
    assert ask(f"{url}/label-studio/setup", {"project": "9.1", "schema": BRUSH, "extra_params": '{"objects": "parts"}'})[0] == 200
    parts = predict(url, [image], project="9.17")[1]["results"][0]["result"]
    words = predict(url, [image])[1]["results"][0]["result"]
    assert len(parts) > len(words)
    assert ask(f"{url}/label-studio/setup", {"project": "9.1", "schema": BRUSH, "extra_params": {"confidence": 1.0}})[0] == 200
    assert len(predict(url, [image], project="9.2")[1]["results"][0]["result"]) < len(words)
    code, answer = ask(f"{url}/label-studio/setup", {"project": "9.1", "schema": BRUSH, "extra_params": {"confidence": 2}})
    assert (code, "confidence" in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("<View/>", "none of BrushLabels"),
        ("<View", "damaged"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "without document type"),
        (BRUSH.replace("<Label", "<Nothing"), "no words"),
        ("x" * 1_000_001, "up to a million"),
    ],
)
def test_configurations_that_cannot_be_used(config: str, said: str, url: str) -> None:
    code, answer = predict(url, [uri(png(picture()))], config)
    assert code == 400
    assert said in answer["error"]


# --- X-AnyLabeling


def test_models_and_shapes(url: str) -> None:
    code, answer = ask(f"{url}/x-anylabeling/v1/models")
    assert code == 200
    name, model = next(iter(answer["data"].items()))
    assert model["batch_processing_mode"] == "text_prompt"
    assert {"display_name", "widgets"} <= model.keys()
    image = picture()
    params = {"text_prompt": "bright, dark", "conf_threshold": 0.0}
    code, answer = ask(f"{url}/x-anylabeling/v1/predict", {"model": name, "image": uri(png(image)), "params": params})
    assert code == 200
    assert answer["data"]["replace"] is False
    for word, mask in wanted(image).items():
        shapes = [one for one in answer["data"]["shapes"] if one["label"] == word]
        assert {one["shape_type"] for one in shapes} == {"polygon"}
        assert all(0 <= one["score"] <= 1 for one in shapes)
        assert iou(filled([one["points"] for one in shapes], mask.shape), mask) >= 0.98


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "other"}, 404),
        ({"params": {"text_prompt": " "}}, 400),
        ({"image": "file:///etc/passwd"}, 400),
        ({"image": "data:image/png;base64,????"}, 400),
        ({"params": {"text_prompt": "a", "conf_threshold": 7}}, 400),
        ({"params": 3}, 400),
    ],
)
def test_requests_of_x_anylabeling_that_cannot_be_used(change: Any, code: int, url: str) -> None:
    asked = {"model": "segwright-best", "image": uri(png(picture())), "params": {"text_prompt": "a"}, **change}
    status, answer = ask(f"{url}/x-anylabeling/v1/predict", asked)
    assert (status, answer["success"]) == (code, False)
    assert answer["error"]["message"]


# --- manners


@pytest.mark.parametrize("path", ["label-studio/health", "x-anylabeling/v1/models"])
def test_the_token_is_wanted(path: str, url: str) -> None:
    assert ask(f"{url}/{path}", token=None)[0] == 401
    assert ask(f"{url}/{path}", token="another")[0] == 401
    basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    for given in (f"Bearer {TOKEN}", f"Token {TOKEN}", f"Basic {basic}"):
        assert ask(f"{url}/{path}", token=None, Authorization=given)[0] == 200
    for bad in ("Basic ????", "Basic", "Bearer"):
        assert ask(f"{url}/{path}", token=None, Authorization=bad)[0] == 401


def test_a_token_is_made_where_others_are_let_in() -> None:
    assert token_for("127.0.0.1", None) is None
    assert len(token_for("0.0.0.0", None) or "") > 20
    assert token_for("0.0.0.0", None) != token_for("0.0.0.0", None)
    assert token_for("127.0.0.1", "x") == "x"
    with pytest.raises(InputError):
        token_for("127.0.0.1", "\n")


class Web(http.server.BaseHTTPRequestHandler):
    """A host that means harm."""

    def do_GET(self) -> None:
        what = self.path.strip("/")
        if what == "picture":
            return self._send(200, png(picture()))
        if what == "loop":
            return self._send(302, b"", Location="/loop")
        if what == "inside":
            return self._send(302, b"", Location="http://169.254.169.254/latest/meta-data")
        if what == "file":
            return self._send(302, b"", Location="file:///etc/passwd")
        if what == "announced":
            return self._send(200, b"", **{"Content-Length": "5000000000"})
        self.send_response(200)
        self.end_headers()
        try:
            while True:  # endless: of bytes, or of patience
                self.wfile.write(b"\0" * (1 << 16) if what == "endless" else b"\0")
                time.sleep(0.0 if what == "endless" else 0.05)
        except OSError:
            return None

    def _send(self, code: int, content: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        return None


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def bomb(side: int = 30_000) -> bytes:
    """A PNG of 900 megapixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 10_000)) + chunk(b"IEND", b"")


REFUSED = {
    "file:///etc/passwd": "below --image-root",
    "/etc/passwd": "below --image-root",
    "/data/local-files/?d=../../etc/passwd": "below --image-root",
    "/data/local-files/?d=/etc/passwd": "below --image-root",
    "out.png": "below --image-root",
    "in": "below --image-root",
    "in/\0": "below --image-root",
    "http://169.254.169.254/latest/meta-data": "private address",
    "http://[::ffff:169.254.169.254]/": "private address",
    "http://[fe80::1]/": "private address",
    "http://127.0.0.1:1/x": "private address",
    "http://2130706433/x": "private address",
    "http://localhost/x": "private address",
    "http://10.0.0.1/": "private address",
    "http://[::1]:7860/": "private address",
    "ftp://host/x": "not by 'ftp'",
    "gopher://host/x": "not by 'gopher'",
    "http://": "http and https",
    "http://[x": "none that can be read",
    "http://host:99999/": "port that is none",
    "data:text/plain,hello": "base64",
    "data:image/png;base64,!!!!": "damaged",
    "": "expected a picture's address",
}


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_refused(address: str, root: Path) -> None:
    with pytest.raises(InputError, match=REFUSED[address]) as caught:
        open_picture(address, Allowed(root))
    assert "root:" not in str(caught.value)


def test_a_host_that_is_named_is_fetched_from(web: str) -> None:
    assert open_picture(f"http://{web}/picture", Allowed(hosts=(web,))).shape == (40, 60, 3)
    with pytest.raises(InputError, match="private address"):
        open_picture(f"http://{web}/picture", Allowed(hosts=("127.0.0.1:1",)))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("loop", "redirects more than"),
        ("inside", "private address"),
        ("file", "not by 'file'"),
        ("announced", "more than 50 MB"),
        ("endless", "more than 50 MB"),
        ("slow", "too long|timed out"),
    ],
)
def test_a_host_that_means_harm(what: str, said: str, web: str) -> None:
    with pytest.raises(InputError, match=said):
        open_picture(
            f"http://{web}/{what}", Allowed(hosts=(web,), limits=Limits(50, 1.0), seconds=20.0 if what == "endless" else 1.0)
        )


def test_a_name_cannot_point_elsewhere_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the address that was checked is the one connected to."""
    asked, real = [], socket.getaddrinfo

    def lookup(host: Any, *more: Any, **named: Any) -> Any:
        if host != "rebound.example":
            return real(host, *more, **named)
        asked.append(host)
        return real("93.184.216.34" if len(asked) == 1 else "127.0.0.1", *more, **named)

    connected = []
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(
        socket, "create_connection", lambda where, *more: connected.append(where) or (_ for _ in ()).throw(OSError("no"))
    )
    with pytest.raises(InputError, match="cannot be fetched"):
        open_picture("http://rebound.example/x", Allowed())
    assert connected == [("93.184.216.34", 80)]


def test_hostile_tasks_are_refused_one_by_one_and_the_server_lives(url: str, web: str) -> None:
    good = uri(png(picture()))
    bad = [*(address for address in REFUSED if "\0" not in address), uri(bomb()), uri(b"GIF89a nothing"), "in/none.png"]
    predict(url, [good])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, answer = predict(url, [good, *bad, good])
    assert code == 200
    first, *refused, last = answer["results"]
    assert first["result"] == last["result"] != []
    assert all(one["result"] == [] and one["error"] for one in refused)
    assert predict(url, [bad[0]])[0] == 400, "a task alone says why"
    code, answer = predict(url, [good] * 10_000)
    assert (code, "at most 256" in answer["error"]) == (413, True)
    assert ask(f"{url}/label-studio/predict", b'{"tasks": [' + b"[" * 100_000)[0] == 400
    assert ask(f"{url}/label-studio/predict", b"\xff" * 1000)[0] == 400
    assert predict(url, [good])[0] == 200
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 200_000, f"{(after - before) // 1000} MB more"


def test_a_request_without_end_is_cut(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"POST /label-studio/predict HTTP/1.1\r\nHost: {host}:{port}\r\nToken: {TOKEN}\r\nContent-Length: 5000000000\r\n\r\n"
    with socket.create_connection((host, int(port)), 20) as line:
        line.sendall(head.encode())
        assert b" 413 " in line.recv(100)


def test_roots_and_addresses_are_checked_when_the_server_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder"):
        allowed_pictures(tmp_path / "none", (), None, 16)
    with pytest.raises(InputError, match="must begin with http"):
        allowed_pictures(None, (), "ftp://x", 16)


def test_label_studios_uploads_are_fetched_from_it_with_its_token(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    monkeypatch.setattr(
        Web, "do_GET", lambda self: (sent.append(self.headers["Authorization"]), self._send(200, png(picture())))[1]
    )
    allowed = Allowed(label_studio_url=f"http://{web}", label_studio_token="secret")
    assert open_picture("/data/upload/1/x.png", allowed).shape == (40, 60, 3)
    open_picture(f"http://{web}/picture", Allowed(hosts=(web,), label_studio_url="http://other:1", label_studio_token="secret"))
    assert sent == ["Token secret", None]


def test_real_networks_behind_the_protocol(root: Path) -> None:
    workspace = Workspace("mini", "cpu")
    from segwright.server.tools.asking import Ask

    photo = data_folder() / "JPEGImages/val_00000.jpg"
    segment = Segmenter(workspace, Allowed(photo.parent))
    (answer, missing) = segment([photo.name, "none.jpg"], Ask(("cat", "dog"), "maskclip"))
    assert answer.error is None
    assert answer.size == (128, 128)
    assert missing.error is not None
    assert pictures.SECONDS == 20.0
