"""media/DESIGN.md says what is so: its bounds are the code's, its seams are all there are."""

import re
from pathlib import Path

import pytest

from media.rtp import levels, reception
from media.sfu import publication, routes, subscription
from media.sfu.counters import DROPS
from media.sfu.transport import DTLS_QUEUE_MAX
from media.transport import ice, inbox, outbox

ROOT = Path(__file__).resolve().parents[3]
DESIGN = (ROOT / "media" / "DESIGN.md").read_text()

BOUNDS = {
    "datagrams per read": [inbox.ROWS],
    "one datagram": [inbox.DATAGRAM_MAX_BYTES],
    "proven addresses per transport": [ice.ADDRESSES_MAX],
    "ssrcs learned per transport": [routes.LEARNED_MAX],
    "DTLS datagrams waiting": [DTLS_QUEUE_MAX],
    "packets kept per publication": [publication.HISTORY_VIDEO, publication.HISTORY_AUDIO],
    "missing packets noted": [reception.MISSING_MAX],
    "retransmissions": [
        int(subscription.RETRANSMIT_RATE_PER_S),
        int(subscription.RETRANSMIT_BURST),
    ],
    "unsent datagrams when the socket is full": [outbox.BACKLOG_MAX_DATAGRAMS],
    "audio levels between two polls": [levels.SAMPLES_MAX],
}


@pytest.mark.parametrize("what", BOUNDS)
def test_each_bound_is_the_codes(what: str) -> None:
    row = re.search(rf"^\| {re.escape(what)} \| ([^|]*) \|", DESIGN, re.M)
    assert row is not None, f"no row for {what}"
    assert [int(number) for number in re.findall(r"\d+", row[1])] == BOUNDS[what]


def test_drop_reasons_it_names_exist() -> None:
    named = set(re.findall(r"dropped \(`(\w+)`\)", DESIGN))
    assert named
    assert named <= set(DROPS)


def test_every_private_name_is_in_the_table() -> None:
    code = (ROOT / "media" / "transport" / "seams.py").read_text()
    private = set(re.findall(r"_dtls\.(_\w+)", code)) | set(re.findall(r"session\.(_\w+)", code))
    assert private
    assert {name for name in private if f"`{name}`" not in DESIGN and name not in DESIGN} == set()


def test_files_it_names_exist() -> None:
    for name in set(re.findall(r"(?<![\w/])((?:sfu|rtp|transport)/\w+\.py)", DESIGN)):
        assert (ROOT / "media" / name).exists(), name
