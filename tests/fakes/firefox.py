"""Debian's Firefox, driven by WebDriver BiDi (Playwright drives only a Firefox of its own)."""

import asyncio
import base64
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_S = 40.0
WAIT_S = 20.0

PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    # Host candidates with addresses: mDNS names cannot be resolved here.
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.peerconnection.ice.loopback": True,
    # Nothing is fetched in the background.
    "app.update.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


class Firefox:
    """One browser with one tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._commands = 0
        self._tab = ""
        self.complaints: list[str] = []
        """What pages threw or logged as errors."""

    @classmethod
    @asynccontextmanager
    async def running(cls, profile: Path) -> AsyncIterator["Firefox"]:
        path = shutil.which("firefox-esr") or shutil.which("firefox")
        assert path, "Debian's Firefox is needed: apt-get install firefox-esr"
        lines = (f'user_pref("{k}", {json.dumps(v)});\n' for k, v in PREFERENCES.items())
        (profile / "user.js").write_text("".join(lines))
        process = await asyncio.create_subprocess_exec(
            *[path, "--headless", "--no-remote", "--remote-debugging-port", "0"],
            *["--profile", str(profile)],
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        drain: asyncio.Task[None] | None = None
        try:
            assert process.stderr is not None
            url = await asyncio.wait_for(_listening(process.stderr), START_S)
            drain = asyncio.create_task(_read_on(process.stderr))
            async with (
                aiohttp.ClientSession() as http,
                http.ws_connect(f"{url}/session", max_msg_size=0) as socket,
            ):
                firefox = cls(socket)
                await firefox._begin()
                yield firefox
                await firefox._command("browser.close")
            await asyncio.wait_for(process.wait(), WAIT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if drain is not None:
                await drain

    async def open(self, url: str) -> None:
        await self._command("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The value of *expression* (a string, number, boolean or null), awaited."""
        answer = await self._command(
            "script.evaluate",
            expression=expression,
            target={"context": self._tab},
            awaitPromise=True,
            userActivation=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return answer["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until the JavaScript expression *condition* is true."""
        kept = await self.evaluate(
            f"""new Promise((resolve) => {{
              const end = performance.now() + {WAIT_S * 1000};
              const look = () => {{
                let holds = false;
                try {{ holds = Boolean({condition}); }} catch {{}}
                if (holds || performance.now() > end) resolve(holds);
                else setTimeout(look, 30);
              }};
              look();
            }})"""
        )
        assert kept, f"Firefox waited in vain for {condition}; complaints: {self.complaints}"

    async def screenshot(self) -> bytes:
        """The visible part of the page as PNG."""
        answer = await self._command("browsingContext.captureScreenshot", context=self._tab)
        return base64.b64decode(answer["data"])

    async def _begin(self) -> None:
        await self._command("session.new", capabilities={})
        await self._command("session.subscribe", events=["log.entryAdded"])
        tree = await self._command("browsingContext.getTree")
        self._tab = tree["contexts"][0]["context"]

    async def _command(self, method: str, **params: Any) -> dict[str, Any]:
        self._commands += 1
        number = self._commands
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(WAIT_S * 2):
            while True:
                message = await self._socket.receive_json()
                if message.get("method") == "log.entryAdded":
                    if message["params"]["level"] == "error":
                        self.complaints.append(str(message["params"]["text"]))
                elif message.get("id") == number:
                    assert message["type"] == "success", message
                    result: dict[str, Any] = message["result"]
                    return result


async def _listening(stderr: asyncio.StreamReader) -> str:
    while line := await stderr.readline():
        if found := re.search(rb"WebDriver BiDi listening on (ws://\S+)", line):
            return found[1].decode()
    raise AssertionError("Firefox ended before it listened")


async def _read_on(stderr: asyncio.StreamReader) -> None:
    while await stderr.readline():
        pass
