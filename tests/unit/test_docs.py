# SPDX-License-Identifier: Apache-2.0
"""README.md, CONTRIBUTING.md, SECURITY.md and docs/ are true: code runs, commands and links exist.

docs/contributing.md has the rules by which a block of code is judged.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib.util
import io
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from mllmseg_ros import cli
from mllmseg_ros.segmenter import Segmenter
from mllmseg_ros.sim.samples import FRAMES, load_sample

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which ROS 2 brings")

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MARK = "*Not run here: "
FOLDERS = (
    "action|benchmarks|config|docker|docs|examples|launch|mllmseg_ros|msg|requirements|rviz|srv"
    "|tests|tools"
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code."""

    language: str
    text: str
    marked: bool  # as not run here
    line: int


@cache
def blocks(name: str) -> list[Block]:
    text, found = (ROOT / name).read_text(), []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        before = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
        line = text.count("\n", 0, match.start()) + 1
        found.append(
            Block(
                language=match[1],
                text=match[2],
                marked=before.startswith(MARK) and before.endswith("*"),
                line=line,
            )
        )
    return found


def code(name: str) -> Iterator[str]:
    """Inline code of a page, outside blocks."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.M | re.S)
    yield from re.findall(r"`([^`\n]+)`", text)


def tables(name: str) -> Iterator[list[str]]:
    """Rows of all tables of a page, cell by cell."""
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


# What runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(FRAMES / "frame_0.png", tmp_path / "photo.png")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


@pytest.mark.parametrize(
    "name", [name for name in NAMES if any(b.language == "python" for b in blocks(name))]
)
def test_python_runs_and_prints_what_the_page_says(
    name: str, folder: Path, segmenter: Segmenter
) -> None:
    todo = blocks(name)
    if any("_msgs" in b.text or "mllmseg_ros.msg" in b.text for b in todo if b.language):
        pytest.importorskip("mllmseg_ros.msg", reason="needs ROS 2 and the built workspace")
    names = {"__name__": "page", "image": load_sample(0).rgb, "segmenter": segmenter}
    for block, after in zip(todo, [*todo[1:], None], strict=True):
        if block.language != "python":
            continue
        compiled = compile("\n" * block.line + block.text, name, "exec")
        if block.marked:
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compiled, names)
        if after is not None and after.language == "text":
            assert printed.getvalue() == after.text, f"{name}:{after.line}"


def test_the_first_command_on_an_image_runs(folder: Path) -> None:
    (line,) = {
        line
        for block in blocks("docs/without_ros.md")
        for line in logical_lines(block)
        if line.startswith("mllmseg segment photo.png")
    }
    arguments = shlex.split(line.replace("[--model PATH]", ""), comments=True)[1:]
    assert cli.main(arguments) == 0
    assert {"overlay.png", "result.json"} <= {each.name for each in folder.iterdir()}


# What is read


def logical_lines(block: Block) -> list[str]:
    """Command lines of a block: all of bash, and of others what a prompt stands before."""
    text = block.text.replace("\\\n", " ")
    if block.language == "bash":
        return [line for line in text.splitlines() if line and not line.startswith("#")]
    if block.language == "":
        return [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return []


def simple_commands(line: str) -> Iterator[list[str]]:
    """Words of each command of a line, without variables set before it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("&|;"):
            while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]):
                words.pop(0)
            if words:
                yield words
            words = []
        else:
            words.append(word)


def said_commands(name: str) -> list[tuple[str, list[str]]]:
    lines = [(f"{name}:{b.line}", line) for b in blocks(name) for line in logical_lines(b)]
    # In running text only what names a file or has arguments: `mllmseg adapt` is a name there.
    prefixes = ("make ", "python benchmarks/", "python examples/", "pip install ", "ros2 ")
    lines += [(name, line) for line in code(name) if line.startswith(prefixes)]
    lines += [(name, line) for line in code(name) if re.match(r"mllmseg eval \S+ --", line)]
    found = []
    for where, line in lines:
        line = re.sub(r"\$\w*RES\b|\[--model PATH\]|…|<this repository>", "", line)
        found += [(where, words) for words in simple_commands(line)]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_ones_that_exist(name: str) -> None:
    problems = [
        f"{where}: {' '.join(words)}: {problem}"
        for where, words in said_commands(name)
        if (problem := wrong_with(words))
    ]
    assert problems == [], "\n".join(problems)


