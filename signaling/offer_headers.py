"""The header fields of WHIP and WHEP, read and written (sans-IO)."""

import re
from collections.abc import Iterable
from typing import Final

from signaling.config import IceServer

_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
"""RFC 9110 8.8.3."""
ANY: Final = "*"


def quote_etag(etag: str) -> str:
    """The strong entity tag of an ICE session (RFC 9725 4.3.1)."""
    return f'"{etag}"'


def match_etag(if_match: str, current: str) -> str | None:
    """Return what *if_match* (the field's value) asks for: ``*`` (an ICE restart, RFC 9725 4.3.3),
    or *current* if one of its tags is that.

    None: the precondition fails. The comparison is strong (RFC 9110 13.1.1), so a weak
    tag matches nothing.
    """
    value = if_match.strip()
    if value == ANY:
        return ANY
    tags = _ENTITY_TAG.finditer(value)
    return current if any(not tag[1] and tag[2] == current for tag in tags) else None


def ice_server_links(servers: Iterable[IceServer]) -> list[str]:
    """One ``Link`` field per URL of *servers* (RFC 9725 4.6)."""
    links: list[str] = []
    for server in servers:
        attributes = ['rel="ice-server"']
        if server.username:
            attributes.append(f"username={_quoted(server.username)}")
            attributes.append(f"credential={_quoted(server.credential)}")
            attributes.append('credential-type="password"')
        links += [f"<{url}>; {'; '.join(attributes)}" for url in server.urls]
    return links


def _quoted(text: str) -> str:
    """*text* as a quoted-string (RFC 9110 5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
