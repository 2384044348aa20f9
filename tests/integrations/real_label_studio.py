"""A real Label Studio: projects made, segwright connected, predictions asked for, shown, accepted and exported; compared with ours.

    make test-integrations        (sets Label Studio up in an environment of its own and runs this)
    python tests/integrations/real_label_studio.py --command .venv-label-studio/bin/label-studio [--screenshot brush.png]

Eight shipped pictures, one project with brushes and one with polygons, through Label Studio's own API. Exit code 0 if what Label
Studio exports of the predictions are the masks of our own export to COCO: IoU 1 for brushes as arrays, 0.98 for polygons as COCO.
For brushes its COCO holds outer outlines only (label_studio_sdk.converter.exports.brush_to_coco): they fill to our masks without
holes, IoU 0.98. Label Studio is started on 127.0.0.1 with a database of its own, and ended.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw
from pycocotools.coco import COCO
from scipy import ndimage

import segwright as sw
from segwright.mini.voc import data_folder
from segwright.server.page.app import serving
from segwright.server.page.uploads import Limits
from segwright.server.page.workspace import Workspace
from segwright.server.tools.mounting import mounted
from segwright.server.tools.pictures import Allowed
from segwright.words.vocabulary import load as vocabulary

MAIL, PASSWORD, TOKEN = "tester@example.com", "a-password-1", "0123456789abcdef0123456789abcdef01234567"
PHOTOS, METHOD = 8, "maskclip"
LEAST = {"brush": 1.0, "brush, as COCO": 0.98, "polygon, as COCO": 0.98}
Masks = dict[tuple[str, str], np.ndarray]  # (photo, word) -> (H, W) bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", required=True, help="label-studio's executable")
    parser.add_argument("--port", type=int, default=18_080)
    parser.add_argument("--wait", type=float, default=300.0, help="seconds for its start")
    parser.add_argument("--screenshot", help="PNG of a prediction in its editor, opened with Chromium")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Label Studio is ended then too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "root/photos"
        photos.mkdir(parents=True)
        for photo in sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[:PHOTOS]:
            shutil.copy(photo, photos)
        ours = our_masks(photos, folder)
        with label_studio(options, folder) as studio, backend(folder / "root") as address:
            found = {}
            for kind in ("brush", "polygon"):
                found |= studio_masks(studio, kind, address, photos, options.screenshot)
        for name, least in LEAST.items():
            wanted = {key: filled(mask) for key, mask in ours.items()} if name == "brush, as COCO" else ours
            assert found[name].keys() == wanted.keys(), (name, sorted(found[name].keys() ^ wanted.keys()))
            worst = min(iou(found[name][key], mask) for key, mask in wanted.items())
            print(f"{name}: {len(wanted)} masks, IoU at least {worst:.4f}", flush=True)
            assert worst >= least


def our_masks(photos: Path, folder: Path) -> Masks:
    """(photo, word) -> mask, of our own export to COCO."""
    words = vocabulary("mini").words
    for outcome in sw.segment(photos, sw.load_method(METHOD, "mini", device="cpu"), folder / "run", words):
        assert outcome.error is None, outcome.error
    sw.export(folder / "run", "coco", folder / "coco")
    return coco_masks(folder / "coco/annotations.json")


def coco_masks(path: Path, outlines: bool = False) -> Masks:
    """Of a COCO file; outlines: polygons run through the pixels of the edge, which are the mask's."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    found: Masks = {}
    for one in coco.loadAnns(coco.getAnnIds()):
        image = coco.loadImgs([one["image_id"]])[0]
        key = photo_of(image["file_name"]), coco.loadCats([one["category_id"]])[0]["name"]
        mask = drawn(one["segmentation"], image) if outlines else coco.annToMask(one).astype(bool)
        found[key] = found[key] | mask if key in found else mask
    return found


def drawn(polygons: list[list[float]], image: dict[str, Any]) -> np.ndarray:
    picture = Pillow.new("1", (image["width"], image["height"]))
    for points in polygons:
        ImageDraw.Draw(picture).polygon(points, fill=1, outline=1)
    return np.asarray(picture)


def array_masks(folder: Path, photos: dict[int, str]) -> Masks:
    """Of "task-1-annotation-2-by-1-label-potted plant-0.npy"."""
    found: Masks = {}
    for path in folder.glob("*.npy"):
        task, word = re.fullmatch(r"task-(\d+)-annotation-.*-label-(.+)-\d+", path.stem).groups()  # type: ignore[union-attr]
        key, mask = (photos[int(task)], word), np.load(path) == 255
        found[key] = found[key] | mask if key in found else mask
    return found


def filled(mask: np.ndarray) -> np.ndarray:
    """Without the holes of its parts, which hang together by corners too."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    return np.any([ndimage.binary_fill_holes(parts == number) for number in range(1, count + 1)], axis=0)


def photo_of(address: str) -> str:
    return Path(address).stem.split("-")[-1]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


class Studio:
    """Label Studio's API."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    def ask(self, path: str, data: Any = None, raw: bool = False) -> Any:
        headers = {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"}
        body = None if data is None else json.dumps(data).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.url}{path}", body, headers), timeout=600) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read()[:600]!r}") from None
        return content if raw else json.loads(content or b"null")


