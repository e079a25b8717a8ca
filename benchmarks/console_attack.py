# SPDX-License-Identifier: Apache-2.0
"""The web console under attack: how soon stop is answered, and how much is logged.

    python benchmarks/console_attack.py [--seconds 90] [--json]     in a sourced workspace

The console has a token and 1024 file descriptors, as is usual. All addresses are on the loopback.

* ``half-open``: 1100 connections from 127.0.0.2 that send half a header, and are opened again when
  they are closed.
* ``same address``: the same from the address that stop comes from.
* ``refused``: malformed requests and wrong tokens from 127.0.0.2, as fast as four clients can send
  them.

Meanwhile stop is sent with the right token from 127.0.0.1, twice a second. CPU time is that of the
console's process, as a share of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from ament_index_python.packages import get_package_prefix

KINDS = ("half-open", "same address", "refused")
TOKEN = "a token for the benchmark"
N_CONNECTIONS = 1100
STOP_EVERY_S = 0.5
STOP_TIMEOUT_S = 5.0
SETTLE_S = 3.0
N_CLIENTS = 4  # that send requests which are refused
REFUSED = (  # headers and body
    (b"Authorization: Bearer \xff", b""),
    (b"Authorization: Bearer wrong", b""),
    (b"Content-Type: application/json; charset=nosuch", b"{}"),
    (f"Authorization: Bearer {TOKEN}".encode(), b"\xff\xfe"),
)


def cpu_s(pid: int) -> float:
    """Get the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def hold_half_open(port: int, address: str) -> None:
    """Keep a connection open that has sent half a header; open it again when it is closed."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(address, 0)
            )
            writer.write(b"POST /stop HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: ")
            await reader.read(1)
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(0.1)


async def send_refused(port: int, counts: dict[int, int]) -> None:
    """Send requests that are refused, each on its own connection, without a pause."""
    while True:
        for header, body in REFUSED:
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=("127.0.0.2", 0)
                )
                head = b"POST /command HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                length = f"\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                writer.write(head + header + length + body)
                line = await reader.readline()
                writer.close()
                status = int(line.split()[1]) if line else 0
            except OSError:
                status = 0
            counts[status] = counts.get(status, 0) + 1


async def send_stops(port: int, seconds: float) -> tuple[list[float], int]:
    """Send stop now and then; returns the latencies in seconds, and how many failed."""
    latencies: list[float] = []
    n_failed = 0
    end_s = time.monotonic() + seconds
    timeout = aiohttp.ClientTimeout(total=STOP_TIMEOUT_S)
    while time.monotonic() < end_s:
        begin_s = time.monotonic()
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    f"http://127.0.0.1:{port}/stop", headers={"Authorization": f"Bearer {TOKEN}"}
                ) as response,
            ):
                # 400: carried out, but nothing subscribes to the command here.
                assert response.status in (200, 400), response.status
                await response.read()
            latencies.append(time.monotonic() - begin_s)
        except (aiohttp.ClientError, asyncio.TimeoutError, AssertionError):
            n_failed += 1
        await asyncio.sleep(max(0.0, begin_s + STOP_EVERY_S - time.monotonic()))
    return latencies, n_failed


async def attack(kind: str, port: int) -> None:
    """Attack a console until the process is ended; prints counts of replies by status."""
    counts: dict[int, int] = {}
    if kind == "refused":
        attackers = [send_refused(port, counts) for _ in range(N_CLIENTS)]
    else:
        address = "127.0.0.1" if kind == "same address" else "127.0.0.2"
        attackers = [hold_half_open(port, address) for _ in range(N_CONNECTIONS)]
    tasks = [asyncio.create_task(each) for each in attackers]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    for each in tasks:
        each.cancel()
    print(json.dumps(counts))


def measure_attack(kind: str, port: int, seconds: float) -> dict[str, float]:
    """Attack a console from another process, and measure how soon stop is answered."""
    begin_s = time.monotonic()
    command = [sys.executable, __file__, "--attack", kind, "--port", str(port)]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(SETTLE_S)
        latencies, n_failed = asyncio.run(send_stops(port, seconds))
    finally:
        attacker.terminate()
        counts = json.loads(attacker.communicate(timeout=20)[0] or "{}")
    quantiles = statistics.quantiles(latencies, n=100) if len(latencies) > 1 else [0.0] * 99
    return {
        "n_stops": len(latencies) + n_failed,
        "n_failed": n_failed,
        "p50_ms": 1e3 * quantiles[49],
        "p99_ms": 1e3 * quantiles[98],
        "refused_per_s": sum(counts.values()) / (time.monotonic() - begin_s),
        **{f"n_{status}": n for status, n in counts.items()},
    }


def measure(kind: str, seconds: float) -> dict[str, float]:
    """Start a console, attack it, and add up what it logged."""
    program = Path(get_package_prefix("mllmseg_ros")) / "lib" / "mllmseg_ros" / "console"
    with tempfile.TemporaryDirectory() as folder:
        token_file, log_file = Path(folder) / "token", Path(folder) / "log"
        token_file.write_text(TOKEN)
        command = (
            f"ulimit -Sn 1024; exec {program} --ros-args -p port:=0 -p address:=0.0.0.0 "
            f"-p token_file:={token_file}"
        )
        with log_file.open("wb") as log:
            console = subprocess.Popen(["bash", "-c", command], stdout=log, stderr=log)
        try:
            while "console at " not in log_file.read_text(errors="replace"):
                assert console.poll() is None, log_file.read_text(errors="replace")
                time.sleep(0.1)
            url = log_file.read_text().split("console at ")[1].split()[0]
            port = int(url.rsplit(":", 1)[1].strip("/"))
            n_bytes, before_s, begin_s = (
                log_file.stat().st_size,
                cpu_s(console.pid),
                time.monotonic(),
            )
            result = measure_attack(kind, port, seconds)
            share = (cpu_s(console.pid) - before_s) / (time.monotonic() - begin_s)
            text = log_file.read_bytes()[n_bytes:]
            result |= {
                "log_bytes": len(text), "log_lines": text.count(b"\n"), "cpu_share": share
            }  # fmt: skip
        finally:
            console.terminate()
            try:
                result["exit_status"] = console.wait(20)
            except subprocess.TimeoutExpired:
                console.kill()
                console.wait()
                result["exit_status"] = -9
    return result


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=90.0, help="per attack (default: 90)")
    parser.add_argument("--only", choices=KINDS, help="one of the attacks")
    parser.add_argument("--attack", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.attack:
        asyncio.run(attack(arguments.attack, arguments.port))
        return 0
    os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 100))
    kinds = [arguments.only] if arguments.only else KINDS
    results = {kind: measure(kind, arguments.seconds) for kind in kinds}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return 0
    for kind, values in results.items():
        print(f"{kind}: " + ", ".join(f"{name} {value:.6g}" for name, value in values.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
