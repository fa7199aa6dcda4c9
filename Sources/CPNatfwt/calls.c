/* SPDX-License-Identifier: Apache-2.0 */

/* The callbacks that may pend, and their completion.
 *
 *     FREE ─▶ CALLING ─ returns a result ─▶ DONE ─▶ FREE
 *               │ │ returns PENDING
 *               │ └──────────▶ PENDED ─ completed ─▶ DONE
 *               └ completed from within or beside ─▶ EARLY ─ returns PENDING ─▶ DONE
 *
 * A chain that was sent holds its room in the ring until it is done, and so do those behind it. */

#define _GNU_SOURCE
#include "library.h"

#include <stdlib.h>

/* A context is the frame's place and its generation: looked up, never followed. */
static PVOID context_of(const struct frame *frame) {
    return (PVOID)((uintptr_t)frame->generation << 12 | frame->index);
}

static struct frame *frame_new(struct instance *instance) {
    if (instance->frame_count == FRAME_LIMIT) return NULL;
    if (instance->frame_count == instance->frame_room) {
        uint32_t room = instance->frame_room == 0 ? 16 : 2 * instance->frame_room;
        struct frame **frames = realloc(instance->frames, room * sizeof *frames);
        if (frames == NULL) return NULL;
        instance->frames = frames;
        instance->frame_room = room;
    }
    struct frame *frame = calloc(1, sizeof *frame);
    if (frame == NULL) return NULL;
    frame->index = instance->frame_count;
    instance->frames[instance->frame_count++] = frame;
    return frame;
}

/* A frame for a call, or NULL where there are too many. */
static struct frame *frame_take(struct instance *instance, uint32_t kind, uint64_t number) {
    pthread_mutex_lock(&instance->lock);
    struct frame *frame = instance->free_frames;
    if (frame != NULL) instance->free_frames = frame->next; else frame = frame_new(instance);
    if (frame != NULL) {
        frame->state = FRAME_CALLING;
        /* Never 0, so that no context is NULL. */
        frame->generation = (frame->generation + 1) & 0xFFFFF;
        if (frame->generation == 0) frame->generation = 1;
        frame->kind = kind;
        frame->number = number;
        frame->next = NULL;
        instance->pended++;
    }
    pthread_mutex_unlock(&instance->lock);
    return frame;
}

/* Locked. */
static void frame_give_back(struct instance *instance, struct frame *frame) {
    frame->state = FRAME_FREE;
    frame->next = instance->free_frames;
    instance->free_frames = frame;
    instance->pended--;
}

/* Locked. Gives back the room of the chains that are done, in order. */
static void release_room(struct instance *instance) {
    uint64_t end = 0;
    bool moved = false;
    while (instance->first_send != NULL && instance->first_send->state == FRAME_DONE) {
        struct frame *frame = instance->first_send;
        instance->first_send = frame->next;
        if (instance->first_send == NULL) instance->last_send = NULL;
        end = frame->end;
        moved = true;
        frame_give_back(instance, frame);
    }
    if (moved) cl_ring_give_back(&instance->in, end);
}

static bool is_id(const struct id *id, uint8_t size, const uint8_t *bytes) {
    return id->size == size && memcmp(id->bytes, bytes, size) == 0;
}

/* Locked. */
static void ids_remove(struct instance *instance, const struct id *gone) {
    for (uint32_t index = 0; index < instance->id_count; index++)
        if (is_id(&instance->ids[index], gone->size, gone->bytes)) instance->ids[index] = instance->ids[--instance->id_count];
}

/* Locked. */
static void ids_add(struct instance *instance, const struct id *added) {
    ids_remove(instance, added);
    if (instance->id_count < ID_LIMIT) instance->ids[instance->id_count++] = *added;
}

/* Locked. Whether an ID of this instance has these bytes. */
bool calls_has_id(struct instance *instance, const CPNATFWT_TRANSPORT_ID *id) {
    for (uint32_t index = 0; index < instance->id_count; index++)
        if (is_id(&instance->ids[index], (uint8_t)id->size, id->transportId)) return true;
    return false;
}

