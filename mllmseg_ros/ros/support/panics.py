# SPDX-License-Identifier: Apache-2.0
"""Convert panics of libraries to ordinary exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mllmseg_ros.error_text import one_line

__all__ = ["panics_are_errors"]


@contextmanager
def panics_are_errors() -> Iterator[None]:
    """Turn what is raised beside :class:`Exception`, such as a panic of Rust code, into ValueError.

    A library panics on its arguments, on the same ones each time. What is meant to end the process
    or a coroutine passes.

    Raises:
        ValueError: naming the panic.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise ValueError(one_line(error)) from error
