// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// Keys from other keys (RFC 5869).
public enum HKDF {
    /// HKDF-Extract (2.2). An empty salt stands for one of zeros, as the RFC has it.
    public static func extract(
        salt: [UInt8], inputKeyMaterial: [UInt8], using function: HashFunction = .sha256
    ) -> [UInt8] {
        let salt = salt.isEmpty ? [UInt8](repeating: 0, count: function.byteCount) : salt
        return HMAC.code(for: inputKeyMaterial, key: salt, using: function)
    }

    /// HKDF-Expand (2.3): `byteCount` bytes of output, at most 255 digests; what lies beyond is cut to that.
    public static func expand(
        pseudorandomKey: [UInt8], info: [UInt8], byteCount: Int, using function: HashFunction = .sha256
    ) -> [UInt8] {
        let wanted = min(max(byteCount, 0), 255 * function.byteCount)
        var output: [UInt8] = []
        output.reserveCapacity(wanted + function.byteCount)
        var block: [UInt8] = []
        var counter: UInt8 = 1
        while output.count < wanted {
            block = HMAC.code(for: block + info + [counter], key: pseudorandomKey, using: function)
            output += block
            counter &+= 1
        }
        return Array(output.prefix(wanted))
    }
}