/* Tells the agent what became of a call whose frame is DONE, and frees the frame. */
static void frame_finish(struct instance *instance, struct frame *frame, HRESULT result) {
    uint32_t kind = frame->kind;
    uint64_t number = frame->number;
    struct id id = {.size = (uint8_t)frame->remote.size};
    memcpy(id.bytes, frame->remote_bytes, sizeof id.bytes);
    pthread_mutex_lock(&instance->lock);
    if (kind == 0) release_room(instance); else frame_give_back(instance, frame);
    if (kind == CL_CALL_ACTIVE && SUCCEEDED(result) && instance->state == IN_SESSION) instance->state = ACTIVE;
    if (kind == CL_CALL_INACTIVE && instance->state == ACTIVE) instance->state = IN_SESSION;
    bool is_over = !instance->has_session;
    if (kind == CL_CALL_ADD && SUCCEEDED(result)) ids_add(instance, &id);
    if (kind == CL_CALL_REMOVE) ids_remove(instance, &id);
    pthread_mutex_unlock(&instance->lock);
    if (is_over) return;
    /* The thread may sleep without an eye on the ring. */
    if (kind == CL_CALL_ACTIVE) connection_wake(instance);
    if (kind != 0) connection_send(instance, CL_SESSION_RETURN, (uint32_t)result, number, NULL, 0);
    else if (FAILED(result)) connection_send(instance, CL_SESSION_FAILED, (uint32_t)result, number, NULL, 0);
}

/* After the callback has returned. */
static void frame_returned(struct instance *instance, struct frame *frame, HRESULT result) {
    pthread_mutex_lock(&instance->lock);
    if (result == CPNATFWT_PENDING) {
        if (frame->state == FRAME_CALLING) {
            frame->state = FRAME_PENDED;
            pthread_mutex_unlock(&instance->lock);
            return;
        }
        result = frame->early;
    }
    frame->state = FRAME_DONE;
    pthread_mutex_unlock(&instance->lock);
    frame_finish(instance, frame, result);
}

/* Locked. The frame that a context names, where its call is not over. */
static struct frame *frame_named(struct instance *instance, PVOID context) {
    uintptr_t name = (uintptr_t)context;
    uint32_t index = (uint32_t)(name & (FRAME_LIMIT - 1));
    if (index >= instance->frame_count) return NULL;
    struct frame *frame = instance->frames[index];
    if (frame->generation != name >> 12) return NULL;
    return frame->state == FRAME_CALLING || frame->state == FRAME_PENDED ? frame : NULL;
}

/* The completion routine that every callback is given. */
HRESULT calls_complete(CPNATFWT_PROVIDER_INSTANCE handle, PVOID context, HRESULT result) {
    if (is_forked()) return CPNATFWT_E_NOT_SUPPORTED;
    if (result == CPNATFWT_PENDING) return E_INVALIDARG;
    struct instance *instance = instance_find(handle);
    if (instance == NULL) return E_HANDLE;
    pthread_mutex_lock(&instance->lock);
    struct frame *frame = instance->has_session ? frame_named(instance, context) : NULL;
    bool is_pended = frame != NULL && frame->state == FRAME_PENDED;
    if (is_pended) frame->state = FRAME_DONE;
    else if (frame != NULL) {
        frame->state = FRAME_EARLY;
        frame->early = result;
    }
    bool was_full = is_pended && instance->pended >= FRAME_LIMIT;
    pthread_mutex_unlock(&instance->lock);
    if (is_pended) frame_finish(instance, frame, result);
    if (was_full) connection_wake(instance);
    instance_let_go(instance);
    return frame != NULL ? S_OK : CPNATFWT_E_NO_CALL;
}

static HRESULT call(struct instance *instance, struct frame *frame) {
    const CPNATFWT_PROVIDER_CALLBACKS *callbacks = &instance->callbacks;
    CPNATFWT_PROVIDER_INSTANCE handle = instance->handle;
    PVOID user = instance->context, context = context_of(frame);
    CPNATFWT_TRANSPORT_ID *id = &frame->remote;
    switch (frame->kind) {
    case CL_CALL_ADD: return callbacks->addTransportId(handle, user, id, context, calls_complete);
    case CL_CALL_REMOVE:
        if (callbacks->removeTransportId == NULL) return S_OK;
        return callbacks->removeTransportId(handle, user, id, context, calls_complete);
    case CL_CALL_REACH: return callbacks->reachTransportId(handle, user, id, context, calls_complete);
    case CL_CALL_ACTIVE: return callbacks->transitionActive(handle, user, context, calls_complete);
    case CL_CALL_INACTIVE:
        if (callbacks->transitionInactive == NULL) return S_OK;
        return callbacks->transitionInactive(handle, user, context, calls_complete);
    default:
        return callbacks->sendBuffers(
            handle, user, &frame->local, &frame->remote, frame->number, frame->chain, context, calls_complete);
    }
}

