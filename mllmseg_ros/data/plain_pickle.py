# SPDX-License-Identifier: Apache-2.0
"""Read a pickle of plain containers, text and numbers; anything that could run code is refused.

RefCOCO's references come as pickles.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["load_plain_pickle"]


class _PlainUnpickler(pickle.Unpickler):
    """Lists, tuples, dicts, sets, text, bytes and numbers need no class to be looked up."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise ValueError(f"it holds a {module}.{name}; only plain containers are read")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise ValueError("it refers to something outside itself; only plain containers are read")


def load_plain_pickle(path: Path) -> Any:
    """Read a pickle, one of Python 2 too.

    Raises:
        ValueError: if the file is broken, or holds more than plain containers and numbers.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except ValueError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"not a complete pickle ({type(error).__name__}: {error})") from error
