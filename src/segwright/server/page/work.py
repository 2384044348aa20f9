"""One job at a time in a thread of its own: it reports its progress, and stops on request, inside any network.

Every forward pass of any module passes ``_check``, so a job can be stopped and followed without a word about it in the methods.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from segwright.errors import InputError, SegwrightError, is_out_of_memory

# Outermost modules that methods call -> what is going on; others do not change the report.
DOING = {
    "BlipVisionModel": "Writing a caption",
    "UNet2DConditionModel": "Looking with the diffusion model",
    "CLIPVisionTransformer": "Looking with CLIP",
    "CLIPVisionModel": "Looking with CLIP",
    "CLIPTextTransformer": "Reading the words",
    "CLIPTextModel": "Reading the words",
    "Dinov2Model": "Looking with DINO",
    "ViTModel": "Looking with DINO",
    "GroupViTModel": "Looking with GroupViT",
}


class Stopped(BaseException):  # not an Exception: no library may take it for an error of its own and go on
    """The job was stopped."""


@dataclass(frozen=True)
class Update:
    """What a job does: text, the share that is done (None: unknown), and anything to show meanwhile."""

    text: str
    share: float | None = None
    shown: Any = None


class Job:
    """What runs in the thread: ``report`` from inside, ``stop`` from outside."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()
        self.updates: queue.Queue[Update | None] = queue.Queue()
        self._last = ""
        self._counting = False  # a report with a growing share is not overwritten by modules

    def check(self) -> None:
        """Raises:
        Stopped: on request.
        """
        if self.stop.is_set():
            raise Stopped

    def report(self, text: str, share: float | None = None, shown: Any = None) -> None:
        """Report progress; raises if the job is to stop."""
        self.check()
        self._last, self._counting = text, share is not None and share < 1
        self.updates.put(Update(text, share, shown))

    def saw(self, module: nn.Module) -> None:
        """A module is about to run."""
        self.check()
        text = DOING.get(type(module).__name__)
        if text is not None and text != self._last and not self._counting:
            self.report(text)


_here = threading.local()
_hooked = threading.Lock()
_hook: Any = None


def _check(module: nn.Module, _given: Any) -> None:
    job: Job | None = getattr(_here, "job", None)
    if job is not None:
        job.saw(module)


def follow(work: Callable[[Job], Any], stop: threading.Event | None = None) -> Iterator[Any]:
    """Run ``work(job)`` in a thread; yields its Updates as they come, and its result last.

    Closing the iterator stops the job.

    Raises:
        Stopped: by ``stop``.
        SegwrightError: of the job, or that it needs more memory than there is.
    """
    global _hook
    with _hooked:
        _hook = _hook or register_module_forward_pre_hook(_check)
    job, outcome = Job(stop), {}

    def run() -> None:
        _here.job = job
        try:
            job.check()
            outcome["result"] = work(job)
        except BaseException as error:
            outcome["error"] = error
        finally:
            _here.job = None
            job.updates.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (update := job.updates.get()) is not None:
            yield update
    except GeneratorExit:
        job.stop.set()
        raise
    if "error" in outcome:
        raise _readable(outcome["error"])
    yield outcome["result"]


def _readable(error: BaseException) -> BaseException:
    if is_out_of_memory(error):
        readable = InputError("that needs more memory than there is; make the photo smaller, or choose another method or refiner")
        readable.__cause__ = error
        return readable
    return error if isinstance(error, SegwrightError | Stopped) else _unexpected(error)


def _unexpected(error: BaseException) -> BaseException:
    import traceback

    traceback.print_exception(error)  # for whoever runs the server
    return SegwrightError(f"something went wrong inside segwright ({type(error).__name__}); the server's log has the details")
