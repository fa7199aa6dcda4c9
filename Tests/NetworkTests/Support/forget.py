# SPDX-License-Identifier: Apache-2.0
"""Empties the connection tracking table of the network namespace it runs in (as `conntrack -F` does)."""
import socket
import struct

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_DELETE = (1 << 8) | 2
REQUEST_ACK = 0x1 | 0x4
NLMSG_ERROR = 2

netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
netlink.bind((0, 0))
family = struct.pack("=BBH", 0, 0, 0)
netlink.send(struct.pack("=IHHII", 16 + len(family), IPCTNL_MSG_CT_DELETE, REQUEST_ACK, 1, 0) + family)
answer = netlink.recv(4096)
kind, error = struct.unpack_from("=4xH10xi", answer)
if kind != NLMSG_ERROR or error != 0:
    raise SystemExit(f"netlink answered type {kind}, error {error}")
