// SPDX-License-Identifier: Apache-2.0
#ifndef LOAD_PATTERN_H
#define LOAD_PATTERN_H

#include <stddef.h>
#include <stdint.h>

/// An endless stream of bytes that a seed fixes, each 8 bytes a function of their offset: a byte that is lost, repeated, moved or
/// changed shows at its place.
void pattern_fill(uint64_t seed, uint64_t offset, uint8_t *bytes, size_t count);

/// The offset of the first byte that differs from the pattern, or UINT64_MAX.
uint64_t pattern_check(uint64_t seed, uint64_t offset, const uint8_t *bytes, size_t count);

#endif
