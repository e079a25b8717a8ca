# SPDX-License-Identifier: Apache-2.0
"""Arguments that several verbs share, and how they are used."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ARTICLES = {"a", "an", "the"}


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Shows the examples as they are written, and the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        has_default = action.option_strings and action.default not in (
            None, False, "", (), [], argparse.SUPPRESS,
        )  # fmt: skip
        return f"{text} (default: %(default)s)" if has_default and "default" not in text else text


def add_verb(verbs: Any, name: str, purpose: str, *examples: str) -> argparse.ArgumentParser:
    """Add a verb with arguments.

    Args:
        verbs: of the parser that it belongs to.
        name: of the verb.
        purpose: what it does, lower case, without a full stop.
        examples: command lines for its help.
    """
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog="\n".join(["examples:", *(f"  {each}" for each in examples)]),
        formatter_class=_HelpFormatter,
    )
    return parser


def add_group(verbs: Any, name: str, purpose: str, *, metavar: str = "VERB") -> Any:
    """Add a verb that has verbs of its own, and return those; alone it prints its help."""
    parser = verbs.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    return subparsers_of(parser, metavar)


def subparsers_of(parser: argparse.ArgumentParser, metavar: str = "VERB") -> Any:
    """Let a parser have verbs; without one it prints its help."""
    parser.set_defaults(run=lambda _: parser.print_help())
    return parser.add_subparsers(metavar=metavar)


def add_expression(parser: argparse.ArgumentParser) -> None:
    """Add ``--expression``, for what :func:`check_expressions` stops."""
    parser.add_argument(
        "-e",
        "--expression",
        action="append",
        default=[],
        metavar="EXPRESSION",
        help="an expression, also a single word or the name of a file; may be repeated",
    )


def add_overwrite(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--overwrite``."""
    parser.add_argument(
        "--overwrite", action="store_true", help=f"delete {what} that is there, and start over"
    )


def add_every(parser: argparse.ArgumentParser) -> None:
    """Add ``--every``."""
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="use every N-th image only"
    )


def checked_every(arguments: argparse.Namespace) -> int:
    """Get ``--every``, checked.

    Raises:
        ValueError: if it is not 1 or more.
    """
    if arguments.every < 1:
        raise ValueError(f"--every is {arguments.every}; accepted: 1 (all images) or more")
    return int(arguments.every)


def add_images(parser: Any) -> None:
    """Add ``--images``."""
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        default=(),
        help="folders of the images, if not in the data set",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, ``--device``, ``--dtype`` and ``--quantize``."""
    parser.add_argument("--model", help="checkpoint folder or name (default: embedded model)")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--dtype", help="auto, float32, bfloat16 or float16 (default: auto)")
    parser.add_argument(
        "--quantize",
        help="auto, none, int8, int4 or fp8 (default: auto, as the checkpoint is stored)",
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``."""
    parser.add_argument(
        "--backend",
        help="auto, torch, or for an exported model onnxruntime or tensorrt "
        "(default: onnxruntime for an exported model, else torch)",
    )


def add_ros_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--ros-args``."""
    parser.add_argument(
        "--ros-args",
        nargs=argparse.REMAINDER,
        default=[],
        help="ROS arguments, to the end of the line, such as -r __ns:=/robot",
    )


def explain_missing_ros(verb: str, error: ImportError) -> ValueError:
    """Make the error of a verb that needs ROS 2 where it is missing."""
    return ValueError(
        f"{error}; {verb} needs ROS 2: run it in a sourced workspace with "
        f"ros2 run mllmseg_ros mllmseg {verb}"
    )


def load_segmenter(
    arguments: argparse.Namespace, *, backend: str | None = None, whole_head: bool = False
) -> Any:
    """Load the Segmenter named by the arguments of :func:`add_model`.

    Args:
        arguments: of the command line.
        backend: of :func:`add_backend`.
        whole_head: for the paper's protocol.
    """
    from mllmseg_ros.segmenter import Segmenter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # printed below, in one line
        segmenter = Segmenter.from_pretrained(
            arguments.model,
            device=arguments.device,
            dtype=arguments.dtype,
            quantize=arguments.quantize,
            backend=backend,
            whole_head=whole_head,
        )
    if segmenter.load_warning:
        print(segmenter.load_warning, file=sys.stderr)
    if segmenter.synthetic_only:
        print(f"{segmenter.name} knows simulated tabletop scenes only", file=sys.stderr)
    return segmenter


def require(extra: str, *modules: str) -> None:
    """Check that an optional part is installed.

    Args:
        extra: the part, listed in requirements/<extra>.txt.
        modules: names of its modules.

    Raises:
        ValueError: Modules are missing; names them and what to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"needs {', '.join(missing)}: pip install '.[{extra}]', or install the "
            f"packages in requirements/{extra}.txt"
        )


def check_expressions(words: Sequence[str], *, reads_files: bool = True) -> None:
    """Stop expressions that were meant otherwise.

    Args:
        words: the expressions as given on the command line.
        reads_files: the verb does; else nobody means one.

    Raises:
        ValueError: one is the name of a file, or several are the words of one without quotes.
    """
    for word in words if reads_files else ():
        if os.path.exists(word):
            raise ValueError(
                f"{word!r} is a file or folder here; if it is an expression, write "
                f"-e {shlex.quote(word)}; files come before the expressions"
            )
    single = [word for word in words if len(word.split()) == 1]
    if len(words) > 1 and len(single) == len(words):
        is_phrase = not _ARTICLES.isdisjoint(word.lower() for word in words)
        if is_phrase or len(words) > 2:
            raise ValueError(
                f"{len(words)} expressions of one word each: {', '.join(map(repr, words))}; one "
                f'expression of several words needs quotes: "{" ".join(words)}"; for several '
                f"expressions: {' '.join(f'-e {shlex.quote(word)}' for word in words)}"
            )


def find_version() -> str:
    """Look up the version of the installed package; "" if it is not installed."""
    try:
        return importlib.metadata.version("mllmseg_ros")
    except importlib.metadata.PackageNotFoundError:
        return ""


def read_command(expressions: Sequence[str]) -> Any:
    """Understand expressions, each of which may be a sentence; note on stderr how.

    Raises:
        ValueError: An expression is invalid or names nothing, or there is none.
    """
    from mllmseg_ros.language.conversation import LANGUAGES
    from mllmseg_ros.language.several_texts import understand_each

    understood = understand_each([*expressions] or [""], LANGUAGES["en"])
    if understood.command.is_stop:
        raise ValueError('no expression given, for example "the red mug"')
    if understood.note:
        print(understood.note, file=sys.stderr)
    return understood.command
