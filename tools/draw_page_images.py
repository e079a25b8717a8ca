# SPDX-License-Identifier: Apache-2.0
"""Photograph the web console and the review page with headless Chromium, for the documentation.

    source install/local_setup.bash && export AMENT_PREFIX_PATH=$AMENT_PREFIX_PATH:$PWD/.venv
    .venv/bin/python tools/draw_page_images.py

Starts the live demo, sends a command from its page, and writes docs/console.png,
docs/console_phone.png and docs/console_sideways.png; then labels the sample frames and writes
docs/review.png. Needs Chromium.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import PIL.Image

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FRAMES = ROOT / "mllmseg_ros" / "assets" / "frames"
DEMO = ROOT / "install" / "lib" / "mllmseg_ros" / "demo"
COMMAND = "put the blue cube left of the pink mug"
LABELS = ("the green bowl", "the red mug", "the banana")
REVIEW_PORT = 8654
START_S = 180.0

sys.path.insert(0, str(ROOT / "tests" / "ros"))
from browser import Browser  # noqa: E402


def main() -> None:
    """Write all images."""
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder) / "profile") as browser:
        demo = [str(DEMO), "--live", "--out", str(Path(folder) / "overlays")]
        with running(demo) as process:
            photograph_console(browser, read_address(process))
        labelled = Path(folder) / "tools"
        images = Path(folder) / "monday"
        shutil.copytree(FRAMES, images, ignore=shutil.ignore_patterns("*_*_*", "*.json"))
        run_mllmseg("label", str(images), *LABELS, "-o", str(labelled))
        review = ["-m", "mllmseg_ros.cli", "review", str(labelled), "--port", str(REVIEW_PORT)]
        with running([sys.executable, *review]):
            photograph_review(browser)


def photograph_console(browser: Browser, url: str) -> None:
    """Send a command, explain its first result, and write the page in three sizes."""
    browser.resize(1400, 900)
    open_page(browser, url)
    browser.run("localStorage.setItem('theme', 'dark')")
    open_page(browser, url)
    browser.run("document.getElementById('command').focus()")
    browser.type(COMMAND)
    browser.wait("document.querySelectorAll('.entry .distance')[1].textContent", START_S)
    browser.run("document.querySelector('.entry').click()")
    browser.run("document.getElementById('why').click()")
    browser.wait("document.getElementById('why-image').naturalWidth > 200", START_S)
    browser.run("document.activeElement.blur()")
    for name, width, height in (
        ("console.png", 1400, 900),
        ("console_phone.png", 390, 844),
        ("console_sideways.png", 844, 390),
    ):
        if name == "console.png":
            browser.resize(width, height)
        else:
            browser.resize(width, height, 1.5, phone=True)
        browser.run("new Promise((done) => setTimeout(done, 2000))")
        # On a busy machine images come late, and then the page says so.
        browser.wait(
            "document.getElementById('state').dataset.level === 'ok'"
            " && document.querySelectorAll('.entry .distance')[1].textContent",
            START_S,
        )
        save(browser, name)


def photograph_review(browser: Browser) -> None:
    """Write the page with the entry that the model is least sure of."""
    browser.resize(1200, 760)
    open_page(browser, f"http://127.0.0.1:{REVIEW_PORT}/")
    browser.wait("!document.getElementById('keep').disabled", START_S)
    browser.run("new Promise((done) => setTimeout(done, 1000))")
    save(browser, "review.png")


def open_page(browser: Browser, url: str) -> None:
    """Open a page of a server that may still be starting."""
    browser.open(url)
    for _ in range(round(START_S)):
        if browser.run("location.href") == url and browser.run("document.title"):
            return
        browser.run("new Promise((done) => setTimeout(done, 1000))")
        browser.open(url)
    raise TimeoutError(f"{url} does not answer")


def save(browser: Browser, name: str) -> None:
    """Write a screenshot."""
    browser.screenshot(DOCS / name)
    with PIL.Image.open(DOCS / name) as image:
        print(f"docs/{name}: {image.width} x {image.height} px", flush=True)


def read_address(process: subprocess.Popen[str]) -> str:
    """Read the address of the console from what the demo prints."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"open (http://\S+/)", line):
            return found[1]
    raise RuntimeError("the demo did not start")


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process while the context is open."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_mllmseg(*arguments: str) -> None:
    """Run a verb of ``mllmseg``."""
    subprocess.run([sys.executable, "-m", "mllmseg_ros.cli", *arguments], check=True)


if __name__ == "__main__":
    main()
