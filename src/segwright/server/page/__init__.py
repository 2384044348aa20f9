"""The page: see a segmentation, understand it, correct it, in a browser. ``segwright serve`` and ``segwright.serve``.

What a person sees is made by plain functions (photo, words, settings -> result -> HTML); Gradio only wires them together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from segwright.errors import InputError


def serve(
    preset: str | os.PathLike[str] | None = None,
    device: str | None = None,
    dtype: str = "float32",
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    methods: Sequence[str] | None = None,
    banks: str | os.PathLike[str] | None = None,
    megabytes: float = 20.0,
    megapixels: float = 16.0,
    allow_hosts: Sequence[str] = (),
    clip: str | None = None,
    captioner: str | None = None,
    vit: str | None = None,
    diffusion: str | None = None,
) -> None:
    """Serve the page until it is interrupted.

    Args:
        preset: as for ``segwright.load``.
        device: as for ``segwright.load``.
        dtype: as for ``segwright.load``.
        clip: another CLIP, as for ``segwright.load``.
        captioner: another captioner, likewise.
        vit: another ViT, likewise.
        diffusion: another diffusion model, likewise.
        host: "127.0.0.1": this machine only; "0.0.0.0": everybody who can reach it, without a password.
        port: None: the first free one from 7860 on.
        methods: whose weights are fetched before it starts, as for ``segwright.fetch``; other methods' come when first used.
        banks: folder for the banks of prototypes made on the page (default: "page" in the cache of banks).
        megabytes: of an uploaded file, at most.
        megapixels: of an uploaded photo, at most.
        allow_hosts: names under which the page is reached beside this machine's own; requests under others are refused.

    Raises:
        InputError: Gradio is not installed, a port that is taken, unusable limits, device or dtype.
        WeightsError: an unknown preset, or weights that cannot be had.
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise InputError(f"the page needs Gradio, which cannot be imported ({error}); pip install 'segwright[page]'") from error
    from segwright.fetching import prefetch
    from segwright.methods import DEFAULT
    from segwright.server.page.app import run
    from segwright.server.page.uploads import Limits
    from segwright.server.page.workspace import Workspace

    chosen = {"clip": clip, "captioner": captioner, "vit": vit, "diffusion": diffusion}
    single = {kind: name for kind, name in chosen.items() if name is not None}
    workspace = Workspace(preset, device, dtype, banks, Limits(megabytes, megapixels), single=single)
    prefetch((DEFAULT,) if methods is None else methods, workspace.preset, dtype, single=single)
    run(workspace, host, port, allow_hosts)


__all__ = ["serve"]
