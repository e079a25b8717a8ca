# SPDX-License-Identifier: Apache-2.0
"""Run a node until Ctrl-C or SIGTERM, then shut it down.

rclpy's own signal handler ends the communication first, so that a node can no longer publish when
it shuts down; here the node shuts down first.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from mllmseg_ros.error_text import one_line

__all__ = ["run", "signalled"]

signalled = threading.Event()  # a signal has asked the process to end

_POLL_S = 0.2  # how soon a signal is noticed while nothing else happens
_QUIET_S = 5.0  # between two lines about callbacks that failed


class Stoppable(Protocol):
    """A node with work to do before it is destroyed."""

    def stop(self) -> None:
        """Shut down; the node can still publish."""


def run(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """Create a node, spin it until a signal arrives or it is done, then stop and destroy it.

    What a callback raises is reported, and the node goes on: rclpy would end the process.

    Args:
        make_node: called after rclpy is initialised. The node has ``stop()``, and ``done`` (an
            exit status, None while it runs) if it ends by itself, and ``report_crash`` if it does
            more than log what a callback raised.
        args: command line; None: that of the process.

    Returns:
        Exit status: 0 after a signal, else the node's ``done``.
    """
    made = threading.Event()
    signalled.clear()

    def on_signal(*_: object) -> None:
        signalled.set()
        if not made.is_set():  # do not wait for a model that is being loaded
            raise SystemExit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
        made.set()
    except SystemExit:
        rclpy.try_shutdown()
        return 0
    except Exception as error:
        reason = one_line(error, with_type=not isinstance(error, (ValueError, RuntimeError)))
        print(f"cannot start: {reason}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    report = getattr(node, "report_crash", partial(_log_crash, node))
    try:
        while not signalled.is_set() and getattr(node, "done", None) is None:
            try:
                executor.spin_once(timeout_sec=_POLL_S)
            except ExternalShutdownException:
                break
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # of a callback, whatever it is
                report("a callback", error)
    finally:
        node.stop()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return getattr(node, "done", None) or 0


def _log_crash(node: Node, what: str, error: BaseException) -> None:
    line = f"{what} failed: {one_line(error)}"
    node.get_logger().error(line, throttle_duration_sec=_QUIET_S)
