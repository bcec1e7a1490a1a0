"""The door: command line, configuration, and the composition of the roles.

``tertulia serve`` runs everything on one machine; ``tertulia web`` and ``tertulia media`` run one
role against a Redis that is elsewhere; the other commands ask a running server.

Configuration comes from, later ones winning: defaults, a TOML or JSON file (``--config``),
``TERTULIA_<SECTION>_<FIELD>`` variables, flags. Unknown keys are errors.

A role is imported when it is run: a web process need not hold the codecs of a media node.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from coordinator.config import CenterConfig
from coordinator.errors import TertuliaError
from coordinator.supervisor import ChildSpec, Supervisor
from media.config import MediaConfig
from signaling.config import SignalingConfig
from web.cli import add_commands, split_api_key
from web.config import WebConfig

log = logging.getLogger("tertulia")

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What only ``tertulia serve`` needs."""

    data_dir: str = "data"
    media_nodes: int = 0
    """0: one for each core."""
    tls_self_signed: bool = False
    ready_timeout_s: float = 60.0


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration; each section belongs to the package that reads it."""

    center: CenterConfig
    auth: SignalingConfig
    serve: ServeConfig = ServeConfig()
    web: WebConfig = WebConfig()
    media: MediaConfig = MediaConfig()


class UsageError(Exception):
    """The command line or the configuration is wrong; the text says how."""


# --------------------------------------------------------------------------- configuration

_FLAGS: dict[str, tuple[str, str]] = {
    "host": ("web", "host"),
    "port": ("web", "port"),
    "tls_cert": ("web", "tls_cert"),
    "tls_key": ("web", "tls_key"),
    "media_host": ("media", "host"),
    "media_port": ("media", "port"),
    "name": ("media", "name"),
    "announce": ("media", "announced_hosts"),
    "broadcast_dir": ("media", "broadcast_dir"),
    "media_nodes": ("serve", "media_nodes"),
    "data_dir": ("serve", "data_dir"),
    "tls_self_signed": ("serve", "tls_self_signed"),
    "redis_url": ("center", "url"),
    "open_rooms": ("auth", "open_rooms"),
}
_SECTIONS: dict[str, type[Struct]] = {
    "center": CenterConfig,
    "auth": SignalingConfig,
    "serve": ServeConfig,
    "web": WebConfig,
    "media": MediaConfig,
}


def gather_settings(args: argparse.Namespace, environment: dict[str, str]) -> dict[str, Any]:
    """Merge file, environment and flags into one nested dict of raw settings."""
    settings: dict[str, Any] = {section: {} for section in _SECTIONS}
    if args.config:
        for section, values in read_config_file(Path(args.config)).items():
            if section not in settings or not isinstance(values, dict):
                raise UsageError(f"{args.config}: unknown section {section!r}")
            settings[section].update(values)
    for section, struct in _SECTIONS.items():
        for field in struct.__struct_fields__:
            text = environment.get(f"TERTULIA_{section}_{field}".upper())
            if text is not None:
                settings[section][field] = text
    for flag, (section, field) in _FLAGS.items():
        value = getattr(args, flag, None)
        if value is not None:
            settings[section][field] = value
    pair = getattr(args, "api_key", None) or environment.get("TERTULIA_API_KEY")
    if pair:
        settings["auth"]["api_keys"] = dict([split_api_key(pair)])
    return settings


def read_config_file(path: Path) -> dict[str, Any]:
    """Parse a TOML file, or a JSON one by its suffix. Raises UsageError."""
    try:
        text = path.read_text()
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path}: not a table of sections")
    return data


def compose(settings: dict[str, Any]) -> Config:
    """Turn raw settings into the frozen configuration. Raises UsageError with the path at fault."""
    try:
        return msgspec.convert(settings, Config, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"configuration: {error}") from error


def choose_for_loopback(settings: dict[str, Any]) -> None:
    """Fill in what differs when this installation is for this machine alone.

    It is, if HTTP listens on loopback and nothing was said of media. Then rooms are open, and media
    is reachable by the machine's own addresses beside 127.0.0.1: Firefox sends to a loopback
    address from a loopback address only, and has none as a rule. (The UDP port answers nothing but
    checks that know a password from signaling, which stays on loopback.)
    """
    web, media = settings["web"], settings["media"]
    host = media.get("host")
    alone = (
        web.get("host", WebConfig().host) in LOOPBACK
        and (host is None or host in LOOPBACK)
        and not media.get("announced_hosts")
    )
    settings["auth"].setdefault("open_rooms", alone)
    if alone and host is None:
        media["host"] = "0.0.0.0"  # noqa: S104
        media["announced_hosts"] = [LOOPBACK[0]]


def keep_api_key(data_dir: Path) -> tuple[dict[str, str], bool]:
    """The API key in *data_dir*, made at the first start. The flag says that it is new."""
    path = data_dir / "api-key"
    if path.exists():
        return dict([split_api_key(path.read_text().strip())]), False
    key, secret = "TK" + secrets.token_hex(6), secrets.token_urlsafe(36)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{key}:{secret}\n")
    return {key: secret}, True


# --------------------------------------------------------------------------- roles


def run_role(main: Coroutine[Any, Any, None]) -> int:
    import uvloop

    uvloop.run(main)
    return EXIT_OK


def command_web(args: argparse.Namespace) -> int:
    from web.process import run_web

    config = compose(gather_settings(args, dict(os.environ)))
    return run_role(run_web(config.center, config.web, config.auth))


def command_media(args: argparse.Namespace) -> int:
    from media.process import run_media

    settings = gather_settings(args, dict(os.environ))
    settings["auth"].setdefault("api_keys", {})  # a media node signs and verifies nothing
    config = compose(settings)
    return run_role(run_media(config.center, config.media))


def command_serve(args: argparse.Namespace) -> int:
    settings = gather_settings(args, dict(os.environ))
    data_dir = Path(settings["serve"].get("data_dir", ServeConfig().data_dir)).resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_is_new = False
    if not settings["auth"].get("api_keys"):
        settings["auth"]["api_keys"], key_is_new = keep_api_key(data_dir)
    choose_for_loopback(settings)
    asyncio.run(serve(settings, data_dir, key_is_new, args.log_level))
    return EXIT_OK


async def serve(settings: dict[str, Any], data_dir: Path, key_is_new: bool, log_level: str) -> None:
    """Run Valkey, the media nodes and the web process until SIGINT or SIGTERM, then drain them."""
    from coordinator.embedded import EmbeddedValkey

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings["serve"].get("tls_self_signed"):
        add_self_signed(settings, data_dir)
    settings["media"].setdefault("broadcast_dir", memory_dir(data_dir))
    async with contextlib.AsyncExitStack() as stack:
        if not settings["center"].get("url"):
            valkey = await EmbeddedValkey.start(data_dir)
            stack.push_async_callback(valkey.stop)
            settings["center"]["url"] = valkey.url
        config = compose(settings)
        supervisor = Supervisor()
        stack.push_async_callback(supervisor.stop)
        await supervisor.start(*media_children(config, data_dir, log_level))
        await supervisor.start(web_child(config, data_dir, log_level))
        if await wait_until_ready(config, stop):
            print(welcome(config, data_dir, key_is_new), flush=True)
        await stop.wait()
        print("Draining; a moment ...", flush=True)


def add_self_signed(settings: dict[str, Any], data_dir: Path) -> None:
    from web.certificate import self_signed

    host = settings["web"].get("host", WebConfig().host)
    certificate, key = self_signed(data_dir, host)
    settings["web"].update(tls_cert=str(certificate), tls_key=str(key))


def memory_dir(data_dir: Path) -> str:
    """A directory in memory of this installation's own, for broadcasts."""
    name = "tertulia-" + hashlib.sha256(bytes(data_dir)).hexdigest()[:12]
    memory = Path("/dev/shm")  # noqa: S108
    return str((memory if memory.is_dir() else Path(tempfile.gettempdir())) / name)


