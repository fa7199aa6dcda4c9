// SPDX-License-Identifier: Apache-2.0

internal import Cryptography
public import Primitives

/// Which key each name had when it was first seen, as ssh keeps known hosts: a relay that says later that the name is
/// another key's is not believed. One line a node: its name and its fingerprint.
public struct KnownNodes {
    /// Why the file is of no use.
    public struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
        public var description: String
    }

    /// What is known of a name, and what the relay says.
    public enum Verdict: Equatable, Sendable {
        case isKnown
        /// The name was never seen; it is remembered from now on.
        case isNew
        /// The name was another key's.
        case wasAnother(NodeID)
    }

    public static let largestFile = 1 << 20
    private let path: String
    private var nodes: [String: NodeID] = [:]
    /// Which key belongs to a transport ID.
    private var keys: [IPAddress: NodeID] = [:]

    /// Reads the file, if there is one.
    public init(path: String) throws(Failure) {
        self.path = path
        let bytes: [UInt8]
        do throws(SecretFileError) {
            bytes = try SecretFile.read(path, atMost: Self.largestFile)
        } catch {
            if error.problem == .missing { return }
            throw Failure(description: error.description)
        }
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() { try read(line, number: index + 1) }
    }

    private mutating func read(_ line: ArraySlice<UInt8>, number: Int) throws(Failure) {
        let words = String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        guard let first = words.first, !first.hasPrefix("#") else { return }
        guard words.count == 2, let name = try? NodeName(String(first)), let node = NodeID(words[1]) else {
            throw Failure(description: "\(path):\(number): expected a node's name and the fingerprint of its key")
        }
        nodes[name.text] = node
        keys[node.transportAddress] = node
    }

    /// The transport IDs of all of them, in no order.
    public var transportAddresses: [IPAddress] { Array(keys.keys) }

    /// The node with a transport ID.
    public func node(at address: IPAddress) -> NodeID? { keys[address] }

    /// The key that the name had.
    public subscript(name: NodeName) -> NodeID? { nodes[name.text] }

    /// The name of a key; the first in their order where it has more than one.
    public func name(of node: NodeID) -> NodeName? {
        nodes.filter { $0.value == node }.keys.sorted().first.flatMap { try? NodeName($0) }
    }

    /// Holds what the relay says against what is known, and remembers a name that is new: in the file too, where that can
    /// be written.
    public mutating func check(_ name: NodeName, is node: NodeID) throws(Failure) -> Verdict {
        if let known = nodes[name.text] { return known == node ? .isKnown : .wasAnother(known) }
        nodes[name.text] = node
        keys[node.transportAddress] = node
        let lines = nodes.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        let text = "# Nodes and their keys as they were first seen. Remove a line to trust the name's new key.\n"
        do throws(SecretFileError) {
            try SecretFile.replace(path, Array((text + lines.joined(separator: "\n") + "\n").utf8))
        } catch {
            throw Failure(description: error.description)
        }
        return .isNew
    }
}
