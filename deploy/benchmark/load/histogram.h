// SPDX-License-Identifier: Apache-2.0
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>

/// Durations in nanoseconds, in buckets whose width is at most 1/64 of their value.
#define HISTOGRAM_BUCKETS (64 * 60)

struct histogram {
  uint64_t count;
  uint64_t max;
  uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t nanoseconds);

/// The upper edge, in microseconds, of the bucket in which `quantile` (0...1) of the values end; 0 when there are none.
double histogram_us(const struct histogram *histogram, double quantile);

#endif