def wrong_with(words: list[str]) -> str:
    """What is wrong with a command, "" if nothing is known to be."""
    program, *rest = words
    if program == "mllmseg":
        return wrong_with_verb(rest)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        asked = [word for word in rest if "=" not in word]
        return "" if set(asked) <= set(targets) else f"make has {targets}"
    if program in ("python", "python3") and rest and rest[0].endswith(".py"):
        return wrong_with_script(*rest)
    if "pip" in words[:3] and "install" in words:
        files = re.findall(r"(?:\.|mllmseg_ros)\[([\w,]+)\]", " ".join(rest))
        extras = [extra for each in files for extra in each.split(",")]
        missing = [e for e in extras if not (ROOT / "requirements" / f"{e}.txt").exists()]
        return f"no extra {missing}" if missing else ""
    if program == "ros2":
        return wrong_with_ros(rest)
    return ""


def wrong_with_verb(arguments: list[str]) -> str:
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
            cli._parser().parse_args(arguments)
    except SystemExit as end:
        return stderr.getvalue() if end.code else ""
    return ""


def wrong_with_script(file: str, *arguments: str) -> str:
    path = ROOT / file
    if not path.exists():
        path = ROOT / file.removeprefix("mllmseg_ros/")  # from the folder above
    if not path.exists():
        return f"no file {file}"
    asked = [each.split("=")[0] for each in arguments if re.match(r"--\w", each)]
    asked += [each.split(":=")[0] for each in arguments if ":=" in each]
    text = path.read_text()
    missing = [each for each in asked if f'"{each}"' not in text and each != "--ros-args"]
    return f"{file} knows no {missing}" if missing else ""


def wrong_with_ros(words: list[str]) -> str:
    plain = [word for word in words if not word.startswith("-")]
    if words[:2] == ["run", "mllmseg_ros"]:
        cmake = (ROOT / "CMakeLists.txt").read_text()
        if words[2] not in re.findall(r"^  (\w+):mllmseg_ros", cmake, re.M):
            return "no such executable"
        if words[2] == "mllmseg":
            return wrong_with_verb(words[3:]) if words[3:] else ""
        node = words[2].removesuffix("_node")
        set_ = [b for a, b in itertools.pairwise(words) if a == "-p"]
        return wrong_with_parameters(node, [each.split(":=")[0] for each in set_])
    if words[:2] == ["launch", "mllmseg_ros"]:
        path = ROOT / "launch" / words[2]
        if not path.exists():
            return "no such launch file"
        given = [each.split(":=")[0] for each in words[3:] if ":=" in each]
        missing = set(given) - launch_arguments(path)
        return f"no argument {sorted(missing)}" if missing else ""
    if words[:2] in (["param", "set"], ["param", "describe"], ["param", "get"]):
        return wrong_with_parameters(words[2].split("/")[-1], [words[3]])
    if words[:2] in (["topic", "pub"], ["topic", "echo"]):
        return wrong_with_topic(*plain[2:4]) if words[1] == "pub" else wrong_with_topic(plain[2])
    if words[:2] in (["service", "call"], ["action", "send_goal"]):
        package, folder, kind = plain[3].split("/")
        exists = package != "mllmseg_ros" or (ROOT / folder / f"{kind}.{folder}").exists()
        return "" if exists else f"no {plain[3]}"
    return ""


def wrong_with_parameters(node: str, names: list[str]) -> str:
    if not (ROOT / "config" / f"{node}.yaml").exists():
        return ""
    known = parameters_of(node)
    missing = [n for n in names if n not in known and not n.startswith("qos_overrides.")]
    return f"{node} has no parameter {missing}" if missing else ""


def launch_arguments(path: Path) -> set[str]:
    """Names that a launch file declares: itself, in a table at its top, or by its node."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "describe_node":
            given = {each.arg: each.value for each in node.keywords}
            names |= arguments_of_every_node() | parameters_of(ast.literal_eval(given["name"]))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "id", "")
            if called == "DeclareLaunchArgument":
                names.add(node.args[0].value)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    return names


def arguments_of_every_node() -> set[str]:
    text = (ROOT / "mllmseg_ros" / "ros" / "support" / "launch_files.py").read_text()
    return {"preset", "use_sim_time", *re.findall(r'_argument\("(\w+)"', text)}


def parameters_of(node: str) -> set[str]:
    """Those in the node's configuration, which another test compares with the node's own."""
    text = (ROOT / "config" / f"{node}.yaml").read_text()
    return set(yaml.safe_load(text)["/**"]["ros__parameters"])


@cache
def topic_types() -> dict[str, set[str]]:
    """What the pages' tables say of topics: their types by their names."""
    types: dict[str, set[str]] = {}
    for cells in (cells for name in NAMES for cells in tables(name)):
        kind = re.match(r"`?(\w+_msgs|mllmseg_ros)/(?:msg/)?(\w+)", cells[1] if cells[1:] else "")
        if kind:
            for topic in re.findall(r"`(/?[a-z]\w*(?:/\w+)*)`", cells[0]):
                types.setdefault(topic.lstrip("/"), set()).add(f"{kind[1]}/{kind[2]}")
    return types


