# SPDX-License-Identifier: Apache-2.0
"""What mkdocstrings has to know about this package's docstrings (see mkdocs.yml).

Fields are documented by the comment behind them, and references are written as Sphinx roles.
"""

from __future__ import annotations

import io
import re
import tokenize
from typing import Any

import griffe

__all__ = ["PackageStyle"]

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")


class PackageStyle(griffe.Extension):
    """Read trailing comments as docstrings of fields, and roles as code."""

    def on_attribute_instance(self, *, attr: Any, **_: Any) -> None:
        """Take the comment of a class's field as its docstring."""
        if attr.docstring is None and attr.parent.is_class:
            comment = _trailing_comment(attr.source)
            if comment:
                attr.docstring = griffe.Docstring(comment, parent=attr, lineno=attr.lineno)

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Write Sphinx roles as code."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(r"`\1`", obj.docstring.value)


def _trailing_comment(source: str) -> str:
    """Return the comment at the end of a statement, "" if there is none."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source.strip()).readline))
    except (tokenize.TokenError, IndentationError):
        return ""
    return next((each.string.lstrip("# ") for each in tokens if each.type == tokenize.COMMENT), "")
