// SPDX-License-Identifier: Apache-2.0
// Time, addresses, sockets and errors.
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct command make_command(enum operation operation, uint64_t size, uint64_t seed, uint64_t sequence) {
  return (struct command){
      .magic = COMMAND_MAGIC, .operation = operation, .size = size, .seed = seed, .sequence = sequence};
}

uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void report(const char *format, va_list arguments) {
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  report(format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

void fail_errno(const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  report(format, arguments);
  va_end(arguments);
  fprintf(stderr, ": %s\n", strerror(error));
  exit(1);
}

static bool parse_port(const char *text, in_port_t *port) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 1 || value > 65535) return false;
  *port = htons((uint16_t)value);
  return true;
}

static bool parse_host_and_port(char *text, struct address *address) {
  char *colon = strrchr(text, ':');
  if (colon == NULL) return false;
  *colon = '\0';
  in_port_t port;
  if (!parse_port(colon + 1, &port)) return false;
  size_t length = strlen(text);
  if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->storage;
    text[length - 1] = '\0';
    *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
    address->length = sizeof *v6;
    return inet_pton(AF_INET6, text + 1, &v6->sin6_addr) == 1;
  }
  struct sockaddr_in *v4 = (struct sockaddr_in *)&address->storage;
  *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
  address->length = sizeof *v4;
  return inet_pton(AF_INET, text, &v4->sin_addr) == 1;
}

struct address parse_address(const char *text, const char *option) {
  struct address address = {.length = 0};
  char copy[128];
  snprintf(copy, sizeof copy, "%s", text);
  if (!parse_host_and_port(copy, &address))
    fail("%s: expected an address like 127.0.0.1:8080 or [::1]:8080, found \"%s\"", option, text);
  return address;
}

static void set_no_delay(int descriptor) {
  int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int start_connect(const struct address *address, int *error) {
  int descriptor = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) fail_errno("cannot make a socket");
  set_no_delay(descriptor);
  int result = connect(descriptor, (const struct sockaddr *)&address->storage, address->length);
  *error = result == 0 || errno == EINPROGRESS ? 0 : errno;
  return descriptor;
}

int connect_blocking(const struct address *address) {
  int descriptor = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) fail_errno("cannot make a socket");
  set_no_delay(descriptor);
  if (connect(descriptor, (const struct sockaddr *)&address->storage, address->length) != 0)
    fail_errno("cannot connect");
  return descriptor;
}

void send_all(int descriptor, const void *bytes, size_t count) {
  const uint8_t *next = bytes;
  while (count > 0) {
    ssize_t sent = send(descriptor, next, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) fail_errno("cannot send");
    next += sent;
    count -= (size_t)sent;
  }
}

bool receive_all(int descriptor, void *bytes, size_t count) {
  uint8_t *next = bytes;
  while (count > 0) {
    ssize_t received = recv(descriptor, next, count, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    next += received;
    count -= (size_t)received;
  }
  return true;
}

struct totals query_totals(const struct address *backend) {
  int descriptor = connect_blocking(backend);
  struct command command = make_command(OPERATION_TOTALS, 0, 0, 0);
  send_all(descriptor, &command, sizeof command);
  struct totals totals;
  if (!receive_all(descriptor, &totals, sizeof totals)) fail("the backend closed without telling its totals");
  close(descriptor);
  return totals;
}

int make_epoll(void) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail_errno("cannot make an epoll instance");
  return epoll;
}

static void control(int epoll, int action, int descriptor, uint32_t events, void *context) {
  struct epoll_event event = {.events = events, .data.ptr = context};
  if (epoll_ctl(epoll, action, descriptor, &event) != 0) fail_errno("cannot watch a socket");
}

void watch(int epoll, int descriptor, uint32_t events, void *context) {
  control(epoll, EPOLL_CTL_ADD, descriptor, events, context);
}

void rewatch(int epoll, int descriptor, uint32_t events, void *context) {
  control(epoll, EPOLL_CTL_MOD, descriptor, events, context);
}

uint64_t raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail_errno("cannot read the descriptor limit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail_errno("cannot raise the descriptor limit");
  return limit.rlim_cur;
}