@contextlib.contextmanager
def label_studio(options: argparse.Namespace, folder: Path) -> Iterator[Studio]:
    """Started, and ended."""
    own = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder / "root"),
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "USE_DEFAULT_BANNED_SUBNETS": "false",  # or it connects to no backend on 127.0.0.1 (1.23)
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    command = [options.command, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(options.port)]
    person = ["--username", MAIL, "--password", PASSWORD, "--user-token", TOKEN]
    studio = Studio(f"http://127.0.0.1:{options.port}", folder)
    with open(folder / "label-studio.log", "wb") as log:
        process = subprocess.Popen([*command, *person], env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + options.wait
            while True:
                assert process.poll() is None, (folder / "label-studio.log").read_text()[-2000:]
                assert time.monotonic() < end, "Label Studio did not start in time"
                with contextlib.suppress(OSError, AssertionError):
                    studio.ask("/health")
                    break
                time.sleep(1)
            yield studio
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


@contextlib.contextmanager
def backend(root: Path) -> Iterator[str]:
    """segwright's server."""
    workspace = Workspace("mini", "cpu", limits=Limits())
    allowed = Allowed(root, (), Limits(50, 16))
    with serving(workspace, tools=mounted(workspace, ("label-studio",), allowed, TOKEN)) as url:
        yield f"{url.rstrip('/')}/label-studio"


def studio_masks(studio: Studio, kind: str, backend: str, photos: Path, screenshot: str | None) -> dict[str, Masks]:
    """A project with our predictions as annotations, as Label Studio exports it."""
    tag = {"brush": "BrushLabels", "polygon": "PolygonLabels"}[kind]
    labels = "".join(f'<Label value="{word}"/>' for word in vocabulary("mini").words)
    config = f'<View><Image name="image" value="$image"/><{tag} name="label" toName="image">{labels}</{tag}></View>'
    project = studio.ask("/api/projects", {"title": kind, "label_config": config})["id"]
    place = {"project": project, "path": str(photos), "title": "photos", "use_blob_urls": True}
    storage = studio.ask("/api/storages/localfiles", {**place, "regex_filter": ".*jpg"})["id"]
    studio.ask(f"/api/storages/localfiles/{storage}/sync", {})
    login = {"auth_method": "BASIC_AUTH", "basic_auth_user": "segwright", "basic_auth_pass": TOKEN}
    extra = {"extra_params": {"method": METHOD}}
    connected = studio.ask("/api/ml", {"project": project, "url": backend, "title": "segwright", **login, **extra})
    assert connected["state"] == "CO", connected
    everything = {"selectedItems": {"all": True, "excluded": []}}
    studio.ask(f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", everything)
    predictions = studio.ask(f"/api/predictions?project={project}")
    assert len(predictions) == PHOTOS, len(predictions)
    if screenshot and kind == "brush":
        look(studio, project, predictions[0]["task"], screenshot)
    for one in predictions:
        studio.ask(f"/api/tasks/{one['task']}/annotations/", {"result": one["result"]})
    if kind == "polygon":
        return {"polygon, as COCO": coco_masks(result_of(exported(studio, project, "COCO")))}
    tasks = studio.ask(f"/api/tasks?project={project}&page_size=100")["tasks"]
    names = {task["id"]: photo_of(task["data"]["image"]) for task in tasks}
    return {
        "brush": array_masks(exported(studio, project, "BRUSH_TO_NUMPY"), names),
        "brush, as COCO": coco_masks(result_of(exported(studio, project, "BRUSH_TO_COCO")), outlines=True),
    }


def exported(studio: Studio, project: int, kind: str) -> Path:
    """A project's export of that kind, unpacked."""
    content = studio.ask(f"/api/projects/{project}/export?exportType={kind}", raw=True)
    folder = Path(tempfile.mkdtemp(dir=studio.folder))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return folder


def result_of(folder: Path) -> Path:
    return next(folder.rglob("result*.json"))


def look(studio: Studio, project: int, task: int, path: str) -> None:
    """A picture of a prediction in Label Studio's editor."""
    from playwright.sync_api import sync_playwright

    known = ("chromium", "chromium-browser", "google-chrome")
    browser_path = next((found for one in known if (found := shutil.which(one))), None)
    assert browser_path, f"none of {', '.join(known)} is installed; leave --screenshot out"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(240_000)
        own = f"{studio.url}/"
        # Its pages ask other hosts for scripts and fonts; without a network those requests end no load.
        page.route(
            "**/*", lambda route: route.continue_() if route.request.url.startswith((own, "blob:", "data:")) else route.abort()
        )
        page.goto(f"{studio.url}/user/login/", wait_until="domcontentloaded")
        page.fill("input[name=email]", MAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/login" not in url, wait_until="commit")
        page.goto(f"{studio.url}/projects/{project}/data?task={task}", wait_until="domcontentloaded")
        page.wait_for_selector(".konvajs-content canvas")
        page.wait_for_timeout(8000)
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
