# SPDX-License-Identifier: Apache-2.0
"""``mllmseg mcp``: let language-model agents find things, by the Model Context Protocol."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mllmseg_ros.cli.arguments import (
    add_backend,
    add_model,
    add_ros_arguments,
    add_verb,
    find_version,
    load_segmenter,
    require,
)

if TYPE_CHECKING:
    from mllmseg_ros.web.guard import Access

_DEFAULT_PORT = 8644


def add(verbs: Any) -> None:
    """Add the verb to the parser."""
    mcp = add_verb(
        verbs,
        "mcp",
        "serve language-model agents (MCP), from a running ROS 2 node or from images",
        "mllmseg mcp --images photos",
        "mllmseg mcp --http --allow-commands",
    )
    mcp.add_argument(
        "--images",
        type=Path,
        metavar="PATH",
        help="without ROS: folder of images, or an image; agents see nothing outside it",
    )
    mcp.add_argument(
        "--http",
        type=int,
        nargs="?",
        const=_DEFAULT_PORT,
        metavar="PORT",
        help=f"serve over HTTP on 127.0.0.1 instead of stdin and stdout (default port: "
        f"{_DEFAULT_PORT}, 0 for any free one)",
    )
    mcp.add_argument(
        "--token-file",
        type=Path,
        help="with --http: file with the token (default: a new one, printed at start)",
    )
    mcp.add_argument(
        "--allow-commands",
        action="store_true",
        help="let agents change what the robot looks for (stop is always allowed)",
    )
    add_model(mcp)
    add_backend(mcp)
    add_ros_arguments(mcp)
    mcp.set_defaults(run=_mcp)


def _mcp(arguments: argparse.Namespace) -> None:
    require("mcp", "mcp", "aiohttp")
    access = _access(arguments)
    if arguments.images is not None:
        _serve_images(arguments, access)
        return
    try:
        from mllmseg_ros.ros.agent.node import serve
    except ImportError as error:
        raise ValueError(
            f"{error}; without --images, mcp needs ROS 2: run it in a sourced workspace with "
            "ros2 run mllmseg_ros mllmseg mcp"
        ) from error
    status = serve(
        allow_commands=arguments.allow_commands,
        access=access,
        version=find_version(),
        ros_arguments=arguments.ros_args,
    )
    if status:
        raise RuntimeError("mcp failed, see above")


def _access(arguments: argparse.Namespace) -> Access | None:
    """Where to serve over HTTP, with a token in any case; None for stdin and stdout."""
    from mllmseg_ros.web.guard import Access, read_token

    if arguments.http is None:
        if arguments.token_file is not None:
            raise ValueError("--token-file is only for --http")
        return None
    if arguments.token_file is not None:
        token = read_token(arguments.token_file)
    else:
        token = secrets.token_urlsafe()
        print(f"token: {token}", file=sys.stderr)
    return Access(port=arguments.http, token=token)


def _serve_images(arguments: argparse.Namespace, access: Access | None) -> None:
    """Serve until the client goes, or until Ctrl-C."""
    from mllmseg_ros.agent.folder_backend import FolderBackend
    from mllmseg_ros.agent.server import build_server
    from mllmseg_ros.agent.serving import start_serving

    if arguments.ros_args:
        raise ValueError("--ros-args is only for a running node, without --images")
    segmenter = load_segmenter(arguments, backend=arguments.backend)
    backend = FolderBackend(arguments.images, segmenter)
    server = build_server(backend, allow_commands=arguments.allow_commands, version=find_version())
    serving = start_serving(server, access)
    while serving.is_serving:
        time.sleep(0.1)
    if serving.failure:
        raise RuntimeError(serving.failure)