static bool set_id(CPNATFWT_TRANSPORT_ID *id, BYTE *bytes, uint8_t size, const uint8_t *from) {
    if (size != 4 && size != 16) return false;
    memcpy(bytes, from, 16);
    id->size = size;
    id->transportId = bytes;
    return true;
}

/* CALL: a message that the agent would not send ends the session. */
void calls_control(struct instance *instance, const struct cl_session_header *header, const void *body, size_t size) {
    bool has_id = header->value >= CL_CALL_ADD && header->value <= CL_CALL_REACH;
    struct cl_session_id id;
    bool is_right = header->value >= CL_CALL_ADD && header->value <= CL_CALL_INACTIVE && size == (has_id ? sizeof id : 0);
    struct frame *frame = is_right ? frame_take(instance, header->value, header->number) : NULL;
    if (frame != NULL && has_id) {
        memcpy(&id, body, sizeof id);
        if (!set_id(&frame->remote, frame->remote_bytes, id.size, id.bytes)) {
            frame->state = FRAME_DONE;
            return frame_finish(instance, frame, E_INVALIDARG);
        }
    }
    if (frame == NULL) {
        connection_send(instance, CL_SESSION_RETURN, (uint32_t)E_INVALIDARG, header->number, NULL, 0);
        return;
    }
    frame_returned(instance, frame, call(instance, frame));
}

/* Whether one more chain may be handed over. */
bool calls_may_send(struct instance *instance) {
    pthread_mutex_lock(&instance->lock);
    bool may = instance->pended < FRAME_LIMIT;
    pthread_mutex_unlock(&instance->lock);
    return may;
}

static bool is_same(const struct cl_record *a, const struct cl_record *b) {
    return a->luid == b->luid && a->local_size == b->local_size && a->remote_size == b->remote_size
        && memcmp(a->local, b->local, sizeof a->local) == 0 && memcmp(a->remote, b->remote, sizeof a->remote) == 0;
}

/* Gathers the records that belong together into a chain. False for rubbish. */
static bool gather(struct instance *instance, struct frame *frame, struct cl_record *record, const uint8_t *bytes) {
    struct cl_ring *ring = &instance->in;
    size_t count = 0, total = 0;
    for (;;) {
        frame->chain[count] = (CPNATFWT_BUFFER){.size = record->length, .buffer = (BYTE *)(uintptr_t)bytes};
        if (count > 0) frame->chain[count - 1].next = &frame->chain[count];
        frame->end = ring->position;
        total += record->length;
        if (++count == CHAIN_LIMIT || total >= CHAIN_BYTES) return true;
        uint64_t before = ring->position;
        struct cl_record next;
        int status = cl_ring_next(ring, &next, &bytes);
        if (status < 0) return false;
        if (status == 0) return true;
        if (!is_same(record, &next)) {
            ring->position = before;
            return true;
        }
        record->length = next.length;
    }
}

/* Hands over the next chain. False where there was none; rubbish ends the session. */
bool calls_send(struct instance *instance) {
    struct cl_record record;
    const uint8_t *bytes;
    int status = cl_ring_next(&instance->in, &record, &bytes);
    if (status == 0) return false;
    struct frame *frame = status < 0 ? NULL : frame_take(instance, 0, record.luid);
    bool is_right = frame != NULL && set_id(&frame->local, frame->local_bytes, record.local_size, record.local)
        && set_id(&frame->remote, frame->remote_bytes, record.remote_size, record.remote)
        && gather(instance, frame, &record, bytes);
    if (!is_right) {
        session_terminate(instance, CPNATFWT_SESSION_TERMINATION_OTHER_COMMUNICATION_ERROR);
        return false;
    }
    pthread_mutex_lock(&instance->lock);
    if (instance->last_send != NULL) instance->last_send->next = frame; else instance->first_send = frame;
    instance->last_send = frame;
    pthread_mutex_unlock(&instance->lock);
    frame_returned(instance, frame, call(instance, frame));
    return true;
}

void calls_free(struct instance *instance) {
    for (uint32_t index = 0; index < instance->frame_count; index++) free(instance->frames[index]);
    free(instance->frames);
}
