# SPDX-License-Identifier: Apache-2.0
"""Files are written through mllmseg_ros.files alone, so that no name beside data is a trap.

A call that writes a file by its name is accepted inside ``with replaced_file(…)`` and its
relatives, whose names are random, and with mode "x", which fails for a name that exists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.threat("F4", "F6")

PACKAGE = Path(__file__).parents[2] / "mllmseg_ros"
SAFE_BLOCKS = {"replaced_file", "replaced_folder", "temporary_folder"}
WRITERS = {
    "FileHandler", "NamedTemporaryFile", "copyfile", "copytree", "fdopen", "hardlink_to",
    "imwrite", "imwritemulti", "link", "memmap", "open_memmap", "rename", "renames", "save",
    "save_file", "save_pretrained", "savefig", "savetxt", "savez", "savez_compressed",
    "serialize_file", "symlink", "symlink_to", "to_csv", "tofile", "touch", "truncate",
    "write_bytes", "write_text",
}  # fmt: skip
# What is none of a file by a name that somebody else may have prepared.
ACCEPTED = {
    ("checkpoints/hub.py", "folder.rename"): "of a locked folder to the name of its download",
    ("checkpoints/hub.py", "os.fdopen"): "a file of our own, which is no link",
    ("checkpoints/hub.py", "out.truncate"): "the same",
    ("drawing/rerun.py", "self._stream.save"): "a file that was just replaced",
    ("eval/perturb.py", "PIL.Image.fromarray(rgb).save"): "to memory",
    ("train/paper/batches.py", "PIL.Image.fromarray(rgb).save"): "to memory",
    ("recording/bounded_rosbags.py", "shutil.copyfile"): "into a temporary folder of our own",
    ("recording/cluster.py", "self._image_folder.save"): "our own function",
    ("recording/lerobot_video.py", "av.open"): "into a file opened with mode x",
    ("recording/video.py", "av.open"): "into a file opened with mode x",
    ("ros/demo/start.py", "open"): "by the descriptor of open_own_file",
    ("ros/node/segmenter_node.py", "backend.replace"): "our own function",
    ("sim/dataset.py", "np.lib.format.open_memmap"): "checked to be no link",
    ("train/adapt/adapt.py", "super().save"): "our own function",
    ("train/tabletop/training.py", "super().save"): "our own function",
    ("train/trainer.py", "self._state.save"): "our own function",
    ("train/trainer.py", "self.save"): "our own function",
    # Folders that the user named.
    ("data/run_folder.py", "run.mkdir"): "",
    ("recording/annotate.py", "out.mkdir"): "",
    ("recording/label.py", "run.out.mkdir"): "",
    ("ros/demo/commander.py", "arguments.out.mkdir"): "",
    ("sim/dataset.py", "folder.mkdir"): "",
    ("sim/export.py", "folder.mkdir"): "",
    ("sim/samples.py", "folder.mkdir"): "",
    ("train/adapt/adapt.py", "run.mkdir"): "",
    ("train/paper/training.py", "run.mkdir"): "",
    ("cli/train.py", "run.mkdir"): "",
    ("train/tabletop/embedded.py", "folder.mkdir"): "the new folder of the caller",
}


def writers(tree: ast.AST, *, safe: bool = False) -> Iterator[ast.Call]:
    """Calls that may write a file by its name, but those inside a safe block."""
    for node in ast.iter_child_nodes(tree):
        inside = safe
        if isinstance(node, (ast.With, ast.AsyncWith)):
            opened = [item.context_expr for item in node.items]
            inside |= any(isinstance(c, ast.Call) and name_of(c) in SAFE_BLOCKS for c in opened)
        if isinstance(node, ast.Call) and not inside and may_write(node):
            yield node
        yield from writers(node, safe=inside)


def name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def may_write(call: ast.Call) -> bool:
    name, arguments = name_of(call), [*call.args, *(k.value for k in call.keywords)]
    if name == "open":
        flags = "O_CREAT" in ast.unparse(call) or "O_WRONLY" in ast.unparse(call)
        texts = [a.value for a in arguments if isinstance(a, ast.Constant)]
        return flags or any(re.fullmatch(r"[rbt]*[wa+][rwabt+]*", str(text)) for text in texts)
    if name == "mkdir":
        return any(keyword.arg == "exist_ok" for keyword in call.keywords)
    if name in ("replace", "move", "copy", "copy2"):  # of paths, not of texts and arrays
        if ast.unparse(call.func).startswith(("os.", "shutil.")):
            return True
        return name == "replace" and len(call.args) == 1 and not call.keywords
    return name in WRITERS


def found(source: str) -> list[str]:
    return [ast.unparse(call.func) for call in writers(ast.parse(source))]


def test_nothing_else_writes_files() -> None:
    calls = {
        (path.relative_to(PACKAGE).as_posix(), call)
        for path in PACKAGE.rglob("*.py")
        if path.parent != PACKAGE / "files"
        for call in found(path.read_text(encoding="utf-8"))
    }
    assert calls - set(ACCEPTED) == set(), "write through mllmseg_ros.files"
    assert set(ACCEPTED) - calls == set(), "no longer there"


@pytest.mark.parametrize(
    "source",
    [
        "open(p, 'w')", "p.open('ab')", "p.open(mode='r+b')", "open(p, mode='w+')",
        "os.open(p, os.O_WRONLY)", "p.write_text(t)", "p.touch()", "cv2.imwrite(str(p), a)",
        "p.replace(q)", "os.replace(p, q)", "shutil.copy(p, q)", "image.save(p)",
        "p.mkdir(exist_ok=True)", "with open_file(p): save_file(t, p)",
    ],
)  # fmt: skip
def test_what_writes_is_seen(source: str) -> None:
    assert found(source)


@pytest.mark.parametrize(
    "source",
    [
        "open(p)", "p.open('rb')", "p.open('xb')", "a.copy()", "text.replace('a', 'b')",
        "replace(recipe, seed=1)", "p.mkdir()", "with replaced_file(p) as q: save_file(t, q)",
        "with replaced_folder(p) as q:\n  with x:\n    q.write_text(t)", "write_file(p, t)",
    ],
)  # fmt: skip
def test_what_does_not_write_is_not(source: str) -> None:
    assert not found(source)
