"""The pages' modules without a browser: node's own test runner, and what the HTML promises."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from coordinator.errors import CODES

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "web" / "pages"
HTML = sorted(PAGES.glob("*.html"))


async def test_pure_modules() -> None:
    tests = [str(path) for path in sorted(Path(__file__).parent.glob("*.test.mjs"))]
    process = await asyncio.create_subprocess_exec(
        "node", "--test", *tests, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def english() -> dict[str, str]:
    text = (PAGES / "text" / "english.js").read_text()
    return dict(re.findall(r'^  "([\w.]+)":\s+"(.*)",$', text, re.MULTILINE))


@pytest.mark.parametrize("page", HTML, ids=lambda page: page.stem)
def test_every_word_that_a_page_marks_exists(page: Path) -> None:
    marked = set(re.findall(r'data-words(?:-\w+)?="([\w.]+)"', page.read_text()))
    assert marked
    assert marked <= english().keys()


@pytest.mark.parametrize("page", HTML, ids=lambda page: page.stem)
def test_pages_hold_no_inline_script_or_style_and_load_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert not re.search(r"(?:src|href)=\"(?!/)(?!#)", text)


def test_every_final_code_of_a_room_has_its_own_sentence() -> None:
    final = ["removed", "room_closed", "room_full", "duplicate_identity", "token_missing"]
    final += ["token_invalid", "token_expired", "permission_denied", "room_not_found"]
    assert set(final) <= CODES.keys()
    assert {f"end.{code}" for code in final} <= english().keys()


def test_every_passing_trouble_has_its_own_sentence() -> None:
    passing = {code for code, kind in CODES.items() if kind.close_code in range(4100, 4207)}
    # Answers of the media node to one request; the room's own words for a lost connection fit.
    passing -= {"no_responder", "deadline_exceeded"}
    assert {f"away.{code}" for code in passing} <= english().keys()


def test_vendored_files_are_where_the_lock_file_puts_them() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    for path in json.loads((PAGES / "vendor.json").read_text()).values():
        assert any(path.startswith(f"{package}/") for package in lock if package), path
        assert (ROOT / path).is_file(), "npm ci was not run"