def wrong_with_topic(topic: str, kind: str = "") -> str:
    known = topic_types().get(topic.lstrip("/"))
    if known is None:
        return f"no table has the topic {topic}"
    if kind and kind.replace("/msg/", "/") not in known:
        return f"{topic} is {known}"
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_code_is_at_most_80_columns_wide(name: str) -> None:
    """Output and data are as programs write them; the site wraps them on a phone."""
    code_languages = ("bash", "python", "yaml", "bibtex")
    wide = [
        f"{name}:{block.line + row}: {line}"
        for block in blocks(name)
        if block.language in code_languages or block.text.startswith("msg/")
        for row, line in enumerate(block.text.splitlines(), 1)
        if len(line) > 80
    ]
    assert wide == []


@pytest.mark.parametrize("name", NAMES)
def test_data_in_blocks_is_well_formed(name: str) -> None:
    for block in blocks(name):
        if block.language == "json":
            is_one = block.text.startswith("{\n")  # else a document per line
            documents = [block.text] if is_one else block.text.splitlines()
            assert [json.loads(each) for each in documents], f"{name}:{block.line}"
        if block.language == "yaml":
            data = yaml.safe_load(block.text)
            settings = [
                each["ros__parameters"]
                for each in data.values()
                if isinstance(each, dict) and "ros__parameters" in each
            ]
            assert settings or block.marked, f"{name}:{block.line}"
            nodes = [file.stem for file in (ROOT / "config").glob("*.yaml")]
            for each in settings:
                wrong = [wrong_with_parameters(node, list(each)) for node in nodes]
                assert "" in wrong, f"{name}:{block.line}: {wrong}"


# What is linked and named


@pytest.mark.parametrize("name", NAMES)
def test_links_and_paths_lead_somewhere(name: str) -> None:
    text = re.sub(r"<!--.*?-->", "", (ROOT / name).read_text(), flags=re.S)
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'src="([^"]+)"', prose)
    files = [t.split("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    broken = [f for f in files if not ((ROOT / name).parent / f).exists()]
    assert [f for f in broken if f != "model_card.md"] == []
    paths = re.findall(rf"(?<![\w/.<>-])((?:{FOLDERS})/[\w./-]*\w\.\w+)", text)
    # From the folder above, this repository's files are in mllmseg_ros/.
    places = [(ROOT / path, ROOT / path.removeprefix("mllmseg_ros/")) for path in paths]
    assert [str(at[0]) for at in places if not any(each.exists() for each in at)] == []


def test_every_image_has_what_makes_it() -> None:
    section = (ROOT / "docs" / "contributing.md").read_text().split("\n## Images\n")[1]
    made: dict[str, str] = {}
    for line in section.split("\n## ")[0].splitlines():
        if line.startswith("| `"):
            names, maker = line.strip("| ").split(" | ")
            made |= dict.fromkeys(re.findall(r"`([^`]+)`", names), maker)
    folder = ROOT / "docs"
    images = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in {".png", ".jpg", ".webp", ".svg"}
    }
    assert images == set(made)
    for name, maker in made.items():
        script, verb = re.search(r"`(tools/\w+\.py)`", maker), re.search(r"`mllmseg (.+?)`", maker)
        if script:
            assert name.partition("_")[0].partition(".")[0] in (ROOT / script[1]).read_text(), name
        elif verb:
            assert wrong_with_verb(shlex.split(verb[1])) == "", name
        else:
            assert name.endswith(".svg") or maker.startswith("a screenshot of"), name
    shown = " ".join(page.read_text() for page in PAGES if page.name != "contributing.md")
    shown += (ROOT / "mllmseg_ros" / "assets" / "tabletop" / "README.md").read_text()
    shown += (ROOT / "mkdocs.yml").read_text()
    assert [name for name in images if name not in shown] == []


def test_the_tree_names_files_that_exist() -> None:
    block = next(b for b in blocks("docs/architecture.md") if b.text.startswith("msg/"))
    here = {path.name for path in (ROOT / "mllmseg_ros").rglob("*.py")}
    named = set(re.findall(r"\w+\.py", block.text))
    assert len(named) > 20
    assert named <= here
    package = ROOT / "mllmseg_ros"
    folders = [path.name for path in package.iterdir() if (path / "__init__.py").exists()]
    folders += [f"ros/{path.name}" for path in (package / "ros").iterdir() if path.is_dir()]
    missing = [name for name in folders if f" {name}/" not in block.text and name != "ros"]
    assert [name for name in missing if not name.endswith("__pycache__")] == []


def test_the_readme_is_for_the_first_minute() -> None:
    text = (ROOT / "README.md").read_text()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    assert len(prose.split()) < 900
    before, _, after = text.partition("```bash\n")
    assert "docs/demo.webp" in before
    assert len(after.partition("```")[0].splitlines()) == 3
    for name in ("topics", "parameters", "install", "first_steps", "licences"):
        assert f"(docs/{name}.md" in text, name
    cited = text.partition("```bibtex\n")[2]
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert "2508.04107" in cited
    assert f"{{{version}}}" in cited


def test_the_node_s_topics_are_in_the_table() -> None:
    policy = ElementTree.parse(ROOT / "config" / "mllmseg.policy.xml")
    (profile,) = policy.findall(".//profile[@node='mllmseg']")
    allowed = {topic.text for topic in profile.iter("topic")}
    page = (ROOT / "docs" / "topics.md").read_text()
    section = page.split("\n## In and out\n")[1].split("\n#")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}
    assert named <= allowed
    beside = {"/rosout", "/parameter_events", "/clock", "~/transition_event"}
    left = {name for name in allowed - named - beside if not name.endswith("/compressed")}
    assert left == set()


