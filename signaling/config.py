"""Configuration of signaling. Composed once at the edge; nothing here reads files."""

from msgspec import Struct

MIN_SECRET_BYTES = 32
"""RFC 7518 3.2: an HS256 key is at least as long as the hash."""


class IceServer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A STUN or TURN server handed to browsers, as W3C WebRTC's RTCIceServer."""

    urls: tuple[str, ...]
    username: str = ""
    credential: str = ""


class SignalingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys that sign tokens, and the bounds of a participant's conversation."""

    api_keys: dict[str, str]
    """API key -> secret of at least 32 bytes. Secrets never reach logs or repr."""
    open_rooms: bool = False
    """Whether the start page may mint guest tokens."""
    guest_token_ttl_s: float = 6 * 3600.0
    max_message_bytes: int = 128 * 1024
    """Of one WebSocket message, and of one WHIP or WHEP body. A browser's offer for 100 tracks has
    about 100 KiB."""
    ping_interval_s: float = 10.0
    """A socket whose pong is missing for half of this is closed."""
    send_queue_messages: int = 512
    """Per socket; a participant further behind is closed with ``slow_consumer``."""
    messages_per_s: float = 50.0
    """Sustained, per socket; further ones are refused with ``rate_limited``."""
    message_burst: int = 200
    """A browser trickles some tens of candidates at once when it has many interfaces."""
    error_burst: int = 20
    """Refused messages that are forgiven, one more each second; then ``goodbye``."""
    request_queue: int = 64
    """Requests of one participant that wait for the node, per transport."""
    close_timeout_s: float = 2.0
    """How long a socket may take to close before it is cut."""
    leave_retry_s: float = 5.0
    """Longest pause between two tries to record a leave while Redis is away."""
    ice_servers: tuple[IceServer, ...] = ()

    def __post_init__(self) -> None:
        for key, secret in self.api_keys.items():
            if len(secret.encode()) < MIN_SECRET_BYTES:
                raise ValueError(f"the secret of API key {key} has fewer than 32 bytes")

    def __repr__(self) -> str:
        return f"SignalingConfig(api_keys={sorted(self.api_keys)}, open_rooms={self.open_rooms})"
