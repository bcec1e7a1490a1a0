"""The pages as browsers get them: headers, caches, nothing beyond the folder."""

import re
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from coordinator.errors import PeerError
from tests.fakes.web_door import Door
from web.pages_door import PAGES, PagesDoor, policy


@pytest.mark.parametrize("path", ["/", "/r/tea", "/r/%C3%BC", "/watch/tea", "/admin"])
async def test_pages_forbid_what_they_do_not_need(door: Door, path: str) -> None:
    page = await door.call("GET", path, token="")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    csp = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in csp
    assert "unsafe" not in csp
    assert "media-src 'self' blob:" in csp
    assert f"ws://127.0.0.1:{door.server.port}" in csp
    assert "camera=(self)" in page.headers["Permissions-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"


async def test_everything_that_the_pages_name_is_there(door: Door) -> None:
    """Walks the pages and the modules that they import."""
    wanted = ["/", "/r/tea", "/watch/tea", "/admin", "/assets/vendor/hls.mjs"]
    seen: set[str] = set()
    while wanted:
        path = wanted.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = await door.call("GET", path, token="")
        assert answer.status == 200, path
        text = answer.body.decode()
        if path.endswith(".js"):
            assert answer.headers["Content-Type"].startswith("text/javascript")
            for found in re.findall(r'^(?:import|export)\b[^;]*?from "(\.[^"]+)"', text, re.M):
                base = Path("/assets") / Path(path).relative_to("/assets").parent
                parts: list[str] = []
                for part in (base / found).parts:
                    parts = parts[:-1] if part == ".." else [*parts, part]
                wanted.append(str(Path(*parts)))
        elif "html" in answer.headers["Content-Type"]:
            wanted += re.findall(r'(?:src|href)="(/assets/[^"]+)"', text)
    assert "/assets/style.css" in seen
    assert len([path for path in seen if path.endswith(".js")]) > 20


@pytest.mark.parametrize(
    "path",
    [
        "/assets/room.html",
        "/assets/vendor.json",
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%2fapp.py",
        "/assets//etc/passwd",
        "/assets/vendor/..%2f..%2fpackage.json",
        "/assets/vendor/hls.js",
        "/assets/room/%00",
    ],
)
async def test_nothing_else_is_served(door: Door, path: str) -> None:
    from yarl import URL

    url = URL(door.server.url + path, encoded=True)
    async with door.http.get(url) as answer:
        assert answer.status == 404


async def test_an_asset_is_sent_again_only_when_it_changed(door: Door) -> None:
    first = await door.call("GET", "/assets/style.css", token="")
    assert first.headers["Content-Encoding"] == "gzip"
    assert first.headers["Cache-Control"] == "no-cache"
    tag = first.headers["ETag"]
    for known in (tag, f'"x", W/{tag}'):
        headers = {"If-None-Match": known}
        again = await door.call("GET", "/assets/style.css", token="", headers=headers)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    plain = await door.call(
        "GET", "/assets/style.css", token="", headers={"Accept-Encoding": "identity"}
    )
    assert "Content-Encoding" not in plain.headers
    assert plain.body == (PAGES / "style.css").read_bytes() == first.body
    assert plain.headers["ETag"] != tag


async def test_a_player_that_is_not_installed_is_told_and_found_later(tmp_path: Path) -> None:
    pages = PagesDoor(root=tmp_path)
    request = make_mocked_request("GET", "/", match_info={"name": "hls.mjs"})
    with pytest.raises(PeerError, match="npm ci"):
        await pages._answer_vendor(request)
    path = tmp_path / "node_modules/hls.js/dist/hls.min.mjs"
    path.parent.mkdir(parents=True)
    path.write_text("export default 1;")
    assert (await pages._answer_vendor(request)).status == 200


def test_a_host_header_cannot_write_policy() -> None:
    for host in ("a; script-src *", "a b", "x\r\ny", "", "[::1]; x", "é"):
        assert policy(host) == policy("")
    assert "wss://[::1]:8080" in policy("[::1]:8080")
