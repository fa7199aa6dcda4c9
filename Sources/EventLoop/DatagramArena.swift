// SPDX-License-Identifier: Apache-2.0

import CLinux

/// The memory that a loop's UDP sockets receive into and collect their output in. Only pages that were touched are
/// resident.
final class DatagramArena {
    /// The largest message, also one that the kernel has merged from many (UDP_GRO).
    static let slotSize = 64 << 10
    /// Messages that one recvmmsg(2) brings.
    static let slots = 32

    let bytes = UnsafeMutableRawPointer.allocate(
        byteCount: DatagramArena.slotSize * DatagramArena.slots, alignment: 4096)
    let messages = UnsafeMutablePointer<cl_incoming>.allocate(capacity: DatagramArena.slots)
    private var idle: [UnsafeMutablePointer<DatagramBatch>] = []
    /// Sockets that have a batch to send at the turn's end.
    private var waiting: [UDPSocket] = []
    /// Sockets that have an error to tell of then.
    private var failed: [UDPSocket] = []
    private var isInTurnEnd = false

    /// Batches that are collected at a time; one more sends the others first.
    private static let batches = 16

    init() { messages.initialize(repeating: cl_incoming(), count: DatagramArena.slots) }

    deinit {
        bytes.deallocate()
        messages.deallocate()
        for batch in idle { UnsafeMutableRawPointer(batch).deallocate() }
    }

    /// An empty batch, which the socket sends when it is told to, or before.
    func leaseBatch(for socket: UDPSocket) -> UnsafeMutablePointer<DatagramBatch> {
        if waiting.count >= DatagramArena.batches { sendWaiting() }
        waiting.append(socket)
        scheduleTurnEnd(on: socket.loop)
        let batch = idle.popLast() ?? DatagramBatch.allocate()
        batch.pointee = DatagramBatch()
        return batch
    }

    func giveBack(_ batch: UnsafeMutablePointer<DatagramBatch>) { idle.append(batch) }

    /// Has the socket tell its delegate of a failure, but not now.
    func hasFailed(_ socket: UDPSocket) {
        failed.append(socket)
        scheduleTurnEnd(on: socket.loop)
    }

    private func scheduleTurnEnd(on loop: EventLoop) {
        guard !isInTurnEnd else { return }
        isInTurnEnd = true
        loop.atTurnEnd(self)
    }

    private func sendWaiting() {
        for index in waiting.indices { waiting[index].sendBatch() }
        waiting.removeAll(keepingCapacity: true)
    }
}

extension DatagramArena: TurnEndTask {
    func turnEnded() {
        isInTurnEnd = false
        sendWaiting()
        guard !failed.isEmpty else { return }
        let failed = self.failed
        self.failed = []
        for socket in failed { socket.tellFailure() }
    }
}

/// The head of a buffer that collects datagrams for one call of sendmmsg(2): messages, then bytes.
struct DatagramBatch {
    /// Messages, and bytes of theirs.
    var count = 0
    var byteCount = 0
    /// Whether the last message takes no more datagrams.
    var isLastEnded = true

    static let bytes = 64 << 10
    static let messages = Int(CL_BATCH)
    private static let messagesSize = messages * MemoryLayout<cl_outgoing>.stride
    private static let headSize = MemoryLayout<DatagramBatch>.stride

    static func allocate() -> UnsafeMutablePointer<DatagramBatch> {
        UnsafeMutableRawPointer.allocate(byteCount: headSize + messagesSize + bytes, alignment: 16)
            .initializeMemory(as: DatagramBatch.self, to: DatagramBatch())
    }
}

extension UnsafeMutablePointer<DatagramBatch> {
    var messages: UnsafeMutablePointer<cl_outgoing> {
        UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: cl_outgoing.self)
    }
    var bytes: UnsafeMutableRawPointer { UnsafeMutableRawPointer(messages + DatagramBatch.messages) }
}
