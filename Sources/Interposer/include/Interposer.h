// SPDX-License-Identifier: Apache-2.0
#pragma once

// The library that `natfwt run` has loaded into a command and its children (LD_PRELOAD). It has no functions of its own:
// it stands in for some of libc's, and leads what goes to other nodes to the agent on this host.
//
//     connect(fd, home:22)   ──▶  the socket is bound, the agent is told "port 40001 is for home:22",
//                                 connect(fd, the agent's port on loopback)
//
// The socket stays the kernel's: no byte passes through here, and what poll, dup, fork and exec make of it is the
// kernel's affair. Nothing is remembered about a descriptor. What has to be known later the kernel is asked (which
// address has it, whom is it connected to), or the agent (what did that stand for).
