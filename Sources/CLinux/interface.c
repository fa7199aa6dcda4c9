// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "packet_device.h"

#include <errno.h>
#include <linux/ipv6_route.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LONGEST_ALIAS = 255 };

/// From <linux/route.h>, which does not go with <net/if.h>: the route may be used.
#ifndef RTF_UP
#define RTF_UP 0x0001
#endif

int cl_interface_index(const char *name) {
    unsigned index = if_nametoindex(name);
    return index > 0 ? (int)index : -errno;
}

static int change_route(unsigned long change, int index, const uint8_t address[16], uint32_t prefix, uint32_t metric) {
    struct in6_rtmsg route;
    memset(&route, 0, sizeof route);
    memcpy(&route.rtmsg_dst, address, 16);
    route.rtmsg_dst_len = (uint16_t)prefix;
    route.rtmsg_metric = metric;
    route.rtmsg_flags = RTF_UP;
    route.rtmsg_ifindex = index;
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int status = ioctl(fd, change, &route) == 0 ? 0 : -errno;
    close(fd);
    return status;
}

int cl_interface_add_route(int index, const uint8_t address[16], uint32_t prefix, uint32_t metric) {
    int status = change_route(SIOCADDRT, index, address, prefix, metric);
    return status == -EEXIST ? 0 : status;
}

int cl_interface_remove_route(int index, const uint8_t address[16], uint32_t prefix, uint32_t metric) {
    int status = change_route(SIOCDELRT, index, address, prefix, metric);
    return status == -ESRCH ? 0 : status;
}

/// Sends a request to the kernel and answers what it says to it.
static int ask(struct nlmsghdr *request) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return -errno;
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[1024];
    } answer;
    int status = -EBADMSG;
    if (send(fd, request, request->nlmsg_len, 0) < 0) {
        status = -errno;
    } else {
        // The kernel answers within send(2): nothing is waited for.
        ssize_t count = recv(fd, &answer, sizeof answer, MSG_DONTWAIT);
        if (count < 0) status = -errno;
        else if ((size_t)count >= NLMSG_LENGTH(sizeof answer.error) && answer.header.nlmsg_type == NLMSG_ERROR)
            status = answer.error.error;
    }
    close(fd);
    return status;
}

int cl_interface_set_alias(int index, const char *alias) {
    size_t length = strlen(alias);
    if (length > LONGEST_ALIAS) return -EINVAL;
    struct {
        struct nlmsghdr header;
        struct ifinfomsg link;
        struct rtattr attribute;
        char alias[LONGEST_ALIAS + 1];
    } request;
    memset(&request, 0, sizeof request);
    request.header.nlmsg_type = RTM_SETLINK;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request.link.ifi_family = AF_UNSPEC;
    request.link.ifi_index = index;
    request.attribute.rta_type = IFLA_IFALIAS;
    request.attribute.rta_len = (uint16_t)RTA_LENGTH(length);
    memcpy(request.alias, alias, length);
    request.header.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof request.link) + RTA_SPACE(length));
    return ask(&request.header);
}
