// SPDX-License-Identifier: Apache-2.0

import COpenSSL

/// Key material: wiped when it goes, and never copied behind our back.
struct SecretBytes: ~Copyable {
    let pointer: UnsafeMutablePointer<UInt8>
    let count: Int

    /// Zeroes, to be filled.
    init(count: Int) {
        pointer = .allocate(capacity: count)
        pointer.initialize(repeating: 0, count: count)
        self.count = count
    }

    init(copying bytes: [UInt8]) {
        self.init(count: bytes.count)
        for (index, byte) in bytes.enumerated() { pointer[index] = byte }
    }

    deinit {
        OPENSSL_cleanse(pointer, count)
        pointer.deallocate()
    }
}
