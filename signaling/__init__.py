"""A participant's conversation with us: tokens, the WebSocket protocol, WHIP and WHEP."""
