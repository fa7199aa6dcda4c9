// SPDX-License-Identifier: Apache-2.0
#ifndef LOAD_VERIFY_H
#define LOAD_VERIFY_H

#include "modes.h"

/// What a verification found; `failed` counts connections or streams, and each has told its reason on standard error.
struct finding {
  uint64_t done;
  uint64_t failed;
  uint64_t bytes_up, bytes_down;
};

/// How long nothing may move before the verification gives up.
#define VERIFY_PATIENCE_MS 30000

/// The reasons of the first failures are told, the others only counted.
#define VERIFY_TOLD 20

/// `connections` short connections, each with a payload of its own size and bytes that must come back unchanged.
struct finding verify_connections(const struct options *options);

/// `bytes` each way at the same time over `streams` connections, every byte compared, both ends finishing with a half-close.
struct finding verify_streams(const struct options *options);

#endif
