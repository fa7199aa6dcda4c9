// SPDX-License-Identifier: Apache-2.0

import CPNatfwt
import Glibc

/// The stream to the other host: frames of a length (4 bytes, big-endian) and so many bytes.
///
///     hello:  1, transport ID                       what the sender is called
///     packet: 2, source ID, destination ID, packet  (IDs of 16 bytes)
///
/// Shared by the program's own thread, which reads, and the library's, which writes; what both use is behind the lock.
final class Link: @unchecked Sendable {
    typealias ID = [UInt8]
    private let input: Int32
    private let output: Int32
    private var lock = pthread_mutex_t()
    /// The peer's ID, once it has said it, and this side's.
    private var peer: ID?
    private var own: ID?
    var instance: CPNATFWT_PROVIDER_INSTANCE?

    static let idSize = 16
    private static let largest = 1 + 2 * idSize + Int(CPNATFWT_MAX_BUFFER_SIZE)

    init(input: Int32, output: Int32) {
        self.input = input
        self.output = output
        pthread_mutex_init(&lock, nil)
    }

    private func locked<T>(_ body: () -> T) -> T {
        pthread_mutex_lock(&lock)
        defer { pthread_mutex_unlock(&lock) }
        return body()
    }

    /// This side has an ID from now on. False where it is the peer's.
    func add(_ id: ID) -> Bool {
        locked {
            guard id.count == Link.idSize, peer != id else { return false }
            own = id
            return write([1] + id)
        }
    }

    func reaches(_ id: ID) -> Bool { locked { peer == id } }

    func send(from local: ID, to remote: ID, _ packet: UnsafeRawBufferPointer) -> Bool {
        locked {
            guard remote == peer else { return true }
            return write([2] + local + remote + packet)
        }
    }

    private func write(_ bytes: [UInt8]) -> Bool {
        let frame = withUnsafeBytes(of: UInt32(bytes.count).bigEndian) { Array($0) } + bytes
        var sent = 0
        while sent < frame.count {
            let count = frame[sent...].withUnsafeBytes { Glibc.write(output, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    private func read(_ count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        var have = 0
        while have < count {
            let got = bytes[have...].withUnsafeMutableBytes { Glibc.read(input, $0.baseAddress, $0.count) }
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { return nil }
            have += got
        }
        return bytes
    }

    /// Reads frames until the stream ends, or says what it should not.
    func run() {
        while let header = read(4) {
            let length = header.reduce(0) { $0 << 8 | Int($1) }
            guard length > 0, length <= Link.largest, let frame = read(length) else { return }
            switch frame[0] {
            case 1 where length == 1 + Link.idSize:
                // It may have come before this side's own: it is said again, so that both know.
                let isNew = locked {
                    let isNew = peer == nil
                    peer = Array(frame[1...])
                    return isNew
                }
                if isNew { locked { if let own { _ = write([1] + own) } } }
            case 2 where length > 1 + 2 * Link.idSize: receive(frame)
            default: return
            }
        }
    }

    private func receive(_ frame: [UInt8]) {
        var frame = frame
        frame.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
            var remote = CPNATFWT_TRANSPORT_ID(size: USHORT(Link.idSize), transportId: base + 1)
            var local = CPNATFWT_TRANSPORT_ID(size: USHORT(Link.idSize), transportId: base + 1 + Link.idSize)
            let header = 1 + 2 * Link.idSize
            var packet = CPNATFWT_BUFFER(next: nil, size: ULONG(bytes.count - header), buffer: base + header)
            // Before the session is active this fails: the packet is lost.
            _ = CPNatfwtIndicateReceivedBuffers(instance, &local, &remote, &packet, nil, nil)
        }
    }
}
