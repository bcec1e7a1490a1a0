"""Configuration of signaling. Composed once at the edge; nothing here reads files."""

from msgspec import Struct


class IceServer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A STUN or TURN server handed to browsers, as W3C WebRTC's RTCIceServer."""

    urls: tuple[str, ...]
    username: str = ""
    credential: str = ""


class SignalingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys that sign tokens, and the bounds of a participant's conversation."""

    api_keys: dict[str, str]
    """API key -> secret. Secrets never reach logs or repr."""
    open_rooms: bool = False
    """Whether the start page may mint guest tokens."""
    guest_token_ttl_s: float = 6 * 3600.0
    max_message_bytes: int = 128 * 1024
    ping_interval_s: float = 10.0
    send_queue_messages: int = 512
    """Per socket; a participant further behind is closed with ``slow_consumer``."""
    ice_servers: tuple[IceServer, ...] = ()

    def __repr__(self) -> str:
        return f"SignalingConfig(api_keys={sorted(self.api_keys)}, open_rooms={self.open_rooms})"
