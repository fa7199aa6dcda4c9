// SPDX-License-Identifier: Apache-2.0
// The load generator's command line.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "modes.h"

static const char usage[] =
    "usage: load MODE --target ADDRESS:PORT [options]\n"
    "\n"
    "modes\n"
    "  backend      the service behind the relay, TCP and UDP on --target, until it is ended\n"
    "  bulk         --streams N moving bytes down, or up with --upload (needs --backend)\n"
    "  connect      how long connect() takes, --connections N times each way\n"
    "  connections  new connections, --concurrency N at a time, --size BYTES there and back\n"
    "  requests     --connections N that stay, each with one request of --size BYTES under way\n"
    "  idle         as many open connections as standard input says, a number a line\n"
    "  udp          echo from --sockets N with --window N datagrams of --size BYTES under way in all\n"
    "  send         --rate N datagrams a second of --size BYTES, one way\n"
    "  receive      them, on --target, until the sender says that it is done\n"
    "  verify       --connections N short ones, then --bytes N each way over --streams N, every byte compared\n"
    "\n"
    "options\n"
    "  --target, --backend ADDRESS:PORT    what is measured; the backend itself, to ask it for its totals\n"
    "  --socks-to HOST:PORT                the target is a SOCKS5 server, and this is where it is to lead\n"
    "  --seconds S, --warm-up S            the measured time and the time before it\n"
    "  --seed N                            of the bytes that verify sends\n"
    "  --bytes N                           with KiB, MiB or GiB behind the number where that is handier\n";

struct mode {
  const char *name;
  int (*run)(const struct options *options);
};

static const struct mode modes[] = {
    {"backend", run_backend},   {"bulk", run_bulk}, {"connect", run_connect}, {"connections", run_connections},
    {"requests", run_requests}, {"idle", run_idle}, {"udp", run_udp},         {"verify", run_verify},
    {"send", run_send},         {"receive", run_receive},
};

static _Noreturn void misuse(const char *problem, const char *what) {
  fprintf(stderr, "load: %s%s\n%s", problem, what, usage);
  exit(64);
}

static uint64_t parse_count(const char *text, const char *option, uint64_t least) {
  static const struct { const char *name; int shift; } units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
  char *end;
  errno = 0;
  uint64_t value = strtoull(text, &end, 10);
  bool is_number = errno == 0 && end != text && *text >= '0' && *text <= '9';
  for (size_t index = 0; is_number && index < sizeof units / sizeof *units; index++) {
    if (strcmp(end, units[index].name) != 0 || value > UINT64_MAX >> 8 >> units[index].shift) continue;
    if (value << units[index].shift >= least) return value << units[index].shift;
  }
  fail("%s: expected a whole number from %lu on, found \"%s\"", option, least, text);
}

static double parse_seconds(const char *text, const char *option) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0 && value <= 86400))
    fail("%s: expected seconds from 0 to 86400, found \"%s\"", option, text);
  return value;
}

static void set_option(struct options *options, const char *name, const char *value) {
  struct { const char *name; uint64_t *count; uint64_t least; } counts[] = {
      {"--connections", &options->connections, 0}, {"--streams", &options->streams, 1},
      {"--size", &options->size, 1},               {"--concurrency", &options->concurrency, 1},
      {"--bytes", &options->bytes, 0},             {"--window", &options->window, 1},
      {"--sockets", &options->sockets, 1},         {"--seed", &options->seed, 0},
      {"--rate", &options->rate, 1},
  };
  for (size_t index = 0; index < sizeof counts / sizeof *counts; index++)
    if (strcmp(name, counts[index].name) == 0) {
      *counts[index].count = parse_count(value, name, counts[index].least);
      return;
    }
  if (strcmp(name, "--seconds") == 0) options->seconds = parse_seconds(value, name);
  else if (strcmp(name, "--warm-up") == 0) options->warm_up = parse_seconds(value, name);
  else if (strcmp(name, "--target") == 0) options->target = parse_address(value, name), options->has_target = true;
  else if (strcmp(name, "--backend") == 0) options->backend = parse_address(value, name), options->has_backend = true;
  else if (strcmp(name, "--socks-to") == 0) options->socks = parse_socks(value, name);
  else misuse("there is no option ", name);
}

static struct options parse_options(int count, char **arguments) {
  struct options options = {.connections = 64, .streams = 1,  .size = 64, .concurrency = 64, .window = 128,
                            .sockets = 8,      .seconds = 3, .seed = 1,  .rate = 1000, .warm_up = 0.3};
  for (int index = 2; index < count; index++) {
    if (strcmp(arguments[index], "--upload") == 0) {
      options.upload = true;
      continue;
    }
    if (index + 1 == count) misuse("a value is missing after ", arguments[index]);
    set_option(&options, arguments[index], arguments[index + 1]);
    index++;
  }
  return options;
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  if (count < 2) misuse("a mode is missing", "");
  if (strcmp(arguments[1], "--help") == 0) return fputs(usage, stdout) < 0;
  for (size_t index = 0; index < sizeof modes / sizeof *modes; index++) {
    if (strcmp(arguments[1], modes[index].name) != 0) continue;
    struct options options = parse_options(count, arguments);
    if (!options.has_target) misuse("--target ADDRESS:PORT is missing", "");
    if (options.upload && !options.has_backend) misuse("--upload needs --backend ADDRESS:PORT", "");
    raise_descriptor_limit();
    return modes[index].run(&options);
  }
  misuse("there is no mode ", arguments[1]);
}
