# SPDX-License-Identifier: Apache-2.0
"""What MkDocs cannot do by itself for pages that are read in the repository, too (see mkdocs.yml).

The README's sections and the model card exist once. A line of a page that is nothing but a link to
a section of the README becomes that section; the model card becomes a page. Links to files of the
repository that are no page become their path, or a link, where ``repo_url`` is set. Entry points:
the ``on_`` functions, which MkDocs calls; :func:`as_page`.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Pages that stand elsewhere in the repository.
ELSEWHERE = {"mllmseg_ros/assets/tabletop/README.md": "model_card.md", "README.md": "index.md"}
_SECTION = re.compile(r"^\[[^\]\n]*\]\(\.\./README\.md#([\w-]+)\)$", re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand elsewhere."""
    from mkdocs.structure.files import File

    for path, name in ELSEWHERE.items():
        if name != "index.md":
            text = as_page((ROOT / path).read_text(encoding="utf-8"), path, config.repo_url or "")
            files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Make a page of docs/ one of the site."""
    if page.file.generated_by is not None:
        return markdown
    return as_page(markdown, f"docs/{page.file.src_uri}", config.repo_url or "")


def as_page(markdown: str, path: str, repo_url: str) -> str:
    """Fetch the README's sections and point every link where the site has its target.

    Args:
        markdown: text of a file.
        path: of that file, from the repository's root.
        repo_url: where the repository can be browsed, "" where nobody knows.

    Raises:
        ValueError: if the README has no such section.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def section_of_readme(found: re.Match[str]) -> str:
        return _relinked(section(readme, found[1]), "README.md", repo_url)

    return _SECTION.sub(section_of_readme, _relinked(markdown, path, repo_url))


def section(markdown: str, anchor: str) -> str:
    """What stands under a heading, up to the next heading, without it.

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


def _relinked(markdown: str, path: str, repo_url: str) -> str:
    folder = posixpath.dirname(path)

    def link(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        file, hash_, anchor = target.partition("#")
        name = posixpath.normpath(posixpath.join(folder, file))
        if name == "README.md" and path != "README.md" and anchor:
            return found[0]  # a section, or resolved below
        if name in ELSEWHERE:
            return f"{mark}[{text}]({ELSEWHERE[name]}{hash_}{anchor})"
        if name.startswith("docs/"):
            return f"{mark}[{text}]({name.removeprefix('docs/')}{hash_}{anchor})"
        if repo_url:
            return f"{mark}[{text}]({repo_url.rstrip('/')}/blob/main/{name}{hash_}{anchor})"
        shown = text.strip("`")
        return f"`{name}`" if shown in name else f"{text} (`{name}`)"

    # What stands in a block of code is no link.
    parts = _FENCED.split(markdown)
    return "".join(each if i % 2 else _LINK.sub(link, each) for i, each in enumerate(parts))
