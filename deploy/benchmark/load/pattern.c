// SPDX-License-Identifier: Apache-2.0
// The pattern of the verify mode: SplitMix64 over the offset.
#include "pattern.h"

#include <string.h>

static uint64_t word_at(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *bytes, size_t count) {
  while (count > 0) {
    uint64_t word = word_at(seed, offset / 8);
    size_t skip = offset % 8;
    size_t part = 8 - skip < count ? 8 - skip : count;
    if (part == 8) memcpy(bytes, &word, 8);
    else memcpy(bytes, (const uint8_t *)&word + skip, part);
    bytes += part;
    offset += part;
    count -= part;
  }
}

static uint64_t first_difference(const uint8_t *left, const uint8_t *right, size_t count) {
  size_t index = 0;
  while (index < count && left[index] == right[index]) index++;
  return index;
}

uint64_t pattern_check(uint64_t seed, uint64_t offset, const uint8_t *bytes, size_t count) {
  uint8_t expected[4096];
  while (count > 0) {
    size_t part = count < sizeof expected ? count : sizeof expected;
    pattern_fill(seed, offset, expected, part);
    if (memcmp(expected, bytes, part) != 0) return offset + first_difference(expected, bytes, part);
    bytes += part;
    offset += part;
    count -= part;
  }
  return UINT64_MAX;
}
