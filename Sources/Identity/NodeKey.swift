// SPDX-License-Identifier: Apache-2.0

public import Cryptography

/// Why a node has no key, with the file's path and what to do about it.
public enum NodeKeyError: Error, Equatable, Sendable, CustomStringConvertible {
    case file(SecretFileError)
    /// The file was read, but what it holds is no key of a node.
    case content(path: String, PrivateKeyError)

    public var description: String {
        switch self {
        case .file(let error): error.description
        case .content(let path, let error): "\(path): \(error)"
        }
    }
}

/// A node's key: an Ed25519 key pair in a file of its own. Whoever holds the file is the node.
public struct NodeKey: Sendable {
    public let privateKey: PrivateKey
    /// What other nodes know this one by.
    public let id: NodeID

    public init(_ privateKey: PrivateKey) {
        self.privateKey = privateKey
        id = NodeID(subjectPublicKeyInfoDER: privateKey.subjectPublicKeyInfoDER)
    }

    /// A new key that is in no file yet.
    public static func generate() -> NodeKey { NodeKey(.generate()) }

    /// Reads the key from a file in PEM (PKCS #8), which other users must not be able to read.
    public static func load(_ path: String) throws(NodeKeyError) -> NodeKey {
        let bytes: [UInt8]
        do { bytes = try SecretFile.read(path) } catch { throw .file(error) }
        do {
            return NodeKey(try PrivateKey(pem: String(decoding: bytes, as: UTF8.self)))
        } catch {
            throw .content(path: path, error)
        }
    }

    /// Writes the key into a new file with mode 0600, whole or not at all; a file that is there already is an error.
    public func save(_ path: String) throws(NodeKeyError) {
        do { try SecretFile.create(path, Array(privateKey.pem.utf8)) } catch { throw .file(error) }
    }

    /// The key of the file, which is made with a fresh key where there is none. Of several processes that do this at
    /// once, one makes the key and all get the same.
    public static func loadOrCreate(_ path: String) throws(NodeKeyError) -> NodeKey {
        if let key = try loadIfThere(path) { return key }
        return try create(path)
    }

    /// As ``load(_:)``; nil where there is no file.
    public static func loadIfThere(_ path: String) throws(NodeKeyError) -> NodeKey? {
        do {
            return try load(path)
        } catch .file(let error) where error.problem == .missing {
            return nil
        }
    }

    private static func create(_ path: String) throws(NodeKeyError) -> NodeKey {
        let key = generate()
        do {
            try key.save(path)
            return key
        } catch .file(let error) where error.problem == .alreadyExists {
            return try load(path)
        }
    }
}

extension NodeKey: CustomStringConvertible {
    /// The public side only.
    public var description: String { id.description }
}