def write_role_config(data_dir: Path, name: str, config: Config) -> Path:
    """The configuration of one child, readable by us alone: no secret stands on a command line."""
    directory = data_dir / "run"
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"{name}.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(config))
    return path


def child(name: str, role: str, path: Path, log_level: str, stop_timeout_s: float) -> ChildSpec:
    argv = [sys.executable, "-m", "tertulia", "--log-level", log_level]
    argv += [role, "--config", str(path)]
    return ChildSpec(name, argv, stop_timeout_s=stop_timeout_s)


def media_children(config: Config, data_dir: Path, log_level: str) -> list[ChildSpec]:
    children = []
    for index in range(config.serve.media_nodes or os.cpu_count() or 1):
        media = msgspec.structs.replace(
            config.media,
            name=f"media-{index}",
            port=config.media.port and config.media.port + index,
        )
        no_keys = msgspec.structs.replace(config.auth, api_keys={})
        role = msgspec.structs.replace(config, media=media, auth=no_keys)
        path = write_role_config(data_dir, media.name, role)
        children.append(child(media.name, "media", path, log_level, media.drain_timeout_s + 5))
    return children


def web_child(config: Config, data_dir: Path, log_level: str) -> ChildSpec:
    path = write_role_config(data_dir, config.web.name, config)
    return child(config.web.name, "web", path, log_level, config.web.drain_timeout_s + 5)


