// SPDX-License-Identifier: Apache-2.0
// A log-linear histogram: constant cost a value, no allocation.
#include "histogram.h"

#define STEPS 64u
#define STEP_BITS 6

static uint32_t bucket_of(uint64_t value) {
  if (value < STEPS) return (uint32_t)value;
  int exponent = 63 - __builtin_clzll(value);
  uint64_t step = (value >> (exponent - STEP_BITS)) - STEPS;
  return (uint32_t)(exponent - STEP_BITS + 1) * STEPS + (uint32_t)step;
}

static uint64_t upper_edge(uint32_t bucket) {
  if (bucket < STEPS) return bucket;
  uint32_t exponent = bucket / STEPS - 1;
  return ((uint64_t)(bucket % STEPS) + STEPS + 1) << exponent;
}

void histogram_add(struct histogram *histogram, uint64_t nanoseconds) {
  histogram->count++;
  if (nanoseconds > histogram->max) histogram->max = nanoseconds;
  histogram->buckets[bucket_of(nanoseconds)]++;
}

double histogram_us(const struct histogram *histogram, double quantile) {
  if (histogram->count == 0) return 0;
  uint64_t wanted = (uint64_t)((double)histogram->count * quantile);
  if (wanted >= histogram->count) return (double)histogram->max / 1000;
  uint64_t seen = 0;
  for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
    seen += histogram->buckets[bucket];
    if (seen <= wanted) continue;
    uint64_t edge = upper_edge(bucket);
    return (double)(edge < histogram->max ? edge : histogram->max) / 1000;
  }
  return (double)histogram->max / 1000;
}
