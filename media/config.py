"""Configuration of a media node. Composed once at the edge; nothing here reads files."""

from msgspec import Struct


class MediaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One media node: its UDP port, what it announces, and where broadcasts live."""

    name: str = "media-0"
    host: str = "127.0.0.1"
    """Address to bind; 0.0.0.0 binds all and announces each of the machine's addresses."""
    port: int = 7880
    """UDP; 0 lets the system choose (tests)."""
    announced_hosts: tuple[str, ...] = ()
    """Public addresses to announce beside the host ones (1:1 NAT)."""
    broadcast_dir: str = ""
    """Directory in memory for broadcasts; one subdirectory each. Empty: /dev/shm, else the
    system's temporary directory."""
    part_target_ms: int = 333
    segment_target_ms: int = 2000
    drain_timeout_s: float = 10.0
    transport_timeout_s: float = 15.0
    """ICE and DTLS must be up after an offer, and ICE checks heard (RFC 7675), within this."""
