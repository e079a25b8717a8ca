# SPDX-License-Identifier: Apache-2.0
"""Forward the former import paths of moved modules, with a DeprecationWarning, for one release."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["forward"]


def forward(old: str, new: str, **renamed: str) -> Callable[[str], Any]:
    """Warn that a module has moved, and return the ``__getattr__`` of the module at its old place.

    Args:
        old: former name of the module.
        new: its name now.
        **renamed: former names in the module -> their names now.
    """
    # Reported for the import statement, not for this function or the module at the old place.
    warnings.warn(f"{old} has moved to {new}", DeprecationWarning, stacklevel=3)

    def get(name: str) -> Any:
        return getattr(import_module(new), renamed.get(name, name))

    return get
