// SPDX-License-Identifier: Apache-2.0

internal import Cryptography
internal import Primitives

/// The invite as text: `natfwt1.` and, in base64url without padding, all numbers big-endian:
///
///     relay's key    32 bytes, SHA-256 of its SubjectPublicKeyInfo
///     token          16 bytes
///     name           its length (8 bits), then ASCII
///     relays         how many (8 bits), then for each: length of the host (8 bits), the host, port (16 bits)
///     checksum       the first 4 bytes of SHA-256 over "natfwt1." and all that is above
///
/// A change of the layout is a change of the number before the dot.
extension Invite {
    static let prefix = "natfwt1."
    static let maximumTextLength = 4_096
    private static let checksumLength = 4

    /// The line to copy. Secret.
    public var text: String {
        var writer = ByteWriter(reserving: 128)
        writer.write(relayID.bytes)
        writer.write(token.bytes)
        writer.writeString8(name.text)
        writer.write(UInt8(truncatingIfNeeded: relays.count))
        for relay in relays {
            writer.writeString8(relay.host)
            writer.write(relay.port)
        }
        return Invite.prefix + Base64URL.encode(writer.bytes + Invite.checksum(writer.bytes))
    }

    /// Reads an invite as it was pasted: white space around it and line ends within it do not matter.
    public init(_ pasted: some StringProtocol) throws(InviteError) {
        guard pasted.utf8.prefix(Invite.maximumTextLength + 1).count <= Invite.maximumTextLength else { throw .tooLong }
        let text = String(pasted.filter { !$0.isWhitespace })
        guard let dot = text.firstIndex(of: "."), let version = Invite.version(text[..<dot]) else { throw .notAnInvite }
        guard version == 1 else { throw .newerVersion(version) }
        guard let bytes = Base64URL.decode(text[text.index(after: dot)...]), bytes.count >= Invite.checksumLength else {
            throw .mistyped
        }
        let content = Array(bytes.dropLast(Invite.checksumLength))
        guard bytes.suffix(Invite.checksumLength).elementsEqual(Invite.checksum(content)) else { throw .mistyped }
        self = try Invite.parse(content)
    }

    /// The number in `natfwt1`; nil where it is not such a word.
    private static func version(_ word: Substring) -> Int? {
        let digits = word.dropFirst("natfwt".count)
        guard word.hasPrefix("natfwt"), (1...4).contains(digits.utf8.count), digits.first != "0",
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return Int(digits)
    }

    private static func checksum(_ content: [UInt8]) -> [UInt8] {
        Array(SHA256.hash(Array(prefix.utf8) + content).prefix(checksumLength))
    }

    /// What the checksum covered. It was whole when it was made, so that whatever is wrong in it was wrong then.
    private static func parse(_ content: [UInt8]) throws(InviteError) -> Invite {
        var reader = ByteReader(content.rawSpan)
        do {
            let relayID = NodeID(bytes: try reader.readBytes(NodeID.byteCount))
            let token = InviteToken(bytes: try reader.readBytes(InviteToken.byteCount))
            let name = try NodeName(try reader.readString8())
            let relays = try readRelays(&reader)
            guard reader.isAtEnd, let relayID, let token,
                let invite = Invite(relays: relays, relayID: relayID, token: token, name: name)
            else { throw InviteError.unusable("it is not laid out as an invite of its version") }
            return invite
        } catch let error as NodeNameError {
            throw .unusable(error.description)
        } catch let error as InviteError {
            throw error
        } catch {
            throw .unusable("it ends too early")
        }
    }

    private static func readRelays(_ reader: inout ByteReader) throws -> [HostAndPort] {
        let count = try reader.readUInt8()
        guard (1...maximumRelays).contains(Int(count)) else { throw InviteError.unusable("it names \(count) relays") }
        var relays: [HostAndPort] = []
        for _ in 0..<count {
            let relay = HostAndPort(host: try reader.readString8(), port: try reader.readUInt16())
            guard isWritable(relay) else { throw InviteError.unusable("a relay's address in it is none") }
            relays.append(relay)
        }
        return relays
    }
}

extension ByteWriter {
    /// ASCII behind its length in 8 bits. Callers have bounded it before.
    fileprivate mutating func writeString8(_ text: String) {
        let bytes = text.utf8.prefix(Int(UInt8.max))
        write(UInt8(truncatingIfNeeded: bytes.count))
        write(bytes)
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    fileprivate mutating func readString8() throws(Truncated) -> String {
        let count = Int(try readUInt8())
        return String(decoding: try readBytes(count), as: UTF8.self)
    }
}
