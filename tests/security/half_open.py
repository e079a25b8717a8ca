# SPDX-License-Identifier: Apache-2.0
"""Hold many connections open, from several addresses, until the process is killed.

half_open.py PORT N_CONNECTIONS N_ADDRESSES FIRST_ADDRESS; sends what standard input has.
"""

from __future__ import annotations

import asyncio
import sys

_REOPEN_S = 0.2


async def hold(port: int, address: str, data: bytes) -> None:
    """Hold a connection open; open it again whenever it is closed."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(address, 0)
            )
            writer.write(data)
            await reader.read(1)
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(_REOPEN_S)


async def main() -> None:
    port, n_connections, n_addresses, first = map(int, sys.argv[1:])
    data = sys.stdin.buffer.read()
    await asyncio.gather(
        *(hold(port, f"127.0.0.{first + k % n_addresses}", data) for k in range(n_connections))
    )


asyncio.run(main())
