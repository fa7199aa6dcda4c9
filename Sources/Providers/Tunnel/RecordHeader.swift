// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The five bytes before a TLS record: type, version and length (RFC 8446, 5.1).
enum RecordHeader {
    static let size = 5

    /// Bytes that are still missing to the first record in `bytes`, or to its header where that is not whole.
    static func wanted(of bytes: RawSpan) -> Int {
        guard bytes.byteCount >= size else { return size - bytes.byteCount }
        var reader = ByteReader(bytes)
        guard (try? reader.readSpan(3)) != nil, let length = try? reader.readUInt16() else { return 0 }
        return max(0, size + Int(length) - bytes.byteCount)
    }
}
