// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "way.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/// The programs' object file, which the build has put into this library.
extern const char programs_begin[], programs_end[];
__asm__(".section .rodata\n"
        ".balign 16\n"
        ".global programs_begin, programs_end\n"
        ".hidden programs_begin, programs_end\n"
        "programs_begin:\n"
        ".incbin \"" PROGRAMS_FILE "\"\n"
        "programs_end:\n"
        ".previous\n");

enum { MOST_LINKS = 16 };

struct programs {
    struct bpf_object *object;
    struct bpf_link *links[MOST_LINKS];
    size_t count;
    struct ring_buffer *ring;
    int v4_stock;
    int v6_stock;
    int targets;
    int destinations;
    int expired;
    void (*told)(const struct event *event, void *context);
    void *context;
};

static bool set(struct bpf_object *object, const struct settings *settings) {
    struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
    size_t size = 0;
    void *value = map ? (void *)bpf_map__initial_value(map, &size) : NULL;
    if (!value || size < sizeof *settings) return false;
    memcpy(value, settings, sizeof *settings);
    return true;
}

static bool attach(struct programs *programs, int group, struct reason why) {
    struct bpf_program *program;
    bpf_object__for_each_program(program, programs->object) {
        // A link is gone with its descriptor, and so with this process, however that ends.
        struct bpf_link *link = programs->count < MOST_LINKS ? bpf_program__attach_cgroup(program, group) : NULL;
        if (!link) return fail(why, errno, "the kernel does not take the program %s", bpf_program__name(program));
        programs->links[programs->count++] = link;
    }
    return true;
}

static bool open_and_load(struct programs *programs, const struct settings *settings, struct reason why) {
    DECLARE_LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "natfwt");
    // What it would say on standard error is in the errno.
    libbpf_set_print(NULL);
    programs->object = bpf_object__open_mem(programs_begin, (size_t)(programs_end - programs_begin), &options);
    if (!programs->object || !set(programs->object, settings)) return fail(why, errno, "the programs can't be read");
    // For old kernels it raises a limit, which the command would inherit.
    struct rlimit before;
    bool is_known = getrlimit(RLIMIT_MEMLOCK, &before) == 0;
    int status = bpf_object__load(programs->object);
    if (is_known) setrlimit(RLIMIT_MEMLOCK, &before);
    if (status != 0) return fail(why, -status, "the kernel does not take the programs");
    programs->v4_stock = bpf_object__find_map_fd_by_name(programs->object, "v4_stock");
    programs->v6_stock = bpf_object__find_map_fd_by_name(programs->object, "v6_stock");
    programs->targets = bpf_object__find_map_fd_by_name(programs->object, "targets");
    programs->destinations = bpf_object__find_map_fd_by_name(programs->object, "destinations");
    programs->expired = bpf_object__find_map_fd_by_name(programs->object, "expired");
    return true;
}

struct programs *programs_load(const struct settings *settings, int group, struct reason why) {
    struct programs *programs = calloc(1, sizeof *programs);
    if (!programs) return NULL;
    if (open_and_load(programs, settings, why) && attach(programs, group, why)) return programs;
    programs_unload(programs);
    return NULL;
}

static int take(void *context, void *data, size_t size) {
    struct programs *programs = context;
    if (size >= sizeof(struct event)) programs->told(data, programs->context);
    return 0;
}

bool programs_listen(
    struct programs *programs, void (*told)(const struct event *event, void *context), void *context) {
    programs->told = told;
    programs->context = context;
    int map = bpf_object__find_map_fd_by_name(programs->object, "events");
    programs->ring = map < 0 ? NULL : ring_buffer__new(map, take, programs, NULL);
    return programs->ring != NULL;
}

int programs_descriptor(const struct programs *programs) { return ring_buffer__epoll_fd(programs->ring); }

void programs_read(struct programs *programs) { ring_buffer__consume(programs->ring); }

void programs_stock(struct programs *programs, bool is_v6, const uint16_t *ports, size_t count) {
    for (size_t index = 0; index < count; index++) {
        uint32_t port = ports[index];
        bpf_map_update_elem(is_v6 ? programs->v6_stock : programs->v4_stock, NULL, &port, BPF_ANY);
    }
}

bool programs_is_unused(const struct programs *programs, const struct place *here) {
    struct destination destination;
    return bpf_map_lookup_elem(programs->destinations, here, &destination) == 0 && destination.connected == 0
        && !destination.is_sent_to;
}

void programs_hide(const struct programs *programs, const struct event *event) {
    uint32_t target;
    // Another port may stand for it by now.
    if (bpf_map_lookup_elem(programs->targets, &event->to, &target) == 0 && target == event->target) {
        bpf_map_delete_elem(programs->targets, &event->to);
    }
}

void programs_forget(struct programs *programs, const struct event *event) {
    bpf_map_delete_elem(programs->destinations, &event->local);
}

void programs_expire(struct programs *programs, const struct place *local, uint32_t sequence) {
    bpf_map_update_elem(programs->expired, local, &sequence, BPF_ANY);
}

void programs_halt(struct programs *programs) {
    uint32_t key = 0;
    struct state over = {.is_over = 1};
    struct bpf_map *map = bpf_object__find_map_by_name(programs->object, ".bss");
    if (map) bpf_map__update_elem(map, &key, sizeof key, &over, sizeof over, BPF_ANY);
}

void programs_unload(struct programs *programs) {
    if (!programs) return;
    for (size_t index = 0; index < programs->count; index++) bpf_link__destroy(programs->links[index]);
    if (programs->ring) ring_buffer__free(programs->ring);
    if (programs->object) bpf_object__close(programs->object);
    free(programs);
}
