// SPDX-License-Identifier: Apache-2.0
#pragma once

// A ring of records in memory that two processes share: one writes, the other reads, and neither trusts the other. Each
// side keeps its own place in private memory; what the other side says is read once and checked before it is used.
// The layout is documented in Sources/Providers/Providers.docc/ExternalProviders.md. Used by the agent and by libcpnatfwt.

#include <errno.h>
#include <stdint.h>
#include <string.h>

/// What the two sides tell each other of a ring: what one side writes is on no cache line that the other writes. 1,024 bytes.
struct cl_ring_control {
    /// Bytes written since the beginning, and how many when the last reference had been written.
    uint64_t head, referred, pad0[14];
    /// Bytes read since the beginning.
    uint64_t tail, pad1[15];
    /// The reader sleeps: it wants a bell with the next record.
    uint32_t asleep, pad2[31];
    /// The writer waits for room: it wants to be woken (futex) when `tail` moves.
    uint32_t waiting, pad3[31];
    uint64_t reserved[64];
};

enum {
    /// Where the first ring's bytes begin; the two controls are before it, the second ring is behind the first.
    CL_RINGS_DATA = 4096,
    CL_RECORD_PACKET = 1,
    /// The rest of the ring's end is empty.
    CL_RECORD_SKIP = 2,
    /// A packet that lies in the other ring, in room that its reader had not given back yet: no bytes follow.
    CL_RECORD_REFERENCE = 3,
    CL_RECORD_LARGEST = 65536,
};

/// What stands before a record's bytes. A record lies in one piece and takes a multiple of 8 bytes.
struct cl_record {
    uint32_t length;
    uint8_t kind, local_size, remote_size, flags;
    union {
        /// The endpoint's; to the provider alone.
        uint64_t luid;
        struct {
            /// Of a reference: where its packet lies, in bytes from the beginning of the other ring's memory, and how much of
            /// that ring had been read and given back before, in bytes since the beginning, modulo 2^32.
            uint32_t place, given_back;
        };
    };
    uint8_t local[16], remote[16];
};

/// One side's view of a ring.
struct cl_ring {
    struct cl_ring_control *control;
    uint8_t *data;
    /// A power of two.
    uint64_t size;
    /// Bytes that this side has written or read.
    uint64_t position;
    /// What the other side's place was when it was looked at last; of a writer whose reader may answer with references: before
    /// which none of these refers to anything.
    uint64_t seen;
    /// Of a reader whose writer may answer with references: what these refer to. NULL: a reference is rubbish.
    const uint8_t *referred;
};

/// The view of the first (`index` 0: from the agent) or the second ring of a mapping.
static inline struct cl_ring cl_ring_view(void *mapping, uint64_t size, int index) {
    struct cl_ring ring;
    memset(&ring, 0, sizeof ring);
    ring.control = (struct cl_ring_control *)mapping + index;
    ring.data = (uint8_t *)mapping + CL_RINGS_DATA + (uint64_t)index * size;
    ring.size = size;
    return ring;
}

static inline uint64_t cl_record_space(const struct cl_record *record) {
    uint64_t length = record->kind == CL_RECORD_REFERENCE ? 0 : record->length;
    return (sizeof *record + length + 7) & ~(uint64_t)7;
}

/// Whether there is room for a record, as far as is known without a look at the reader's place.
static inline int cl_ring_fits(const struct cl_ring *ring, const struct cl_record *record) {
    uint64_t space = cl_record_space(record);
    uint64_t to_end = ring->size - (ring->position & (ring->size - 1));
    uint64_t needed = space <= to_end ? space : to_end + space;
    return ring->position + needed - ring->seen <= ring->size;
}

/// Looks at the reader's place: 1, or -EPROTO where it makes no sense.
static inline int cl_ring_see_room(struct cl_ring *ring) {
    ring->seen = __atomic_load_n(&ring->control->tail, __ATOMIC_ACQUIRE);
    return ring->position - ring->seen > ring->size ? -EPROTO : 1;
}

/// The same where the reader answers in the ring `answers`, with references. These it writes before it gives back the room
/// that they refer to: so that room is free once its answers are read up to the last reference that there is.
static inline int cl_ring_see_unreferenced_room(struct cl_ring *ring, const struct cl_ring *answers) {
    uint64_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_ACQUIRE);
    if (ring->position - tail > ring->size) return -EPROTO;
    uint64_t last = __atomic_load_n(&answers->control->referred, __ATOMIC_RELAXED);
    if ((int64_t)(answers->position - last) >= 0) ring->seen = tail;
    return 1;
}

/// A reference was read, and all that was written before it: what had been given back by then is free. 1, or -EPROTO where that
/// makes no sense.
static inline int cl_ring_see_reference(struct cl_ring *ring, const struct cl_record *reference) {
    uint32_t held = (uint32_t)ring->position - reference->given_back;
    if (held > ring->size) return -EPROTO;
    if (held < ring->position - ring->seen) ring->seen = ring->position - held;
    return 1;
}