# --------------------------------------------------------------------------- readiness, welcome


def base_url(web: WebConfig) -> str:
    scheme = "https" if web.tls_cert else "http"
    host = "127.0.0.1" if web.host in ("0.0.0.0", "") else web.host  # noqa: S104
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{web.port}"


def is_ready(url: str) -> bool:
    """Whether ``/readyz`` answers 200. The certificate is our own: only the answer matters."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=2, context=context) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


async def wait_until_ready(config: Config, stop: asyncio.Event) -> bool:
    """Wait for the web process to be ready. Returns False if stopped or too late (logged)."""
    url = base_url(config.web)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + config.serve.ready_timeout_s
    while not stop.is_set():
        if await asyncio.to_thread(is_ready, url):
            return True
        if loop.time() > deadline:
            log.error("%s did not become ready in %.0f s", url, config.serve.ready_timeout_s)
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.1)
    return False


def welcome(config: Config, data_dir: Path, key_is_new: bool) -> str:
    """What a person at the terminal needs to know; programs get no token."""
    from web.access import admin_token

    url = base_url(config.web)
    lines = ["", f"Tertulia is ready. Open {url}/ in a browser.", ""]
    lines.append(f"  meet    {url}/")
    if sys.stdout.isatty():
        token = admin_token(config.auth, now=time.time())
        lines.append(f"  admin   {url}/admin#token={token}")
        lines.append("          (this link may do everything for twelve hours)")
    else:
        lines.append(f"  admin   {url}/admin")
    lines.append("")
    lines.append("Another token for the admin page:")
    lines.append(f"  {sys.argv[0]} token create --admin --data-dir {data_dir}")
    if key_is_new:
        lines += ["", f"An API key was made and is kept in {data_dir / 'api-key'}."]
    if not config.auth.open_rooms:
        lines += ["", "Rooms are not open to guests: people need a token to join."]
    lines += ["", "Ctrl-C ends everything.", ""]
    return "\n".join(lines)


# --------------------------------------------------------------------------- doctor


class Finding(Struct, frozen=True):
    """One thing looked at."""

    what: str
    good: bool
    detail: str


def command_doctor(args: argparse.Namespace) -> int:
    """Look at what `serve` needs on this machine, and say what to do about what is missing."""
    settings = gather_settings(args, dict(os.environ))
    settings["auth"].setdefault("api_keys", {})
    findings = [*examine_machine(), *examine_ports(settings)]
    if args.json:
        print(msgspec.json.encode(findings).decode())
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.good else 'FAIL'} {finding.what}: {finding.detail}")
    return EXIT_OK if all(finding.good for finding in findings) else EXIT_FAILED


def examine_machine() -> list[Finding]:
    from coordinator.embedded import find_server

    findings = []
    try:
        findings.append(Finding("valkey", True, str(find_server())))
    except TertuliaError as error:
        findings.append(Finding("valkey", False, error.detail))
    player = Path(__file__).parent / "node_modules" / "hls.js" / "package.json"
    found = player.exists()
    findings.append(Finding("hls.js", found, str(player.parent) if found else "run: npm ci"))
    memory = Path("/dev/shm")  # noqa: S108
    free_mib = shutil.disk_usage(memory).free >> 20 if memory.is_dir() else 0
    detail = f"{free_mib} MiB free in {memory}" if free_mib else "no /dev/shm: broadcasts use disk"
    findings.append(Finding("memory for broadcasts", free_mib >= 64, detail))
    return findings


def examine_ports(settings: dict[str, Any]) -> list[Finding]:
    web, media = ({**settings[section]} for section in ("web", "media"))
    findings = []
    for what, kind, host, port in (
        ("HTTP port", socket.SOCK_STREAM, web.get("host"), int(web.get("port", WebConfig().port))),
        ("UDP port", socket.SOCK_DGRAM, media.get("host"), int(media.get("port", 7880))),
    ):
        address = (host or LOOPBACK[0], port)
        with socket.socket(type=kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                findings.append(Finding(what, True, f"{port} is free"))
            except OSError as error:
                findings.append(Finding(what, False, f"{port}: {error.strerror}"))
    return findings


# --------------------------------------------------------------------------- command line


def add_role_flags(parser: argparse.ArgumentParser, *, web: bool, media: bool) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML (or .json) configuration")
    parser.add_argument("--redis-url", metavar="URL", help="redis://, rediss:// or unix://")
    parser.add_argument("--api-key", metavar="KEY:SECRET", help="signs and verifies tokens")
    if web:
        parser.add_argument("--host", help="address of HTTP (127.0.0.1)")
        parser.add_argument("--port", type=int, help="port of HTTP (8080)")
        parser.add_argument("--tls-cert", metavar="PEM")
        parser.add_argument("--tls-key", metavar="PEM")
        parser.add_argument(
            "--open-rooms",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="let guests join without a token (default: on if all listens on loopback)",
        )
    if media:
        parser.add_argument(
            "--media-host", help="address of the UDP port (all, if it is for this machine)"
        )
        parser.add_argument("--media-port", type=int, help="UDP port of the first node (7880)")
        parser.add_argument(
            "--announce", action="append", metavar="IP", help="public address; may be repeated"
        )
        parser.add_argument("--broadcast-dir", metavar="DIR", help="in memory (/dev/shm/...)")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tertulia", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"]
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve_parser = commands.add_parser("serve", help="run everything on this machine")
    add_role_flags(serve_parser, web=True, media=True)
    serve_parser.add_argument("--data-dir", metavar="DIR", help="keys and Valkey's data (data)")
    serve_parser.add_argument("--media-nodes", type=int, metavar="N", help="default: one a core")
    serve_parser.add_argument("--tls-self-signed", action="store_true", default=None)
    serve_parser.set_defaults(run=command_serve)

    web_parser = commands.add_parser("web", help="run one web and signaling process")
    add_role_flags(web_parser, web=True, media=False)
    web_parser.set_defaults(run=command_web)

    media_parser = commands.add_parser("media", help="run one media node")
    add_role_flags(media_parser, web=False, media=True)
    media_parser.add_argument("--name", help="name of the node (media-0)")
    media_parser.set_defaults(run=command_media)

    doctor_parser = commands.add_parser("doctor", help="look at what serve needs here")
    add_role_flags(doctor_parser, web=True, media=True)
    doctor_parser.add_argument("--json", action="store_true")
    doctor_parser.set_defaults(run=command_doctor)

    add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, 1 failed, 2 usage."""
    args = make_parser().parse_args(argv)
    logging.basicConfig(
        level=args.log_level.upper(),
        format="%(asctime)s %(levelname).1s %(name)s %(message)s",
        stream=sys.stderr,
    )
    try:
        return int(args.run(args))
    except UsageError as error:
        print(f"tertulia: {error}", file=sys.stderr)
        return EXIT_USAGE
    except TertuliaError as error:
        print(f"tertulia: {error.detail} ({error.code})", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
