#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Names what this machine lacks, with the command that installs it; installs it where apt and root are
# at hand and no ROS 2 is sourced. Usage: PYTHON=python3.11 tools/check_machine.sh build|camera
set -u

python_matches() { # 3.11 for the wheels, the interpreter of ROS where one is sourced
    if [ -n "${ROS_DISTRO:-}" ]; then
        "$PYTHON" -c "import rclpy"
    else
        "$PYTHON" -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))"
    fi >/dev/null 2>&1
}

has_python_headers() {
    "$PYTHON" - <<'PYTHON_CODE' 2>/dev/null
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))
PYTHON_CODE
}

has_offscreen_gl() { # what MuJoCo's EGL and OSMesa back ends load
    "$PYTHON" - <<'PYTHON_CODE' 2>/dev/null
import ctypes, sys

def loads(name):
    try:
        return bool(ctypes.CDLL(name))
    except OSError:
        return False

egl = loads("libEGL.so.1") and (loads("libOpenGL.so.0") or loads("libGL.so.1"))
sys.exit(not (egl or loads("libOSMesa.so.8")))
PYTHON_CODE
}

# Sets `missing` (text) and `packages` (Debian names) for the part of the machine named by $1.
look() {
    missing= packages=
    lacks() { # what, Debian packages
        missing="$missing
  - $1"
        packages="$packages${2:+ $2}"
    }
    apt_python=python3.11
    [ -z "${ROS_DISTRO:-}" ] || apt_python=python3
    if ! python_matches; then
        if [ -n "${ROS_DISTRO:-}" ]; then
            lacks "a Python that imports rclpy of ROS 2 $ROS_DISTRO ('$PYTHON' does not; name it: make PYTHON=/usr/bin/python3)" ""
        else
            lacks "Python 3.11 ('$PYTHON' is not; another one can be named: make PYTHON=/path/to/python3.11)" \
                "python3.11 python3.11-venv python3.11-dev"
            ! grep -qs '^VERSION_ID="2[4-9]' /etc/os-release || # Ubuntu 24.04 and later
                missing="$missing; first: sudo add-apt-repository ppa:deadsnakes/ppa"
        fi
        return
    fi
    if [ "$1" = camera ]; then
        has_offscreen_gl || lacks "EGL or OSMesa, to render the simulated camera" \
            "libegl1 libgl1-mesa-dri libopengl0"
        return
    fi
    "$PYTHON" -c "import ensurepip, venv" 2>/dev/null || lacks "the venv module of $PYTHON" "$apt_python-venv"
    has_python_headers || lacks "the C headers of $PYTHON" "$apt_python-dev"
    command -v "${CXX:-g++}" >/dev/null || lacks "a C++ compiler" "g++"
    if [ -n "${ROS_DISTRO:-}" ]; then
        command -v cmake >/dev/null || lacks "cmake" "cmake"
        command -v colcon >/dev/null || lacks "colcon" "python3-colcon-common-extensions"
    fi
}

look "$1"
# What is looked for depends on what is there: without Python nothing about it can be asked.
asked=
while [ -n "$packages" ] && [ "$packages" != "$asked" ] && [ -z "${ROS_DISTRO:-}" ] && [ "$(id -u)" = 0 ] &&
    command -v apt-get >/dev/null; do
    echo "This machine lacks:$missing"
    echo "Installing:$packages"
    asked=$packages
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
    look "$1"
done
[ -n "$missing" ] || exit 0
echo "This machine lacks:$missing" >&2
[ -z "$packages" ] || echo "On Debian or Ubuntu: sudo apt-get install$packages" >&2
exit 1
