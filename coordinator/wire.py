"""One connection to Redis: open, call a batch, or send and read. Nothing retries here.

redis-py's clients reconnect and repeat commands silently; we must know of both, so this uses its
connection class alone. RESP2 is pinned: it is what Redis 6.2 and Valkey speak to subscribers alike.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError, ResponseError

Command = tuple[bytes | str | int, ...]


def pack(command: Command) -> bytes:
    """*command* as a RESP array of bulk strings."""
    parts = [b"*%d\r\n" % len(command)]
    for arg in command:
        if isinstance(arg, str):
            arg = arg.encode()
        elif isinstance(arg, int):
            arg = b"%d" % arg
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


class WireDown(Exception):
    """The connection failed; whether the commands under way ran is unknown."""


class Wire:
    """One connection, owned by one task."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection: Final = connection

    @classmethod
    async def open(cls, url: str, *, name: str, timeout_s: float) -> "Wire":
        """Connect to *url*. Raises WireDown."""
        pool = ConnectionPool.from_url(
            url, protocol=2, client_name=name, retry=Retry(NoBackoff(), 0), socket_timeout=None
        )
        wire = cls(pool.make_connection())  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(timeout_s):
                await wire._connection.connect()  # type: ignore[no-untyped-call]
            # A server that is still loading its data accepts connections and refuses commands.
            reply = (await wire.call([("PING",)], timeout_s=timeout_s))[0]
            if isinstance(reply, Exception):
                raise WireDown(str(reply))
        except (RedisError, OSError, TimeoutError) as error:
            await wire.close()
            raise WireDown(str(error) or "no answer") from error
        except BaseException:
            await wire.close()
            raise
        return wire

    async def call(self, commands: Sequence[Command], *, timeout_s: float) -> list[Any]:
        """Send *commands* at once; return the replies, errors in place. Raises WireDown."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._connection.send_packed_command(
                    b"".join(map(pack, commands)), check_health=False
                )
                return [await self.read() for _ in commands]
        except (RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise WireDown(str(error) or "no answer in time") from error
        except BaseException:
            # Replies are left over on the connection.
            await self.close()
            raise

    async def send(self, command: Command) -> None:
        """Send one command whose replies ``read`` returns. Raises WireDown."""
        try:
            await self._connection.send_packed_command(pack(command), check_health=False)
        except (RedisError, OSError) as error:
            raise WireDown(str(error)) from error

    async def read(self) -> Any:
        """The next reply or push; an error reply is returned, not raised. Raises WireDown."""
        try:
            return await self._connection.read_response(disable_decoding=True, timeout=math.inf)
        except BusyLoadingError as error:
            raise WireDown(str(error)) from error
        except ResponseError as error:
            return error
        except (RedisError, OSError) as error:
            raise WireDown(str(error)) from error

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)
