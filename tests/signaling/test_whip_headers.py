"""The header fields of WHIP and WHEP."""

import pytest

from signaling.config import IceServer
from signaling.offer_headers import ice_server_links, match_etag, quote_etag


@pytest.mark.parametrize(
    ("if_match", "expected"),
    [
        ('"abc"', "abc"),
        (' "abc" ', "abc"),
        ('"x", "abc"', "abc"),
        ('"x","abc", W/"abc"', "abc"),
        ("*", "*"),
        (" * ", "*"),
        ('W/"abc"', None),
        ('"x"', None),
        ("abc", None),
        ('"abc', None),
        ('"*"', None),
        ('""', None),
        ("", None),
    ],
)
def test_only_a_strong_tag_of_the_session_matches(if_match: str, expected: str | None) -> None:
    assert match_etag(if_match, "abc") == expected


def test_a_tag_of_ice_characters_comes_back() -> None:
    assert match_etag(quote_etag("aB3+/"), "aB3+/") == "aB3+/"


def test_each_url_of_a_server_gets_a_link_and_its_credential_is_quoted() -> None:
    server = IceServer(urls=("turn:a?transport=udp", "turns:a"), username='u"', credential="p\\")
    assert ice_server_links([server]) == [
        f'<{url}>; rel="ice-server"; username="u\\""; credential="p\\\\"; '
        'credential-type="password"'
        for url in server.urls
    ]
    assert ice_server_links([]) == []
