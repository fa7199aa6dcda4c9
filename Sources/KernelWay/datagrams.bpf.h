// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "places.bpf.h"

// Each destination of datagrams has a port of the agent's, taken from a stock when it is first named. A port that was only
// ever connected to, and is no more, may be given to another destination: the process sees to that.

static inline void put_back(const struct place *to, __u32 target) {
    if (is_v4(to)) {
        bpf_map_push_elem(&v4_stock, &target, 0);
    } else {
        bpf_map_push_elem(&v6_stock, &target, 0);
    }
}

/// Gives a destination one of the agent's ports. Answers 0 where there are none.
static inline __u32 new_target(const struct place *to) {
    __u32 target = 0;
    long status = is_v4(to) ? bpf_map_pop_elem(&v4_stock, &target) : bpf_map_pop_elem(&v6_stock, &target);
    if (status != 0) return 0;
    struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) {
        put_back(to, target);
        return 0;
    }
    // What comes back from there is known before anything is sent.
    struct place here = loopback(to, target);
    struct destination destination = {.place = *to};
    if (bpf_map_update_elem(&destinations, &here, &destination, BPF_ANY) != 0
        || bpf_map_update_elem(&targets, to, &target, BPF_NOEXIST) != 0) {
        bpf_ringbuf_discard(event, 0);
        bpf_map_delete_elem(&destinations, &here);
        put_back(to, target);
        // Another processor may have been faster.
        __u32 *found = bpf_map_lookup_elem(&targets, to);
        return found ? *found : 0;
    }
    *event = (struct event){.kind = NEW_DESTINATION, .target = target, .local = here, .to = *to};
    bpf_ringbuf_submit(event, 0);
    return target;
}

static inline __u32 target_of(const struct place *to) {
    __u32 *target = bpf_map_lookup_elem(&targets, to);
    return target ? *target : new_target(to);
}

static inline struct destination *destination_at(const struct place *to, __u32 target) {
    struct place here = loopback(to, target);
    return bpf_map_lookup_elem(&destinations, &here);
}

static inline void count_up(const struct place *to, __u32 target) {
    struct destination *destination = destination_at(to, target);
    if (destination) __sync_fetch_and_add(&destination->connected, 1);
}

/// A socket is connected to it no more.
static inline void count_down(const struct place *to, __u32 target) {
    struct destination *destination = destination_at(to, target);
    if (!destination || __sync_fetch_and_sub(&destination->connected, 1) != 1 || destination->is_sent_to) return;
    struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) return;
    *event = (struct event){.kind = UNUSED_DESTINATION, .target = target, .local = loopback(to, target), .to = *to};
    bpf_ringbuf_submit(event, 0);
}

static inline void mark_sent_to(const struct place *to, __u32 target) {
    struct destination *destination = destination_at(to, target);
    if (destination && !destination->is_sent_to) destination->is_sent_to = 1;
}
