"""ANNOUNCE.md and the messages say the same."""

import re
from pathlib import Path

import msgspec
import pytest

from media.broadcast import announcement, directory
from media.broadcast.announcement import Change, State, decode_line, encode_line

DOCUMENT = Path(announcement.__file__).with_name("ANNOUNCE.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)\n```", DOCUMENT, re.S)


def test_every_example_is_a_message_and_is_written_the_same() -> None:
    assert [type(decode_line(example.encode())) for example in EXAMPLES] == [State, Change]
    for example in EXAMPLES:
        assert encode_line(decode_line(example.encode())).decode() == example + "\n"


def test_every_field_is_described() -> None:
    for field in Change.__struct_fields__:
        assert f"`{field}`" in DOCUMENT


def test_the_numbers_in_the_document_are_the_code_s() -> None:
    assert announcement.MAX_LINE_BYTES == 1 << 20
    assert f"{announcement.LISTENER_QUEUE_LINES} lines (`LISTENER_QUEUE_LINES`)" in DOCUMENT
    assert f"{directory.GRACE_S:.0f} s more (`GRACE_S`)" in DOCUMENT
    assert f'"v":{announcement.PROTOCOL_VERSION},' in EXAMPLES[0]


def test_unknown_fields_are_ignored_and_what_is_no_message_is_refused() -> None:
    example = EXAMPLES[1].replace('"msn"', '"later":1,"msn"')
    assert isinstance(decode_line(example.encode()), Change)
    with pytest.raises(msgspec.ValidationError):
        decode_line(b'{"type":"change"}')
    with pytest.raises(msgspec.DecodeError):
        decode_line(b"{")