def test_the_node_s_parameters_are_in_the_table() -> None:
    parameters = pytest.importorskip("mllmseg_ros.ros.node.parameters", reason="needs ROS 2")
    fields = {field.name: field for field in dataclasses.fields(parameters.SegmenterParameters)}
    page = (ROOT / "docs" / "parameters.md").read_text()
    section = page.split("<!-- parameters: begin -->")[1].split("<!-- parameters: end -->")[0]
    named = set()
    for cells in (line.split("|") for line in section.splitlines() if line.startswith("| `")):
        for name in re.findall(r"`(\w+)`", cells[1]):
            default = fields[name].default
            said = yaml.safe_load(cells[2].strip().split(" ")[0])
            assert said == (list(default) if isinstance(default, tuple) else default), name
            assert (cells[3].strip() == "yes") == fields[name].metadata["live"], name
            named.add(name)
    assert named == set(fields)


def test_what_troubleshooting_quotes_is_what_the_program_says() -> None:
    texts = [(ROOT / name).read_text() for name in ("Makefile", "tools/executable.in")]
    for path in (ROOT / "mllmseg_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    quoted = [each[1:-1] for each in code("docs/troubleshooting.md") if each[0] == each[-1] == '"']
    assert len(quoted) > 30
    fragments = {part.strip() for each in quoted for part in each.split("…")}
    said = "\n".join(texts)
    assert [part for part in sorted(fragments) if part not in said] == []


# The site


def test_every_page_is_in_the_navigation() -> None:
    entries: list[str] = []

    def collect(node: object) -> None:
        if isinstance(node, dict):
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                collect(each)
        else:
            entries.append(str(node))

    collect(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(entries) == sorted(pages | {"model_card.md", "contributing_code.md"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as it is built."""
    if None in map(importlib.util.find_spec, ("material", "mkdocstrings")):
        pytest.skip("needs requirements/docs.txt")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_asks_no_other_host(site: Path) -> None:
    fetched = re.compile(
        r"""<(?:script|img|iframe|source|video)[^>]*\ssrc="?(?:https?:)?//"""
        r"""|<link(?![^>]*canonical)[^>]*\shref="?(?:https?:)?//|@import|url\(["']?(?:https?:)?//""",
        re.IGNORECASE,
    )
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert fetched.findall(path.read_text()) == [], path
    assert (site / "search" / "search_index.json").exists()


def test_pages_from_outside_the_folder_are_in_the_site(site: Path) -> None:
    assert "<code>scene_cloud</code></td>" in (site / "topics.html").read_text()
    assert "tabletop_curve.png" in (site / "model_card.html").read_text()


def test_cells_of_tables_name_their_columns(site: Path) -> None:
    """On a phone, cells stand below each other, without the row of headings."""
    page = (site / "parameters.html").read_text()
    assert '<td data-label="default">auto</td>' in page
    assert "<td><code>autostart</code></td>" in page  # the first cell is the heading of its row


def test_api_pages_have_the_docstrings(site: Path) -> None:
    segmenter = (site / "api" / "segmenter.html").read_text()
    assert 'id="mllmseg_ros.segmenter.Segmenter.from_pretrained"' in segmenter
    assert "None if the mask is empty" in segmenter  # the comment behind a field
    pages = [path.read_text() for path in (site / "api").glob("*.html")]
    assert [page for page in pages if re.search(r":(?:class|func|meth|mod):`", page)] == []
