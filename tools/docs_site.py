# SPDX-License-Identifier: Apache-2.0
"""MkDocs hooks for pages that are also read in the repository (see mkdocs.yml).

Pages that are stored outside ``docs/`` are added. Links to other files become links into the
repository if ``repo_url`` is set, else their path. Entry points: the ``on_`` functions, which
MkDocs calls.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# File outside docs/ -> page of the site.
OUTSIDE_PAGES = {
    "mllmseg_ros/assets/tabletop/README.md": "model_card.md",
    "CONTRIBUTING.md": "contributing_code.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
_HEAD = re.compile(r"<th\b[^>]*>(.*?)</th>", re.DOTALL)
_FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are stored outside ``docs/``."""
    from mkdocs.structure.files import File

    for path, name in OUTSIDE_PAGES.items():
        if name != "index.md":
            markdown = (ROOT / path).read_text(encoding="utf-8")
            text = rewrite_links(markdown, path, config.repo_url or "")
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Convert a page of ``docs/``."""
    if page.file.generated_by is not None:
        return markdown
    return rewrite_links(markdown, f"docs/{page.file.src_uri}", config.repo_url or "")


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Name the column of each table cell, for phones, on which cells stand below each other."""
    return _TABLE.sub(lambda match: _label_cells(match[0]), html)


def _label_cells(table: str) -> str:
    heads = [re.sub(r"<[^>]+>", "", head).strip() for head in re.findall(_HEAD, table)]

    def label_row(row: re.Match[str]) -> str:
        columns = itertools.count()

        def label(cell: re.Match[str]) -> str:
            index = next(columns)
            head = heads[index] if index < len(heads) else ""
            return f'<td data-label="{head}"{cell[1]}>' if head and index else cell[0]

        return re.sub(r"<td\b([^>]*)>", label, row[0])

    return re.sub(r"<tr>.*?</tr>", label_row, table, flags=re.DOTALL)


def _site_link(page: str, path: str) -> str:
    """Link to a page of the site from the page that a file becomes."""
    # The site has the folders of docs/; pages from outside are at its top.
    folder = posixpath.dirname(path.removeprefix("docs/")) if path.startswith("docs/") else ""
    return posixpath.relpath(page, folder or ".")


def rewrite_links(markdown: str, path: str, repo_url: str) -> str:
    """Rewrite every link of a page for the site.

    Args:
        markdown: text of a file.
        path: of that file, relative to the root of the repository.
        repo_url: where the repository can be browsed, "" if unknown.
    """
    folder = posixpath.dirname(path)

    def rewrite(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        file, hash_, anchor = target.partition("#")
        name = posixpath.normpath(posixpath.join(folder, file))
        page = OUTSIDE_PAGES.get(
            name, name.removeprefix("docs/") if name.startswith("docs/") else ""
        )
        if page:
            return f"{mark}[{text}]({_site_link(page, path)}{hash_}{anchor})"
        if repo_url:
            return f"{mark}[{text}]({repo_url.rstrip('/')}/blob/main/{name}{hash_}{anchor})"
        shown = text.strip("`")
        return f"`{name}`" if shown in name else f"{text} (`{name}`)"

    # Code blocks contain no links.
    parts = _FENCED.split(markdown)
    return "".join(
        part if index % 2 else _LINK.sub(rewrite, part) for index, part in enumerate(parts)
    )
