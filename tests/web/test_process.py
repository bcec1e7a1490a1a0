"""The web process as such: TLS, draining, signals."""

import asyncio
import os
import signal
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest

from coordinator.center import Center
from coordinator.config import CenterConfig
from coordinator.nodes import Nodes
from signaling.config import SignalingConfig
from tests.fakes.center import until
from tests.fakes.web_door import KEY, SECRET, WAIT_S, Door
from web.certificate import self_signed
from web.config import WebConfig
from web.process import WebServer, server_tls

ROOT = Path(__file__).resolve().parents[2]


async def test_pages_are_served_over_tls(center: Center, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    config = WebConfig(port=0, tls_cert=str(certificate), tls_key=str(key))
    tls = server_tls(config)
    server = WebServer(center, config, SignalingConfig(api_keys={KEY: SECRET}), tls)
    await server.start()
    try:
        assert server.url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=str(certificate))
        connector = aiohttp.TCPConnector(ssl=trust)
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get(server.url + "/") as answer,
        ):
            assert answer.status == 200
            assert f"wss://127.0.0.1:{server.port}" in answer.headers["Content-Security-Policy"]
    finally:
        await server.close()


def test_a_certificate_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    with pytest.raises(OSError, match="No such file"):
        server_tls(WebConfig(tls_cert=missing))


async def test_a_drain_takes_the_lease_out_of_service_and_a_close_ends_it(
    door: Door, center: Center
) -> None:
    nodes = Nodes(center)
    assert [node.draining for node in await nodes.list("web")] == [False]
    await door.server.drain()
    assert [node.draining for node in await nodes.list("web")] == [True]
    with pytest.raises(OSError, match=r"[Cc]onnect"):
        await asyncio.open_connection("127.0.0.1", door.server.port)
    await door.server.close()
    assert await nodes.list("web") == []


async def test_a_signal_ends_the_process_politely(
    center: Center, center_config: CenterConfig
) -> None:
    environment = {**os.environ, "TERTULIA_API_KEY": f"{KEY}:{SECRET}"}
    environment["TERTULIA_WEB_NAME"] = "web-7"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tertulia", "web", "--redis-url", center_config.url),
        *("--port", "0"),
        cwd=ROOT,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    nodes = Nodes(center)

    async def registered() -> bool:
        assert process.returncode is None
        return any(node.id.startswith("web-7.") for node in await nodes.list("web"))

    try:
        await until(registered, "the process to register")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT_S):
            _, log = await process.communicate()
        assert process.returncode == 0, log.decode()
        assert "Traceback" not in log.decode()
        assert SECRET not in log.decode()
        assert await nodes.list("web") == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
