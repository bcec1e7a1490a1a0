"""The pages and what they load: read once at the start, answered from memory.

A path is looked up among the files that were found, so that no path leads out of them.
"""

import gzip
import hashlib
import json
import logging
import re
from pathlib import Path
from typing import Final

from aiohttp import web
from msgspec import Struct

from coordinator.errors import PeerError
from web.operations import Handler

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = Path(__file__).resolve().parent / "pages"
TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_COMPRESSED_ALREADY: Final = frozenset((".ico", ".png", ".webp", ".woff2"))
_HOST: Final = re.compile(
    r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?"
)
PERMISSIONS: Final = (
    "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), "
    "fullscreen=(self), picture-in-picture=(self), screen-wake-lock=(self), "
    "speaker-selection=(self), geolocation=(), payment=(), usb=()"
)


class Asset(Struct, frozen=True, kw_only=True):
    """One file as it is answered."""

    content_type: str
    body: bytes
    zipped: bytes | None
    """None: it does not get smaller."""
    tag: str


def read_asset(path: Path) -> Asset:
    body = path.read_bytes()
    zipped = None if path.suffix in _COMPRESSED_ALREADY else gzip.compress(body, 6, mtime=0)
    return Asset(
        content_type=TYPES[path.suffix],
        body=body,
        zipped=zipped if zipped is not None and len(zipped) < len(body) else None,
        tag=hashlib.sha256(body).hexdigest()[:20],
    )


class PagesDoor:
    """``/``, ``/r/...``, ``/watch/...``, ``/admin`` and ``/assets/...``."""

    def __init__(self, pages: Path = PAGES, root: Path = ROOT) -> None:
        self._root: Final = root
        self._assets: Final = {
            path.relative_to(pages).as_posix(): read_asset(path)
            for path in sorted(pages.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }
        self._vendor_paths: Final[dict[str, str]] = json.loads((pages / "vendor.json").read_text())
        self._vendor: Final[dict[str, Asset]] = {}
        for name in self._vendor_paths:
            if not self._load_vendor(name):
                log.warning("%s is not installed (npm ci): broadcasts play natively only", name)

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/", self._page("start.html")),
            web.get("/r/{room}", self._page("room.html")),
            web.get("/watch/{room}", self._page("watch.html")),
            web.get("/admin", self._page("admin.html")),
            web.get("/assets/vendor/{name}", self._answer_vendor),
            web.get("/assets/{path:.+}", self._answer_asset),
        ]

    def _page(self, name: str) -> Handler:
        page = self._assets[name]

        async def answer(request: web.Request) -> web.StreamResponse:
            response = respond(request, page)
            response.headers["Content-Security-Policy"] = policy(request.host)
            response.headers["Permissions-Policy"] = PERMISSIONS
            response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
            return response

        return answer

    async def _answer_asset(self, request: web.Request) -> web.StreamResponse:
        asset = self._assets.get(request.match_info["path"])
        if asset is None or asset.content_type == TYPES[".html"]:
            raise PeerError("not_found")
        return respond(request, asset)

    async def _answer_vendor(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in self._vendor_paths:
            raise PeerError("not_found")
        if not self._load_vendor(name):
            raise PeerError("not_found", f"{name} is not installed; run npm ci on the server.")
        return respond(request, self._vendor[name])

    def _load_vendor(self, name: str) -> bool:
        """Read it unless it was; it may have been installed since."""
        if name not in self._vendor:
            path = self._root / self._vendor_paths[name]
            if not path.is_file():
                return False
            self._vendor[name] = read_asset(path)
        return True


def policy(host: str) -> str:
    """The pages' Content-Security-Policy. Not every browser takes ``'self'`` for sockets too."""
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self'{sockets}; media-src 'self' blob:; worker-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def respond(request: web.Request, asset: Asset) -> web.Response:
    """Answer with *asset*, or 304. Browsers ask each time: names do not change with content, and a
    page of one version with scripts of another would break."""
    zipped = asset.zipped if "gzip" in request.headers.get("Accept-Encoding", "") else None
    tag = f'"{asset.tag}{"-gzip" if zipped else ""}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    known = request.headers.get("If-None-Match", "")
    # Weak comparison (RFC 9110 13.1.2): proxies mark tags weak.
    if tag in [part.strip().removeprefix("W/") for part in known.split(",")]:
        return web.Response(status=304, headers=headers)
    if zipped is not None:
        headers["Content-Encoding"] = "gzip"
    headers["Content-Type"] = f"{asset.content_type}; charset=utf-8"
    return web.Response(body=asset.body if zipped is None else zipped, headers=headers)
