#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Whether a file holds one OpenPGP key, and the one with this fingerprint. Usage: check_key.sh FILE FINGERPRINT
found=$(gpg --batch --show-keys --with-colons "$1" | awk -F: '$1 == "pub" {due = 1} $1 == "fpr" && due {print $10; due = 0}')
[ "$found" = "$2" ] || {
    echo "$1: expected the key $2, found: ${found:-none}" >&2
    exit 1
}
