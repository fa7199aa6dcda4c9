// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Takes the tunnel's bytes as they come, in slices of any size, and finds the frames in them.
///
/// DATA is handed on piece by piece, straight from the buffer that it was decrypted into; every other frame is handed on
/// whole, and copied only where it came in more than one piece.
struct FrameReader: ~Copyable {
    /// What was found next.
    enum Found: ~Copyable {
        /// A piece of a DATA frame; `last` tells that the frame ends with it.
        case data(FrameHeader, Slice, last: Bool)
        /// A whole frame, the payload in the slice that it came in, or in a buffer of the pool for a DATAGRAM that came in
        /// pieces.
        case frame(FrameHeader, Slice)
        /// A whole frame of any other type that came in pieces.
        case assembled(FrameHeader, [UInt8])
        /// All bytes are used up.
        case nothing
    }

    private var partialHeader: UInt64 = 0
    private var partialHeaderCount = 0
    private var header: FrameHeader?
    private var remaining = 0
    private var assembly: [UInt8] = []
    private var datagram: Slice?
    private let largestControlFrame: Int
    private let pool: BufferPool

    /// - Parameters:
    ///   - largestControlFrame: bytes of payload that a frame other than DATA and DATAGRAM may have.
    ///   - pool: for datagrams that come in pieces; each of its buffers holds the largest.
    init(largestControlFrame: Int, pool: BufferPool) {
        self.largestControlFrame = largestControlFrame
        self.pool = pool
    }

    /// Whether bytes of an unfinished frame are held.
    var isMidFrame: Bool { partialHeaderCount > 0 || header != nil }

    /// Takes the next frame, or piece of one, from the front of `bytes`.
    mutating func next(_ bytes: inout Slice) throws(TunnelError) -> Found {
        guard let header = try currentHeader(&bytes) else { return .nothing }
        if header.type == .data { return nextData(header, &bytes) }
        if remaining == header.length, bytes.count >= remaining {
            let payload = bytes.splitFirst(remaining)
            self.header = nil
            return .frame(header, payload)
        }
        return header.type == .datagram ? assembleDatagram(header, &bytes) : assemble(header, &bytes)
    }

    private mutating func assembleDatagram(_ header: FrameHeader, _ bytes: inout Slice) -> Found {
        let taken = min(bytes.count, remaining)
        var whole = datagram.take() ?? pool.lease()
        whole.overwrite(at: header.length - remaining, with: bytes.bytes.extracting(0..<taken))
        bytes.removeFirst(taken)
        remaining -= taken
        guard remaining == 0 else {
            datagram = consume whole
            return .nothing
        }
        self.header = nil
        whole.truncate(to: header.length)
        return .frame(header, whole)
    }

    private mutating func nextData(_ header: FrameHeader, _ bytes: inout Slice) -> Found {
        let taken = min(bytes.count, remaining)
        guard taken > 0 || remaining == 0 else { return .nothing }
        remaining -= taken
        let last = remaining == 0
        if last { self.header = nil }
        return .data(header, bytes.splitFirst(taken), last: last)
    }

    private mutating func assemble(_ header: FrameHeader, _ bytes: inout Slice) -> Found {
        let taken = min(bytes.count, remaining)
        assembly.append(copying: bytes.bytes.extracting(0..<taken))
        bytes.removeFirst(taken)
        remaining -= taken
        guard remaining == 0 else { return .nothing }
        self.header = nil
        let whole = assembly
        assembly = []
        return .assembled(header, whole)
    }

    /// The header of the frame that the next byte belongs to, or nil where the bytes do not reach its end.
    private mutating func currentHeader(_ bytes: inout Slice) throws(TunnelError) -> FrameHeader? {
        if let header { return header }
        let found: FrameHeader
        if partialHeaderCount == 0, bytes.count >= FrameHeader.size {
            var reader = ByteReader(bytes.bytes)
            guard let wire = try? reader.readUInt64() else { return nil }
            found = FrameHeader(wire: wire)
            bytes.removeFirst(FrameHeader.size)
        } else {
            guard takePartialHeader(&bytes) else { return nil }
            found = FrameHeader(wire: partialHeader)
            partialHeader = 0
            partialHeaderCount = 0
        }
        if found.type != .data, found.type != .datagram, found.length > largestControlFrame {
            throw .protocolViolation(
                "a frame of type \(found.type.rawValue) says that it has \(found.length) bytes; \(largestControlFrame) are allowed"
            )
        }
        header = found
        remaining = found.length
        return found
    }

    private mutating func takePartialHeader(_ bytes: inout Slice) -> Bool {
        var reader = ByteReader(bytes.bytes)
        var taken = 0
        while partialHeaderCount < FrameHeader.size, let byte = try? reader.readUInt8() {
            partialHeader = partialHeader << 8 | UInt64(byte)
            partialHeaderCount += 1
            taken += 1
        }
        bytes.removeFirst(taken)
        return partialHeaderCount == FrameHeader.size
    }
}
