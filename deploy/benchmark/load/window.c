// SPDX-License-Identifier: Apache-2.0
// Warm-up and measured window.
#include "window.h"

#include <stdio.h>

#include "common.h"

struct window window_plan(double warm_up_seconds, double seconds) {
  uint64_t begin = now_ns() + (uint64_t)(warm_up_seconds * 1e9);
  return (struct window){.begin_at = begin, .end_at = begin + (uint64_t)(seconds * 1e9)};
}

static void tell(const char *edge) {
  puts(edge);
  fflush(stdout);
}

bool window_begins(struct window *window, uint64_t now) {
  if (window->began != 0 || now < window->begin_at) return false;
  tell("begin");
  // A late beginning (the machine was busy) does not shorten the window.
  window->end_at += now - window->begin_at;
  window->began = now;
  return true;
}

bool window_ends(struct window *window, uint64_t now) {
  if (window->began == 0 || window->ended != 0 || now < window->end_at) return false;
  tell("end");
  window->ended = now;
  return true;
}

double window_seconds(const struct window *window) { return (double)(window->ended - window->began) / 1e9; }

int window_patience(const struct window *window, uint64_t now) {
  uint64_t edge = window->began == 0 ? window->begin_at : window->end_at;
  uint64_t left = edge > now ? (edge - now) / 1000000 + 1 : 0;
  return left > 100 ? 100 : (int)left;
}
