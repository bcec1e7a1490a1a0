"""The command line's calls of the admin API: ``tertulia rooms|participants|broadcasts|...``.

Each command is one HTTP request with a token minted here from the API key. The key comes from
``--api-key``, ``TERTULIA_API_KEY``, or the file that ``tertulia serve`` left in its data directory.
"""

import argparse
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from coordinator.errors import CODES, InfrastructureError, PeerError, TertuliaError
from coordinator.ids import check_identity, check_room_name
from signaling.config import MIN_SECRET_BYTES
from signaling.tokens import VideoGrants, mint
from web.access import admin_grants

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
TIMEOUT_S: Final = 15.0
OWN_TOKEN_TTL_S: Final = 60.0
PAGE: Final = 100
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

_DURATION: Final = re.compile(r"([0-9]{1,7})([smhd]?)", re.ASCII)
_UNIT_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

Args = argparse.Namespace


# --------------------------------------------------------------------------- key, token, request


def api_key(args: Args) -> tuple[str, str]:
    """The key and secret to sign with. Raises PeerError("token_missing") and says where to look."""
    text = args.api_key or os.environ.get("TERTULIA_API_KEY")
    if not text:
        path = Path(args.data_dir) / "api-key"
        try:
            text = path.read_text().strip()
        except OSError:
            raise PeerError(
                "token_missing",
                f"no API key: give --api-key KEY:SECRET, set TERTULIA_API_KEY, or point --data-dir "
                f"at the server's data directory ({path} cannot be read)",
            ) from None
    return split_api_key(text)


def split_api_key(text: str) -> tuple[str, str]:
    """``KEY:SECRET`` as a pair. Raises PeerError("invalid_field")."""
    key, _, secret = text.partition(":")
    if not key or len(secret.encode()) < MIN_SECRET_BYTES:
        raise PeerError(
            "invalid_field",
            f"an API key is KEY:SECRET, with a secret of at least {MIN_SECRET_BYTES} bytes",
        )
    return key, secret


def call(args: Args, method: str, path: str, body: Any = None) -> Any:
    """One request. Returns the JSON answer, None if there is none.

    Raises TertuliaError with the server's code, or InfrastructureError("center_unavailable") when
    nobody answers.
    """
    key, secret = api_key(args)
    token = mint(
        key, secret, identity=None, grants=admin_grants(), ttl_s=OWN_TOKEN_TTL_S, now=time.time()
    )
    request = urllib.request.Request(args.server.rstrip("/") + path, method=method)  # noqa: S310
    request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with opener(args).open(request, timeout=TIMEOUT_S) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        raise refusal(error) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InfrastructureError(
            "center_unavailable", f"{args.server} does not answer: {reason}"
        ) from None
    return json.loads(text) if text else None


def opener(args: Args) -> urllib.request.OpenerDirector:
    """What opens the server's URLs."""
    context = ssl.create_default_context()
    if args.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if urllib.parse.urlsplit(args.server).hostname in LOOPBACK:
        # A proxy from the environment would look for the server on its own machine.
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def refusal(error: urllib.error.HTTPError) -> TertuliaError:
    """The problem document in an answer, as the error that it was."""
    with error:
        try:
            problem = json.loads(error.read())
            code, detail = problem["code"], problem.get("detail") or problem["title"]
        except (ValueError, KeyError, TypeError):
            code, detail = "internal", f"the server answered {error.code} without a reason"
    return PeerError(code if code in CODES else "internal", str(detail))


def room_path(room: str, *rest: str) -> str:
    parts = ("v1", "rooms", check_room_name(room), *rest)
    return "/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


def pages(args: Args, path: str, key: str) -> Iterator[Any]:
    """All items of a list, page by page."""
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
        answer = call(args, "GET", f"{path}?{urllib.parse.urlencode(query)}")
        yield from answer[key]
        cursor = answer.get("next_cursor")


# --------------------------------------------------------------------------- printing


