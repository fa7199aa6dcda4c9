// SPDX-License-Identifier: Apache-2.0
#pragma once

// TUN devices, and descriptors that one process hands to another. Nothing here keeps state. Each function answers a
// negative errno on failure.

#include <stdint.h>

/// Bytes of an interface's name with its NUL (IFNAMSIZ).
#define CL_INTERFACE_NAME 16
/// Bytes before each packet of a device: struct virtio_net_hdr, its numbers little-endian.
#define CL_OFFLOAD_HEADER 10

/// Makes a TUN device that lives as long as its descriptor: no other of that name may be there (IFF_TUN_EXCL), each packet
/// has a virtio_net_hdr before it (IFF_VNET_HDR). The descriptor is close-on-exec and non-blocking.
int cl_packet_device_open(const char *name);

/// Takes over a descriptor that somebody else has opened: it must be of such a device. Tells its name and, in `offload`,
/// whether the kernel takes large TCP packets (1) and large UDP packets (2), and gives them.
int cl_packet_device_adopt(int fd, char name[CL_INTERFACE_NAME], uint32_t *offload);

/// Gives a device its address, with the route of the address's prefix, and its MTU, and brings it up.
int cl_packet_device_configure(const char *name, const uint8_t address[16], uint32_t prefix, uint32_t mtu);

/// Has the kernel give no packet that is larger than the MTU or lacks its checksum.
int cl_packet_device_refuse_offload(int fd);

/// The number of the interface; as long as it is there no other has it.
int cl_interface_index(const char *name);

/// Adds a route to a prefix through an interface, or takes it away. One that is there, or is gone, is as good.
int cl_interface_add_route(int index, const uint8_t address[16], uint32_t prefix, uint32_t metric);
int cl_interface_remove_route(int index, const uint8_t address[16], uint32_t prefix, uint32_t metric);

/// Gives an interface a name for people (ifalias), of 255 bytes at most.
int cl_interface_set_alias(int index, const char *alias);

/// A socket by what its packets say. Ports are in the host's byte order; `interface` is the one that they pass.
struct cl_socket_name {
    uint8_t protocol;
    uint8_t local[16], remote[16];
    uint16_t local_port, remote_port;
    int interface;
};

/// Whose socket it is (NETLINK_SOCK_DIAG); -ENOENT where there is none.
int cl_socket_owner(const struct cl_socket_name *name, uint32_t *user);

/// Writes the header and the packet as one; answers how many bytes were taken.
int cl_packet_device_write(int fd, const void *header, const void *packet, uint32_t length);

/// Sends a descriptor, with one byte, over a Unix stream socket on which nothing else waits to be sent.
int cl_pass_descriptor(int socket, int descriptor);

/// Takes the descriptor that comes with the next byte: close-on-exec. -ENOMSG where a byte came without one, -ECONNRESET
/// where the other side has gone.
int cl_take_descriptor(int socket);
