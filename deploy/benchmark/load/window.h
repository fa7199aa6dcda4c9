// SPDX-License-Identifier: Apache-2.0
#ifndef LOAD_WINDOW_H
#define LOAD_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

/// The time that is measured: a warm-up, then the window. It prints "begin" and "end" on its own lines at the edges, so that
/// whoever started the program can read the CPU time of the relay there.
struct window {
  uint64_t begin_at, end_at;  // as planned
  uint64_t began, ended;      // as it happened, 0 before
};

struct window window_plan(double warm_up_seconds, double seconds);

/// Called with the current time once a turn: true when an edge was just passed.
bool window_begins(struct window *window, uint64_t now);
bool window_ends(struct window *window, uint64_t now);

static inline bool window_is_open(const struct window *window) { return window->began != 0 && window->ended == 0; }
double window_seconds(const struct window *window);

/// Milliseconds to wait at most, so that no edge is missed.
int window_patience(const struct window *window, uint64_t now);

#endif
