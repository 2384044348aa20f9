"""``segwright serve``."""

from __future__ import annotations

import argparse
from typing import Any

from segwright.cli.options import EPILOG, add_networks, networks, split


def add(commands: Any) -> None:
    command = commands.add_parser("serve", help="a page in the browser: segment, explain, build prototypes, refine", epilog=EPILOG)
    add_networks(command)
    about = "whose weights are fetched before it starts; all is every method, others' come when first used (default: best)"
    command.add_argument("--for", dest="methods", metavar="M,M", help=about)
    command.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets others in, without a password (default: 127.0.0.1)")
    command.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    command.add_argument("--banks", metavar="FOLDER", help="for the page's banks of prototypes (default: in the cache)")
    command.add_argument("--megabytes", type=float, default=20.0, metavar="N", help="of an uploaded file, at most (default: 20)")
    command.add_argument("--megapixels", type=float, default=16.0, metavar="N", help="of an uploaded photo, at most (default: 16)")
    command.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a name under which the page is reached, a proxy's say"
    )
    tools = command.add_argument_group("annotation tools")
    tools.add_argument("--label-studio", action="store_true", help="an ML backend for Label Studio at /label-studio")
    tools.add_argument("--x-anylabeling", action="store_true", help="a remote server for X-AnyLabeling at /x-anylabeling")
    tools.add_argument("--token", help="what these tools must send (default: none on this machine, else a random one, printed)")
    tools.add_argument("--image-root", metavar="FOLDER", help="local files that tasks may name lie below it (default: none may)")
    about = "fetch pictures from this host although its address is private; NAME or NAME:PORT, any number of times"
    tools.add_argument("--image-host", dest="image_hosts", action="append", default=[], metavar="HOST", help=about)
    about = "address of the Label Studio whose uploads tasks name; its API token: $LABEL_STUDIO_API_KEY"
    tools.add_argument("--label-studio-url", metavar="URL", help=f"{about} (default: $LABEL_STUDIO_URL)")
    command.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from segwright.server.page import serve

    place = {"host": options.host, "port": options.port, "banks": options.banks, "allow_hosts": options.allow_host}
    place["methods"] = None if options.methods is None else split(options.methods)
    limits = {"megabytes": options.megabytes, "megapixels": options.megapixels}
    names = ("label_studio", "x_anylabeling", "token", "image_root", "image_hosts", "label_studio_url")
    tools = {name: getattr(options, name) for name in names}
    serve(options.preset, options.device, options.dtype, **place, **limits, **networks(options), **tools)
    return 0
