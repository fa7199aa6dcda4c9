// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

// Sockets that take what is meant for other hosts and answer in their name (IP_TRANSPARENT), which takes CAP_NET_RAW
// or CAP_NET_ADMIN.
// As in CLinux.h an address is a sockaddr as raw bytes, and a failure is a negative errno.

#define CL_IPV6_ORIGDSTADDR 74

/// Has a socket of this family take what the host's packet filter leads to it (TPROXY), whatever address it is for. With
/// `tell`, for UDP, each message says where it was meant to go.
int cl_take_foreign(int fd, int is_v6, int tell);

/// A UDP socket that sends in the name of `from`, an address of another host perhaps, and hears nothing.
int cl_udp_foreign(const void *from, uint32_t length);

/// Sends one datagram in the name of `from`, from a socket that is gone afterwards.
int cl_udp_send_as(const void *from, const void *to, uint32_t length, const void *bytes, uint32_t count);
