// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Things that expire, in the order in which they do. All of a list are given the same time, so that a new one
/// belongs at the end: adding, removing and asking for the first take a few steps each, and no allocation once warm.
struct DeadlineList<Element> {
    /// Names a place in the list until what stands there is removed.
    typealias Handle = Int32
    static var none: Handle { -1 }

    private struct Slot {
        var element: Element?
        var deadline: Instant
        var previous: Handle
        var next: Handle
    }

    private var slots: [Slot] = []
    private var head: Handle = -1
    private var tail: Handle = -1
    private var free: Handle = -1

    /// When the first expires.
    var first: Instant? { head < 0 ? nil : slots[Int(head)].deadline }
    var isEmpty: Bool { head < 0 }

    mutating func insert(_ element: Element, at deadline: Instant) -> Handle {
        // Sorted even when the deadlines do not come in order, as after a change of the configuration.
        var previous = tail
        while previous >= 0, deadline < slots[Int(previous)].deadline { previous = slots[Int(previous)].previous }
        let next = previous < 0 ? head : slots[Int(previous)].next
        let handle = place(Slot(element: element, deadline: deadline, previous: previous, next: next))
        link(previous, handle)
        link(handle, next)
        return handle
    }

    mutating func remove(_ handle: Handle) {
        guard slots.indices.contains(Int(handle)), slots[Int(handle)].element != nil else { return }
        let (previous, next) = (slots[Int(handle)].previous, slots[Int(handle)].next)
        if previous < 0 { head = next }
        if next < 0 { tail = previous }
        link(previous, next)
        slots[Int(handle)] = Slot(element: nil, deadline: .distantFuture, previous: -1, next: free)
        free = handle
        if head < 0, slots.count > 64 { self = DeadlineList() }
    }

    /// Takes the first out if its time has come.
    mutating func popExpired(_ now: Instant) -> Element? {
        guard head >= 0, slots[Int(head)].deadline <= now else { return nil }
        let element = slots[Int(head)].element
        remove(head)
        return element
    }

    private mutating func place(_ slot: Slot) -> Handle {
        guard free >= 0 else {
            slots.append(slot)
            return Handle(truncatingIfNeeded: slots.count - 1)
        }
        let handle = free
        free = slots[Int(handle)].next
        slots[Int(handle)] = slot
        return handle
    }

    private mutating func link(_ previous: Handle, _ next: Handle) {
        if previous >= 0 { slots[Int(previous)].next = next } else if next >= 0 { head = next }
        if next >= 0 { slots[Int(next)].previous = previous } else if previous >= 0 { tail = previous }
    }
}
