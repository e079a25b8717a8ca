# SPDX-License-Identifier: Apache-2.0
"""Read a pickle of plain containers, text and numbers; anything that could run code is refused.

RefCOCO's references come as pickles.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

from mllmseg_ros.error_text import one_line
from mllmseg_ros.files import open_file, show

__all__ = ["load_plain_pickle"]

MAX_BYTES = 512 << 20


class _PlainUnpickler(pickle._Unpickler):
    """Lists, tuples, dicts, sets, text, bytes and numbers need no class to be looked up.

    The implementation in Python takes 2.5 times as long as that in C, which allocates 32 GB for a
    pickle of twelve bytes that numbers an object 2**31.
    """

    def find_class(self, module: str, name: str) -> NoReturn:
        raise ValueError(f"it holds a {module}.{name}; only plain containers are read")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise ValueError("it refers to something outside the file; only plain containers are read")


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle, one of Python 2 too.

    Raises:
        ValueError: if the file is broken, or holds more than plain containers and numbers.
    """
    with open_file(path, max_bytes=MAX_BYTES) as file:
        try:
            return _PlainUnpickler(file, encoding="latin1").load()
        except ValueError as error:
            raise ValueError(f"{show(path)}: {error}") from error
        except Exception as error:  # a broken pickle can raise anything
            raise ValueError(f"{show(path)}: not a complete pickle ({one_line(error)})") from error
