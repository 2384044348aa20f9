"""The page put together, and its server."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio looks

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Mount

from segwright.errors import InputError
from segwright.images import read
from segwright.mini.voc import data_folder
from segwright.server.page import collection_tab, diagnose_tab, prototypes_tab, refine_tab, segment_tab, why_tab
from segwright.server.page.guard import BodyGuard, HostGuard
from segwright.server.page.kept import OLDEST, SESSIONS
from segwright.server.page.parts import HERE, LIGHT, Page
from segwright.server.page.workspace import Request, Workspace

FIRST_PORT, LAST_PORT = 7860, 7960
HARD = 5  # times the limit: what Gradio refuses before it is here; what is smaller gets our own sentence
SYSTEM = ("system-ui", "sans-serif")
MONO = ("ui-monospace", "monospace")
# Gradio's buttons of sample photos have no names; those of the hidden tabs come when they are opened.
SAMPLES = """() => {
  const name = () => {
    for (const gallery of document.querySelectorAll('.gallery'))
      [...gallery.querySelectorAll('button.gallery-item')].forEach((b, i) => b.setAttribute('aria-label', `sample photo ${i + 1}`));
  };
  name();
  new MutationObserver(name).observe(document.body, { subtree: true, childList: true });
}"""
# By which the page knows a browser's tab again when it is loaded anew; no other page can read it, and none can guess it.
TOKEN = """() => {
  let token = sessionStorage.getItem('segwright');
  if (!token) {
    token = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');
    sessionStorage.setItem('segwright', token);
  }
  return token;
}"""


def make(workspace: Workspace, folder: Path) -> gr.Blocks:
    """The page's tabs.

    Args:
        folder: for temporary files.
    """
    page = Page(workspace, folder)
    with gr.Blocks(title="segwright", analytics_enabled=False, delete_cache=(OLDEST // 6, OLDEST)) as blocks:
        note = f"Preset {escape(workspace.preset)}. Photos go to this server and nowhere else."
        gr.HTML(f'<div class="sw-head"><h1>segwright</h1><p class="sw-note">{note}</p></div>', apply_default_css=False)
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("Segment"):
                first = segment_tab.build(page)
            with gr.Tab("Why"):
                why_tab.build(page, first)
            with gr.Tab("Collection"):
                collection_tab.build(page)
            with gr.Tab("Prototypes"):
                prototypes_tab.build(page, first)
            with gr.Tab("Refine"):
                refine_tab.build(page)
            with gr.Tab("Diagnose"):
                diagnose_tab.build(page)
        blocks.load(None, None, None, js=SAMPLES)
        loaded = blocks.load(None, None, first.token, js=TOKEN)
        loaded.then(first.restore, first.token, first.restored, **LIGHT)
        blocks.unload(page.leave)
    blocks.queue(default_concurrency_limit=4, max_size=32)
    _outlive_sessions(blocks)
    return blocks


def _outlive_sessions(blocks: gr.Blocks) -> None:
    """Messages to a session that has left while its call waited go nowhere; Gradio lets the next caller fail over them."""
    queue = blocks._queue
    send = queue.send_message

    def send_message(event: Any, message: Any) -> None:
        with suppress(KeyError):
            send(event, message)

    queue.send_message = send_message


@contextmanager
def serving(
    workspace: Workspace,
    host: str = "127.0.0.1",
    port: int | None = None,
    allow_hosts: Sequence[str] = (),
    *,
    tools: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """The page's address while it is served; temporary files are removed in the end.

    Args:
        allow_hosts: as for ``segwright.serve``.
        tools: path -> ASGI application that is served below it.

    Raises:
        InputError: the port is taken, or the host is none of this machine's.
    """
    folder = Path(tempfile.mkdtemp(prefix="segwright-page-"))
    before = {name: os.environ.get(name) for name in ("GRADIO_TEMP_DIR", "GRADIO_SHARE")}
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ.pop("GRADIO_SHARE", None)
    blocks = make(workspace, folder)
    try:
        app, url, _ = blocks.launch(**_options(workspace, host, port, allow_hosts), allowed_paths=[str(folder / "sessions")])
        for path, tool in (tools or {}).items():
            app.router.routes.insert(0, Mount(path, tool))
        yield url
    except OSError as error:
        raise InputError(
            f"the page cannot be served on {host}, port {port or 'any'} ({error}); choose another --port or --host"
        ) from error
    finally:
        blocks.close(verbose=False)
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def run(
    workspace: Workspace,
    host: str,
    port: int | None,
    allow_hosts: Sequence[str] = (),
    *,
    tools: Mapping[str, Any] | None = None,
    note: str = "",
) -> None:
    """Serve until interrupted or told to end, and tidy up.

    Args:
        tools: as for ``serving``.
        note: said behind the address, with each tool's path.
    """
    warm(workspace)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        with serving(workspace, host, port, allow_hosts, tools=tools) as url:
            print(f"segwright: the page is at {url} (preset {workspace.preset}); stop it with Ctrl+C", flush=True)
            for path in tools or {}:
                print(f"segwright: {path.strip('/')} finds its server at {url.rstrip('/')}{path}{note}", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        print("segwright: stopped")


def warm(workspace: Workspace) -> None:
    """Open networks that lie in this machine before the first person waits for them; those on a hub are fetched when asked for."""
    if not workspace.networks.preset.parts:
        workspace.segment(read(sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[0]), "sample", Request("dog"))


def _options(workspace: Workspace, host: str, port: int | None, allow_hosts: Sequence[str]) -> dict[str, Any]:
    theme = gr.themes.Base(
        primary_hue="blue", font=[gr.themes.Font(f) for f in SYSTEM], font_mono=[gr.themes.Font(f) for f in MONO]
    )
    return {
        "server_name": host,
        "server_port": port,
        "share": False,
        "quiet": True,
        "prevent_thread_lock": True,
        "show_error": False,
        "max_file_size": int(HARD * workspace.limits.megabytes * 1e6),
        "state_session_capacity": SESSIONS,
        "enable_monitoring": False,
        "footer_links": ["api"],
        "ssr_mode": False,
        "pwa": False,
        "theme": theme,
        "css_paths": [HERE / "style.css"],
        "app_kwargs": {
            "middleware": [
                Middleware(HostGuard, host=host, allowed=tuple(allow_hosts)),
                Middleware(BodyGuard, most=int(2 * HARD * workspace.limits.megabytes * 1e6)),
            ]
        },
    }


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt
