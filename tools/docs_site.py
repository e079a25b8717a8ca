# SPDX-License-Identifier: Apache-2.0
"""MkDocs hooks for pages that are also read in the repository (see mkdocs.yml).

A line of a page that contains only a link to a section of the README becomes that section. Pages
that are stored outside ``docs/`` are added. Links to other files become links into the repository
if ``repo_url`` is set, else their path. Entry points: the ``on_`` functions, which MkDocs calls.
"""

from __future__ import annotations

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
_SECTION = re.compile(r"^\[[^\]\n]*\]\(\.\./README\.md#([\w-]+)\)$", re.MULTILINE)
# The same link within a line: no page of the site has all sections.
_README_LINK = re.compile(r"\]\((?:\.\./)*README\.md#[\w-]+\)")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are stored outside ``docs/``."""
    from mkdocs.structure.files import File

    for path, name in OUTSIDE_PAGES.items():
        if name != "index.md":
            text = convert_page(
                (ROOT / path).read_text(encoding="utf-8"), path, config.repo_url or ""
            )
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Convert a page of ``docs/``."""
    if page.file.generated_by is not None:
        return markdown
    return convert_page(markdown, f"docs/{page.file.src_uri}", config.repo_url or "")


def convert_page(markdown: str, path: str, repo_url: str) -> str:
    """Insert the README's sections, and rewrite every link for the site.

    Args:
        markdown: text of a file.
        path: of that file, relative to the root of the repository.
        repo_url: where the repository can be browsed, "" if unknown.

    Raises:
        ValueError: if the README does not have a linked section.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def insert_section(match: re.Match[str]) -> str:
        return _rewrite_links(extract_section(readme, match[1]), "README.md", repo_url)

    text = _SECTION.sub(insert_section, _rewrite_links(markdown, path, repo_url))
    return _README_LINK.sub(rf"]({_site_link(OUTSIDE_PAGES['README.md'], path)})", text)


def extract_section(markdown: str, anchor: str) -> str:
    """Return the text under a heading, without it, up to the next heading of any level.

    Raises:
        ValueError: if there is no such heading.
    """
    found, lines, fenced = False, [], False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"#+ (.+)", line)
        if found and heading:
            break
        if found:
            lines.append(line)
        elif heading:
            found = _anchor(heading[1]) == anchor
    if not found:
        raise ValueError(f"README.md has no section #{anchor}")
    return "\n".join(lines).strip()


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _site_link(page: str, path: str) -> str:
    """Link to a page of the site from the page that a file becomes."""
    # The site has the folders of docs/; pages from outside are at its top.
    folder = posixpath.dirname(path.removeprefix("docs/")) if path.startswith("docs/") else ""
    return posixpath.relpath(page, folder or ".")


def _rewrite_links(markdown: str, path: str, repo_url: str) -> str:
    folder = posixpath.dirname(path)

    def rewrite(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        file, hash_, anchor = target.partition("#")
        name = posixpath.normpath(posixpath.join(folder, file))
        if name == "README.md" and path != "README.md" and anchor:
            return match[0]  # convert_page handles it
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
