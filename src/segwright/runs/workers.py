"""Work on many photos: in this process, or in several, each with networks and photos of its own."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from segwright.errors import InputError, SegwrightError
from segwright.methods.base import Loaded, MethodSpec

Work = Callable[[Any, Sequence[Any]], Iterable[list[Any]]]  # (method, photos) -> some results at a time


def serial(source: MethodSpec | Loaded, items: Sequence[Any], do: Work) -> Iterator[Any]:
    """In this process; nothing is loaded where there is nothing to do."""
    if items:
        for results in do(source.load(), items):
            yield from results


def parallel(spec: MethodSpec | Loaded, items: Sequence[Any], do: Work, workers: int) -> Iterator[Any]:
    """In ``workers`` processes; photo i goes to worker i modulo ``workers``. Results come as they are finished.

    A worker whose parent was killed ends itself when it next has something to say.

    Args:
        do: what a worker does with its method and its photos; a function that can be pickled.

    Raises:
        SegwrightError: what a worker raised, or that it was killed.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    started: dict[Connection, Any] = {}
    try:
        for number in range(min(workers, len(items))):
            ours, theirs = context.Pipe(duplex=False)
            job = (theirs, spec, items[number::workers], do, threads)
            process = context.Process(target=_work, args=job, daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            started[ours] = process
        while started:
            for ready in wait(list(started)):
                yield from _received(ready, started)  # type: ignore[arg-type]
    finally:
        for process in started.values():
            process.terminate()
            process.join()


def _received(pipe: Connection, started: dict[Connection, Any]) -> list[Any]:
    try:
        received = pipe.recv()
    except EOFError:
        process = started.pop(pipe)
        process.join()
        if process.exitcode:
            raise SegwrightError(
                f"a worker ended with exit code {process.exitcode}; start again to resume, with fewer --workers"
            ) from None
        return []
    if isinstance(received, BaseException):
        raise received
    return list(received)


def _work(pipe: Connection, spec: MethodSpec | Loaded, items: Sequence[Any], do: Work, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    with suppress(BrokenPipeError, KeyboardInterrupt):  # nobody listens any more
        try:
            for results in do(spec.load(), items):
                pipe.send(results)
        except SegwrightError as error:
            pipe.send(error)
        except BrokenPipeError:
            raise
        except Exception:
            pipe.send(SegwrightError(f"a worker failed: {traceback.format_exc()}"))


def check_workers(source: MethodSpec | Loaded, workers: int) -> None:
    """Refuse what cannot be done.

    Raises:
        InputError: less than one, a method that is loaded already, or not on the CPU.
    """
    if workers < 1:
        raise InputError(f"workers must be 1 or more, got {workers}")
    if workers > 1 and not source.portable:
        raise InputError("several workers need a MethodSpec, so that each can load its own networks; got a loaded method")
    if workers > 1 and source.identity(words=True).get("device") != "cpu":
        raise InputError("several workers run on the CPU only; give --device cpu, or a single worker and a larger --batch")
