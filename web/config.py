"""Configuration of the web process. Composed once at the edge; nothing here reads files."""

from msgspec import Struct


class WebConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where HTTP listens."""

    name: str = "web-0"
    host: str = "127.0.0.1"
    port: int = 8080
    """0 lets the system choose (tests)."""
    tls_cert: str = ""
    tls_key: str = ""
    drain_timeout_s: float = 10.0
