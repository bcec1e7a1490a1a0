"""Configuration of the message center. Composed once at the edge; nothing here reads files."""

from msgspec import Struct


class CenterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach Redis, and the times and bounds of the message center."""

    url: str
    """``redis://host:6379/0``, ``rediss://...`` or ``unix:///path/to.sock``."""
    lease_ttl_s: float = 3.0
    """A process whose lease is older is dead; renewed three times in this time."""
    reap_interval_s: float = 0.5
    request_timeout_s: float = 5.0
    ledger_max_events: int = 10_000
    """Per room, trimmed by ``MAXLEN ~``."""
    ledger_ttl_s: float = 24 * 3600.0
    """After the last event of a room."""
    idem_ttl_s: float = 120.0
    head_check_s: float = 2.0
