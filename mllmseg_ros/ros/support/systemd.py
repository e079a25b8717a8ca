# SPDX-License-Identifier: Apache-2.0
"""Notify systemd of the state of this process: sd_notify(3) without its library."""

from __future__ import annotations

import os
import socket

__all__ = ["notify"]


def notify(state: str) -> None:
    """Send a state to the service manager; does nothing without one.

    May be called from any thread, as often as there is something to say; never waits.

    Args:
        state: an assignment of sd_notify(3): ``READY=1`` or ``WATCHDOG=1``.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name in the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), socket.MSG_DONTWAIT, address)
    except OSError:  # a service manager that does not listen must not disturb the node
        return