def show(args: Args, value: Any, columns: dict[str, Callable[[Any], Any]]) -> int:
    """Print *value* (an object or a list of them) as JSON, or as a table of *columns*."""
    if args.json:
        print(json.dumps(value, indent=2, ensure_ascii=False))
        return EXIT_OK
    items = value if isinstance(value, list) else [value]
    rows = [list(columns), *([str(get(item)) for get in columns.values()] for item in items)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return EXIT_OK


def said(args: Args, value: Any, sentence: str) -> int:
    """Print what was done: *value* for programs, *sentence* for people."""
    print(json.dumps(value, ensure_ascii=False) if args.json else sentence)
    return EXIT_OK


def broadcast_word(broadcast: Any) -> str:
    return str(broadcast["state"]) if broadcast else "-"


ROOM_COLUMNS: Final[dict[str, Callable[[Any], Any]]] = {
    "ROOM": lambda room: room["name"],
    "PARTICIPANTS": lambda room: room["num_participants"],
    "BROADCAST": lambda room: broadcast_word(room["broadcast"]),
    "NODE": lambda room: room["node"] or "-",
    "CREATED": lambda room: room["created_at"],
}
PARTICIPANT_COLUMNS: Final[dict[str, Callable[[Any], Any]]] = {
    "IDENTITY": lambda person: person["identity"],
    "NAME": lambda person: person["name"],
    "KIND": lambda person: person["kind"],
    "TRACKS": lambda person: (
        ", ".join(
            f"{track['sid']} {track['source']}{' (muted)' if track['muted'] else ''}"
            for track in person["tracks"]
        )
        or "-"
    ),
    "JOINED": lambda person: person["joined_at"],
}
BROADCAST_COLUMNS: Final[dict[str, Callable[[Any], Any]]] = {
    "BROADCAST": lambda broadcast: broadcast["sid"],
    "STATE": lambda broadcast: broadcast["state"],
    "PLAYLIST": lambda broadcast: broadcast["url"] or "-",
    "STARTED": lambda broadcast: broadcast["started_at"],
}
EVENT_COLUMNS: Final[dict[str, Callable[[Any], Any]]] = {
    "ID": lambda event: event["id"],
    "TIME": lambda event: event["ts"],
    "TYPE": lambda event: event["type"],
    "DATA": lambda event: json.dumps(event["data"], ensure_ascii=False),
}
NODE_COLUMNS: Final[dict[str, Callable[[Any], Any]]] = {
    "NODE": lambda node: node["id"],
    "KIND": lambda node: node["kind"],
    "ROOMS": lambda node: node["rooms"],
    "LOAD": lambda node: f"{node['load']:.2f}",
    "DRAINING": lambda node: "yes" if node["draining"] else "no",
}


# --------------------------------------------------------------------------- commands


def token_create(args: Args) -> int:
    if args.admin:
        grants = admin_grants()
        identity = None
    else:
        if not (args.room and args.identity):
            raise PeerError("invalid_field", "a join token needs --room and --identity")
        grants = VideoGrants(
            roomJoin=True,
            room=check_room_name(args.room),
            canPublish=False if args.no_publish else None,
            canSubscribe=False if args.no_subscribe else None,
            hidden=args.hidden,
        )
        identity = check_identity(args.identity)
    key, secret = api_key(args)
    token = mint(
        key,
        secret,
        identity=identity,
        grants=grants,
        name=args.name,
        ttl_s=args.ttl,
        now=time.time(),
    )
    return said(args, {"token": token}, token)


def rooms_list(args: Args) -> int:
    return show(args, list(pages(args, "/v1/rooms", "rooms")), ROOM_COLUMNS)


def rooms_create(args: Args) -> int:
    chosen = {
        "max_participants": args.max_participants,
        "empty_timeout_s": args.empty_timeout,
        "departure_timeout_s": args.departure_timeout,
        "metadata": args.metadata,
    }
    settings = {name: value for name, value in chosen.items() if value is not None}
    body = {"name": check_room_name(args.room), "settings": settings}
    return show(args, call(args, "POST", "/v1/rooms", body), ROOM_COLUMNS)


def rooms_get(args: Args) -> int:
    return show(args, call(args, "GET", room_path(args.room)), ROOM_COLUMNS)


def rooms_close(args: Args) -> int:
    call(args, "DELETE", room_path(args.room))
    return said(args, {"closed": args.room}, f"{args.room} is closed")


def participants_list(args: Args) -> int:
    found = list(pages(args, room_path(args.room, "participants"), "participants"))
    return show(args, found, PARTICIPANT_COLUMNS)


def participants_get(args: Args) -> int:
    path = room_path(args.room, "participants", args.identity)
    return show(args, call(args, "GET", path), PARTICIPANT_COLUMNS)


def participants_remove(args: Args) -> int:
    call(args, "DELETE", room_path(args.room, "participants", args.identity))
    return said(args, {"removed": args.identity}, f"{args.identity} is removed from {args.room}")


def participants_mute(args: Args) -> int:
    """Mute or unmute one track, or all microphones and cameras of the participant."""
    tracks = [args.track]
    if args.track is None:
        path = room_path(args.room, "participants", args.identity)
        tracks = [track["sid"] for track in call(args, "GET", path)["tracks"]]
    for track in tracks:
        path = room_path(args.room, "participants", args.identity, "tracks", track)
        call(args, "PATCH", path, {"muted": args.muted})
    word = "muted" if args.muted else "unmuted"
    return said(args, {word: tracks}, f"{word}: {', '.join(tracks) or 'nothing'}")


def broadcasts_start(args: Args) -> int:
    broadcast = call(args, "POST", room_path(args.room, "broadcast"), {})
    return show(args, broadcast, BROADCAST_COLUMNS)


def broadcasts_get(args: Args) -> int:
    return show(args, call(args, "GET", room_path(args.room, "broadcast")), BROADCAST_COLUMNS)


def broadcasts_stop(args: Args) -> int:
    call(args, "DELETE", room_path(args.room, "broadcast"))
    return said(args, {"stopping": args.room}, f"the broadcast of {args.room} is ending")


def events(args: Args) -> int:
    """Print the ledger from a position on, page by page."""
    after: str = args.after
    found: list[Any] = []
    while True:
        query = urllib.parse.urlencode({"after": after, "limit": PAGE})
        page = call(args, "GET", f"{room_path(args.room, 'events')}?{query}")
        if not page["events"]:
            return show(args, found, EVENT_COLUMNS)
        found += page["events"]
        after = page["events"][-1]["id"]


def nodes_list(args: Args) -> int:
    return show(args, list(pages(args, "/v1/nodes", "nodes")), NODE_COLUMNS)


# --------------------------------------------------------------------------- parsers


def duration_s(text: str) -> float:
    """``90``, ``15m``, ``6h`` or ``2d`` in seconds."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90s, 15m, 6h or 2d")
    return float(int(match[1]) * _UNIT_S[match[2]])


def _shared_flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument(
        "--server",
        default=os.environ.get("TERTULIA_SERVER", DEFAULT_SERVER),
        metavar="URL",
        help=f"the web process ({DEFAULT_SERVER})",
    )
    flags.add_argument("--api-key", metavar="KEY:SECRET")
    flags.add_argument("--data-dir", default="data", metavar="DIR", help="holds api-key (data)")
    flags.add_argument("--insecure", action="store_true", help="accept any TLS certificate")
    flags.add_argument("--json", action="store_true", help="print JSON")
    return flags


def add_commands(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the commands; each sets ``run`` to a function from arguments to an exit code."""
    shared = [_shared_flags()]

    def group(name: str, help_text: str) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
        parser = subparsers.add_parser(name, help=help_text)
        return parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def command(
        actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
        name: str,
        run: Callable[[Args], int],
        help_text: str,
        *positional: str,
    ) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=help_text, parents=shared)
        for argument in positional:
            parser.add_argument(argument)
        parser.set_defaults(run=run)
        return parser

    tokens = group("token", "make access tokens (needs no server)")
    create = command(tokens, "create", token_create, "print a token")
    create.add_argument("--admin", action="store_true", help="may do everything")
    create.add_argument("--room", help="the room to join")
    create.add_argument("--identity", help="who joins")
    create.add_argument("--name", default="", help="the name that others see")
    create.add_argument("--ttl", type=duration_s, default=6 * 3600.0, metavar="6h")
    create.add_argument("--no-publish", action="store_true")
    create.add_argument("--no-subscribe", action="store_true")
    create.add_argument("--hidden", action="store_true", help="not shown to the others")

    rooms = group("rooms", "create, list, look at and close rooms")
    command(rooms, "list", rooms_list, "all rooms")
    create = command(rooms, "create", rooms_create, "create a room", "room")
    create.add_argument("--max-participants", type=int, metavar="N")
    create.add_argument("--empty-timeout", type=int, metavar="SECONDS")
    create.add_argument("--departure-timeout", type=int, metavar="SECONDS")
    create.add_argument("--metadata", metavar="TEXT")
    command(rooms, "get", rooms_get, "one room", "room")
    command(rooms, "close", rooms_close, "close a room for everybody", "room")

    people = group("participants", "list, remove and mute participants")
    command(people, "list", participants_list, "who is in a room", "room")
    command(people, "get", participants_get, "one participant", "room", "identity")
    command(people, "remove", participants_remove, "remove from the room", "room", "identity")
    for name, muted in (("mute", True), ("unmute", False)):
        parser = command(people, name, participants_mute, f"{name} tracks", "room", "identity")
        parser.add_argument("--track", metavar="SID", help="this one only")
        parser.set_defaults(muted=muted)

    broadcasts = group("broadcasts", "start and stop a room's broadcast")
    command(broadcasts, "start", broadcasts_start, "make a room live", "room")
    command(broadcasts, "get", broadcasts_get, "how it stands", "room")
    command(broadcasts, "stop", broadcasts_stop, "end the broadcast", "room")

    ledger = subparsers.add_parser("events", help="a room's ledger", parents=shared)
    ledger.add_argument("room")
    ledger.add_argument("--after", default="0-0", metavar="ID", help="only events after this one")
    ledger.set_defaults(run=events)

    nodes = group("nodes", "the processes of this deployment")
    command(nodes, "list", nodes_list, "all nodes")
