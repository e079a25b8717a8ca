# SPDX-License-Identifier: Apache-2.0
"""The node, with a topic that raises in one of its threads or callbacks; run as a script.

Everything else is the node's own. The exception is no :class:`Exception`, as a panic of Rust code.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time

from std_msgs.msg import String

from mllmseg_ros.ros.node.segmenter_node import SegmenterNode
from mllmseg_ros.ros.support.spin import run

CALLBACK = "callback"


class Panic(BaseException):
    """An exception that nobody expects."""


class MortalNode(SegmenterNode):
    """Raises :class:`Panic` in the threads that ``kill`` names, or in that callback itself."""

    def __init__(self) -> None:
        super().__init__()
        self.create_subscription(String, "kill", self._on_kill, 10)

    def _on_kill(self, message: String) -> None:
        if message.data == CALLBACK:
            raise Panic("in a callback")
        for thread in threading.enumerate():
            if thread.name == message.data and thread.ident is not None:
                raise_in_thread(thread.ident)


def raise_in_thread(identity: int) -> None:
    """Raise :class:`Panic` in a thread, at the next instruction of Python code.

    Not while the thread enters a ``with`` block: raised between the acquisition of an Event's lock
    and the block that releases it, the exception would leave the lock held for ever. No library
    can raise there.
    """
    while not _raise_outside_enter(identity):
        time.sleep(0.001)


def _raise_outside_enter(identity: int) -> bool:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(60.0)  # the thread cannot go on between the check and the exception
    try:
        if sys._current_frames()[identity].f_code.co_name == "__enter__":
            return False
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(identity), ctypes.py_object(Panic)
        )
        return True
    finally:
        sys.setswitchinterval(interval_s)


if __name__ == "__main__":
    sys.exit(run(MortalNode))