/// Writes a record that fits.
static inline void cl_ring_write(struct cl_ring *ring, const struct cl_record *record, const void *bytes) {
    uint64_t space = cl_record_space(record);
    uint64_t at = ring->position & (ring->size - 1);
    uint64_t to_end = ring->size - at;
    if (space > to_end) {
        if (to_end >= sizeof *record) {
            struct cl_record skip;
            memset(&skip, 0, sizeof skip);
            skip.kind = CL_RECORD_SKIP;
            memcpy(ring->data + at, &skip, sizeof skip);
        }
        ring->position += to_end;
        at = 0;
    }
    memcpy(ring->data + at, record, sizeof *record);
    if (record->kind != CL_RECORD_REFERENCE) memcpy(ring->data + at + sizeof *record, bytes, record->length);
    ring->position += space;
    if (record->kind == CL_RECORD_REFERENCE) __atomic_store_n(&ring->control->referred, ring->position, __ATOMIC_RELAXED);
    __atomic_store_n(&ring->control->head, ring->position, __ATOMIC_RELEASE);
}

/// Writes a record: 1, or 0 where there is no room now, or -EPROTO where the reader's place makes no sense.
static inline int cl_ring_put(struct cl_ring *ring, const struct cl_record *record, const void *bytes) {
    if (!cl_ring_fits(ring, record)) {
        int status = cl_ring_see_room(ring);
        if (status < 0) return status;
        if (!cl_ring_fits(ring, record)) return 0;
    }
    cl_ring_write(ring, record, bytes);
    return 1;
}

/// The same where the reader answers in the ring `answers`, with references.
static inline int cl_ring_put_referable(
    struct cl_ring *ring, const struct cl_ring *answers, const struct cl_record *record, const void *bytes) {
    if (!cl_ring_fits(ring, record)) {
        int status = cl_ring_see_unreferenced_room(ring, answers);
        if (status < 0) return status;
        if (!cl_ring_fits(ring, record)) return 0;
    }
    cl_ring_write(ring, record, bytes);
    return 1;
}

/// Whether the reader wants a bell; it is then the caller who has to ring it.
static inline int cl_ring_takes_bell(struct cl_ring *ring) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring->control->asleep, __ATOMIC_RELAXED) == 0) return 0;
    return __atomic_exchange_n(&ring->control->asleep, 0, __ATOMIC_ACQ_REL) != 0;
}

/// The next record, copied, and where its packet lies in shared memory: read it once. 1; 0 where there is none; -EPROTO
/// for rubbish. The room is the reader's until it is given back.
static inline int cl_ring_next(struct cl_ring *ring, struct cl_record *record, const uint8_t **bytes) {
    for (;;) {
        uint64_t there = ring->seen - ring->position;
        if (there == 0) {
            ring->seen = __atomic_load_n(&ring->control->head, __ATOMIC_ACQUIRE);
            there = ring->seen - ring->position;
            if (there == 0) return 0;
            if (there > ring->size || (ring->seen & 7) != 0) return -EPROTO;
        }
        uint64_t at = ring->position & (ring->size - 1);
        uint64_t to_end = ring->size - at;
        if (to_end < sizeof *record) {
            if (there < to_end) return -EPROTO;
            ring->position += to_end;
            continue;
        }
        if (there < sizeof *record) return -EPROTO;
        memcpy(record, ring->data + at, sizeof *record);
        if (record->kind == CL_RECORD_SKIP) {
            // Nobody leaves a whole ring empty.
            if (there < to_end || at == 0) return -EPROTO;
            ring->position += to_end;
            continue;
        }
        if (record->length == 0 || record->length > CL_RECORD_LARGEST) return -EPROTO;
        uint64_t space = cl_record_space(record);
        if (space > there || space > to_end) return -EPROTO;
        if (record->kind == CL_RECORD_PACKET) {
            *bytes = ring->data + at + sizeof *record;
        } else {
            if (record->kind != CL_RECORD_REFERENCE || ring->referred == NULL) return -EPROTO;
            if (record->place > ring->size - record->length) return -EPROTO;
            *bytes = ring->referred + record->place;
        }
        ring->position += space;
        return 1;
    }
}

/// Gives the room before `position` back to the writer. Answers whether the writer waits for it: then wake it.
static inline int cl_ring_give_back(struct cl_ring *ring, uint64_t position) {
    __atomic_store_n(&ring->control->tail, position, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring->control->waiting, __ATOMIC_RELAXED) == 0) return 0;
    return __atomic_exchange_n(&ring->control->waiting, 0, __ATOMIC_ACQ_REL) != 0;
}

/// Whether there is a record that the reader has not read.
static inline int cl_ring_has_more(const struct cl_ring *ring) {
    return __atomic_load_n(&ring->control->head, __ATOMIC_ACQUIRE) != ring->position;
}

/// The reader wants to sleep: 1 where it may, 0 where there is a record after all.
static inline int cl_ring_sleep(struct cl_ring *ring) {
    __atomic_store_n(&ring->control->asleep, 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&ring->control->head, __ATOMIC_ACQUIRE) == ring->position) return 1;
    __atomic_store_n(&ring->control->asleep, 0, __ATOMIC_RELAXED);
    return 0;
}

/// The reader has woken.
static inline void cl_ring_awake(struct cl_ring *ring) {
    __atomic_store_n(&ring->control->asleep, 0, __ATOMIC_RELAXED);
}

/// Bytes that the reader has read since the beginning, as it says.
static inline uint64_t cl_ring_tail(const struct cl_ring *ring) {
    return __atomic_load_n(&ring->control->tail, __ATOMIC_ACQUIRE);
}
