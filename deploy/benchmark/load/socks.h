// SPDX-License-Identifier: Apache-2.0
#ifndef LOAD_SOCKS_H
#define LOAD_SOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Where a SOCKS5 server is asked to lead: a CONNECT by name (RFC 1928, 4). Without one (`length` 0) the target is no proxy.
struct socks {
  uint8_t request[7 + 255];
  size_t length;
};

/// How far the handshake on one connection is.
struct socks_progress {
  uint8_t asked;  // 0: nothing, 1: the greeting, 2: the request is sent
  uint16_t received;
  uint8_t reply[5 + 255 + 2];
};

/// Parses "name:80"; ends the program with a line that says what was expected.
struct socks parse_socks(const char *text, const char *option);

/// Goes on with the handshake as far as the socket lets it: 1 once the way is open, 0 to be called again when there is something
/// to read, -1 with errno where it failed.
int socks_advance(int descriptor, const struct socks *socks, struct socks_progress *progress);

/// All of it on a blocking socket; ends the program where it fails. Does nothing where the target is no proxy.
void socks_connect(int descriptor, const struct socks *socks);

#endif
