// SPDX-License-Identifier: Apache-2.0

internal import COpenSSL
internal import Primitives

/// Why bytes or text are no private key of ours, in words for the person whose file it is.
public enum PrivateKeyError: Error, Equatable, Sendable, CustomStringConvertible {
    case notPEM
    case encrypted
    /// Another program's form of a key, by its PEM label.
    case foreignFormat(String)
    /// A key of another algorithm, by its name.
    case otherAlgorithm(String)
    case damaged

    public var description: String {
        switch self {
        case .notPEM: "it holds no key in PEM form (a block that starts with -----BEGIN PRIVATE KEY-----)"
        case .encrypted: "the key in it is locked with a pass phrase; a node's key has to be readable without one"
        case .foreignFormat(let label): "it holds a block \"\(label)\"; expected \"PRIVATE KEY\" (PKCS #8)"
        case .otherAlgorithm(let name): "it holds a key of the kind \(name); a node's key is Ed25519"
        case .damaged: "the key in it is cut short or damaged"
        }
    }
}

extension PrivateKey {
    /// The key as PKCS #8 (RFC 8410, 7). Secret.
    public var pkcs8DER: [UInt8] {
        DER.sequence(
            DER.integer(0),
            DER.sequence(DER.ed25519),
            DER.octetString(DER.octetString(seed)))
    }

    /// The public key as SubjectPublicKeyInfo (RFC 8410, 4): what a node is known by.
    public var subjectPublicKeyInfoDER: [UInt8] {
        DER.sequence(DER.sequence(DER.ed25519), DER.bitString(publicKey))
    }

    /// The key as a PEM block (RFC 7468, 10), with a line end behind it. Secret.
    public var pem: String { PEM.encode(pkcs8DER, label: PEM.privateKeyLabel) }

    /// Reads PKCS #8, version 1 (RFC 5208), the form that everybody writes; what follows the key is refused.
    public init(pkcs8DER bytes: [UInt8]) throws(PrivateKeyError) {
        guard let key = LibcryptoKey(pkcs8DER: bytes) else { throw .damaged }
        guard key.isEd25519 else { throw .otherAlgorithm(key.algorithm) }
        guard let found = PrivateKey(key) else { throw .damaged }
        self = found
    }

    /// Reads the first PEM block of a text.
    public init(pem text: String) throws(PrivateKeyError) {
        guard let block = PEM.firstBlock(in: text) else { throw .notPEM }
        switch block.label {
        case PEM.privateKeyLabel: break
        case "ENCRYPTED PRIVATE KEY": throw .encrypted
        default: throw .foreignFormat(block.label)
        }
        guard let bytes = block.bytes else { throw .damaged }
        try self.init(pkcs8DER: bytes)
    }
}

extension LibcryptoKey {
    fileprivate convenience init?(pkcs8DER bytes: [UInt8]) {
        let pointer: OpaquePointer? = bytes.withUnsafeBufferPointer { bytes in
            var next = bytes.baseAddress
            guard let info = d2i_PKCS8_PRIV_KEY_INFO(nil, &next, bytes.count) else { return nil }
            defer { PKCS8_PRIV_KEY_INFO_free(info) }
            guard next == bytes.baseAddress.map({ $0 + bytes.count }) else { return nil }
            return EVP_PKCS82PKEY(info)
        }
        guard let pointer else {
            ERR_clear_error()
            return nil
        }
        self.init(pointer)
    }
}

/// Textual encoding of binary structures (RFC 7468).
enum PEM {
    static let privateKeyLabel = "PRIVATE KEY"

    static func encode(_ bytes: [UInt8], label: String) -> String {
        var text = "-----BEGIN \(label)-----\n"
        var rest = Base64.encode(bytes)[...]
        while !rest.isEmpty {
            text += rest.prefix(64) + "\n"
            rest = rest.dropFirst(64)
        }
        return text + "-----END \(label)-----\n"
    }

    /// The first block's label and bytes; the bytes are nil where the block has no end or is no base64.
    static func firstBlock(in text: String) -> (label: String, bytes: [UInt8]?)? {
        let lines = text.split(whereSeparator: \.isNewline).map(trimmed)
        guard let start = lines.firstIndex(where: { label(of: $0, "BEGIN") != nil }),
            let name = label(of: lines[start], "BEGIN")
        else { return nil }
        let rest = lines[(start + 1)...]
        guard let end = rest.firstIndex(where: { label(of: $0, "END") == name }) else { return (name, nil) }
        return (name, Base64.decode(rest[..<end].joined()))
    }

    private static func label(of line: Substring, _ keyword: String) -> String? {
        let opening = "-----\(keyword) "
        guard line.hasPrefix(opening), line.hasSuffix("-----"), line.count > opening.count + 5 else { return nil }
        return String(line.dropFirst(opening.count).dropLast(5))
    }

    private static func trimmed(_ line: Substring) -> Substring {
        var line = line.drop { $0 == " " || $0 == "\t" }
        while let last = line.last, last == " " || last == "\t" { line.removeLast() }
        return line
    }
}
