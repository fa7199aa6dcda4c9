// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a fuzzer decides by: the bytes of an input, of which those behind its end are 0, or a generator that begins with a seed.
// What a generator gave can be kept as an input.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST_INPUT = 1024 };

static struct {
    uint64_t state;
    const uint8_t *input;
    size_t left;
    uint8_t taken[LONGEST_INPUT];
    size_t count;
} choices;

static inline void choose_by_seed(uint64_t seed) {
    choices.state = seed * 0x9E3779B97F4A7C15u | 1;
    choices.input = NULL;
    choices.count = 0;
}

static inline void choose_by_input(const uint8_t *input, size_t size) {
    choices.input = input;
    choices.left = size;
    choices.count = 0;
}

/// The next byte.
static inline uint8_t any8(void) {
    uint8_t byte = 0;
    if (choices.input != NULL) {
        if (choices.left > 0) byte = *choices.input++, choices.left--;
    } else {
        choices.state ^= choices.state << 13, choices.state ^= choices.state >> 7, choices.state ^= choices.state << 17;
        byte = (uint8_t)(choices.state >> 32);
    }
    if (choices.count < LONGEST_INPUT) choices.taken[choices.count++] = byte;
    return byte;
}

static inline uint32_t any32(void) {
    uint32_t word = any8();
    for (int count = 0; count < 3; count++) word = word << 8 | any8();
    return word;
}

/// One of the numbers below `count`, with as few bytes as it takes.
static inline uint32_t one_of(uint32_t count) {
    uint32_t number = any8();
    if (count > 256) number = number << 8 | any8();
    if (count > 65536) number = number << 16 | (uint32_t)any8() << 8 | any8();
    return number % count;
}

/// Fills `bytes`: only the first 64 are chosen, for what matters lies there.
static inline void fill(uint8_t *bytes, size_t size) {
    for (size_t index = 0; index < size; index++) bytes[index] = index < 64 ? any8() : (uint8_t)index;
}

/// Has the choices be what a file says. False where it can't be read.
static inline int choose_by_file(const char *path) {
    static uint8_t bytes[LONGEST_INPUT];
    FILE *file = fopen(path, "rb");
    if (file == NULL) return 0;
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    choose_by_input(bytes, size);
    return 1;
}

/// Writes what was chosen since the beginning into a file.
static inline int keep_choices(const char *path) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) return 0;
    size_t count = fwrite(choices.taken, 1, choices.count, file);
    return fclose(file) == 0 && count == choices.count;
}
