# SPDX-License-Identifier: Apache-2.0
"""The node, with a topic that raises in one of its threads or callbacks; run as a script.

Everything else is the node's own. The exception is no :class:`Exception`, as a panic of Rust code.
"""

from __future__ import annotations

import ctypes
import sys
import threading

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
                identity = ctypes.c_ulong(thread.ident)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Panic))


if __name__ == "__main__":
    sys.exit(run(MortalNode))
