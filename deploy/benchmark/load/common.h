// SPDX-License-Identifier: Apache-2.0
// What every subject of the load generator shares: time, sockets, the first bytes of a connection, errors.
#ifndef LOAD_COMMON_H
#define LOAD_COMMON_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/// What a connection asks of the backend. The command is the first 32 bytes that the client sends, so that it passes any
/// relay that lets the client speak first; both ends run on one machine, so it is in the machine's own byte order.
enum operation {
  OPERATION_ECHO = 1,    // everything comes back, the command included
  OPERATION_ONCE = 2,    // `size` bytes come back, the command included; then the backend closes
  OPERATION_SOURCE = 3,  // the backend sends until the client closes
  OPERATION_SINK = 4,    // the backend reads and counts
  OPERATION_TOTALS = 5,  // the backend answers with a struct totals and closes
  OPERATION_VERIFY = 6,  // `size` bytes of pattern each way at the same time, then a struct verdict from the backend
};

#define COMMAND_MAGIC 0x314d424eu  // "NBM1"

struct command {
  uint32_t magic;
  uint32_t operation;
  uint64_t size;
  uint64_t seed;
  uint64_t sequence;
};

struct totals {
  uint64_t sunk_bytes;
  uint64_t connections;       // accepted since the start
  uint64_t open_connections;  // now, this one not counted
  uint64_t open_descriptors;  // of the whole backend process
};

/// What the backend found in an upload of OPERATION_VERIFY. `first_bad` is UINT64_MAX when every byte was right.
struct verdict {
  uint64_t received;
  uint64_t first_bad;
};

/// A transport address as the command line gave it.
struct address {
  struct sockaddr_storage storage;
  socklen_t length;
};

struct command make_command(enum operation operation, uint64_t size, uint64_t seed, uint64_t sequence);

/// Nanoseconds of the monotonic clock.
uint64_t now_ns(void);

/// Ends the program with status 1 and a line that says what failed; the second form adds errno's text.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

/// Parses "127.0.0.1:80" or "[::1]:80"; ends the program with a line that says what was expected.
struct address parse_address(const char *text, const char *option);

/// A non-blocking TCP socket on its way to `address`. `*error` is 0 or the errno of a connect that failed at once.
int start_connect(const struct address *address, int *error);

/// A blocking connect and a blocking exchange, for the few things that are not measured.
int connect_blocking(const struct address *address);
void send_all(int descriptor, const void *bytes, size_t count);
bool receive_all(int descriptor, void *bytes, size_t count);

/// Asks the backend directly (not through a relay) for its totals.
struct totals query_totals(const struct address *backend);

int make_epoll(void);
void watch(int epoll, int descriptor, uint32_t events, void *context);
void rewatch(int epoll, int descriptor, uint32_t events, void *context);

/// Raises the descriptor limit to the hard limit and returns it.
uint64_t raise_descriptor_limit(void);

#endif
