// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// A payload that can be written and read. Reading throws `Truncated` or `InvalidField`, and never traps.
protocol FramePayload {
    func write(to writer: inout ByteWriter)
    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> Self
}

/// Bytes that a text in a payload may have.
private let longestName = 255
private let longestText = 1_024

extension Hello: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(version)
        writer.write(capabilities.rawValue)
        writer.writeString16(nodeName.utf8.prefix(longestName))
        writer.writeString8(tunnelID)
        writer.writeString8(resumeToken)
        writer.writeString8(inviteToken)
        writer.write(streams)
        writer.write(earlyWindow)
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> Hello {
        let version = try reader.readUInt16()
        let capabilities = Capabilities(rawValue: try reader.readUInt32())
        var hello = Hello(nodeName: try reader.readText16(atMost: longestName), limits: TunnelLimits())
        hello.version = version
        hello.capabilities = capabilities
        hello.tunnelID = try reader.readString8()
        hello.resumeToken = try reader.readString8()
        hello.inviteToken = try reader.readString8()
        hello.streams = try reader.readUInt32()
        hello.earlyWindow = try reader.readUInt64()
        return hello
    }
}

extension Welcome: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(version)
        writer.write(capabilities.rawValue)
        writer.writeString16(nodeName.utf8.prefix(longestName))
        writer.write(UInt8(clamping: transportIDs.count))
        for id in transportIDs.prefix(Int(UInt8.max)) {
            TunnelAddress.address(TransportAddress(id, port: 0)).write(to: &writer)
        }
        observedAddress.write(to: &writer)
        writer.write(UInt32(clamping: livenessInterval.millisecondsRoundedUp))
        writer.writeString8(tunnelID)
        writer.writeString8(resumeToken)
        writer.write(streams)
        writer.write(earlyWindow)
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> Welcome {
        let version = try reader.readUInt16()
        let capabilities = Capabilities(rawValue: try reader.readUInt32())
        let nodeName = try reader.readText16(atMost: longestName)
        var transportIDs: [IPAddress] = []
        for _ in 0..<(try reader.readUInt8()) {
            guard case .address(let id) = try TunnelAddress.read(from: &reader) else {
                throw InvalidField(name: "transport ID")
            }
            transportIDs.append(id.ip)
        }
        let observedAddress = try TunnelAddress.read(from: &reader)
        let liveness = try reader.readUInt32()
        let (tunnelID, resumeToken) = (try reader.readString8(), try reader.readString8())
        var welcome = Welcome(
            nodeName: nodeName, transportIDs: transportIDs, observedAddress: observedAddress,
            livenessInterval: .milliseconds(Int64(liveness)), tunnelID: tunnelID, resumeToken: resumeToken,
            limits: TunnelLimits())
        welcome.version = version
        welcome.capabilities = capabilities
        welcome.streams = try reader.readUInt32()
        welcome.earlyWindow = try reader.readUInt64()
        return welcome
    }
}

extension ReachRequest: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(id)
        target.write(to: &writer)
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> ReachRequest {
        ReachRequest(id: try reader.readUInt32(), target: try TunnelAddress.read(from: &reader))
    }
}

extension ReachAnswer: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(id)
        writer.write((isFollowed ? 1 : 0) | (mayBeReached ? 0 : 2) | (mayReach ? 0 : 4) as UInt8)
        writer.write(state.rawValue)
        writer.writeString8(key)
        writer.writeString16(name.utf8.prefix(longestName))
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> ReachAnswer {
        let id = try reader.readUInt32()
        let flags = try reader.readUInt8()
        guard let state = State(rawValue: try reader.readUInt8()) else { throw InvalidField(name: "state") }
        var answer = ReachAnswer(
            id: id, state: state, key: try reader.readString8(), name: try reader.readText16(atMost: longestName),
            isFollowed: flags & 1 != 0)
        answer.mayBeReached = flags & 2 == 0
        answer.mayReach = flags & 4 == 0
        return answer
    }
}

extension Signal: FramePayload {
    func write(to writer: inout ByteWriter) {
        let told = candidates.prefix(Signal.mostCandidates)
        writer.write(UInt8(told.count))
        for candidate in told { TunnelAddress.address(candidate).write(to: &writer) }
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> Signal {
        let count = Int(try reader.readUInt8())
        guard count <= mostCandidates else { throw InvalidField(name: "number of candidates") }
        var candidates: [TransportAddress] = []
        for _ in 0..<count {
            guard case .address(let address) = try TunnelAddress.read(from: &reader) else {
                throw InvalidField(name: "candidate")
            }
            candidates.append(address)
        }
        return Signal(candidates: candidates)
    }
}

extension Meet: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.writeString8(token)
        writer.writeString8(secret)
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> Meet {
        let (token, secret) = (try reader.readString8(), try reader.readString8())
        guard token.count == tokenLength else { throw InvalidField(name: "token") }
        guard secret.count == secretLength else { throw InvalidField(name: "secret") }
        return Meet(token: token, secret: secret)
    }
}

extension JoinRequest: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.writeString8(token)
        TunnelAddress.address(TransportAddress(peer, port: 0)).write(to: &writer)
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> JoinRequest {
        let token = try reader.readString8()
        guard token.count == Meet.tokenLength else { throw InvalidField(name: "token") }
        guard case .address(let peer) = try TunnelAddress.read(from: &reader) else {
            throw InvalidField(name: "transport ID")
        }
        return JoinRequest(token: token, peer: peer.ip)
    }
}

extension GoAway: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(code.rawValue)
        writer.writeString16(text.utf8.prefix(longestText))
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> GoAway {
        let code = GoAwayCode(rawValue: try reader.readUInt32())
        return GoAway(code: code, text: try reader.readText16(atMost: longestText))
    }
}

extension OpenRequest: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        destination.write(to: &writer)
        source.write(to: &writer)
        writer.write(window)
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> OpenRequest {
        guard let kind = Kind(rawValue: try reader.readUInt8()) else { throw InvalidField(name: "kind of stream") }
        let destination = try TunnelAddress.read(from: &reader)
        var request = OpenRequest(kind: kind, destination: destination, source: try TunnelAddress.read(from: &reader))
        request.window = try reader.readUInt64()
        return request
    }
}

extension ExposeRequest: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(id)
        writer.write(transport.rawValue)
        writer.write(port)
        writer.writeString16(name.utf8.prefix(longestName))
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> ExposeRequest {
        let id = try reader.readUInt32()
        guard let transport = Transport(rawValue: try reader.readUInt8()) else {
            throw InvalidField(name: "protocol to expose")
        }
        let port = try reader.readUInt16()
        return ExposeRequest(id: id, transport: transport, port: port, name: try reader.readText16(atMost: longestName))
    }
}

extension ExposeAnswer: FramePayload {
    func write(to writer: inout ByteWriter) {
        writer.write(id)
        writer.write(port)
        writer.writeString16(refusal.utf8.prefix(longestText))
    }

    @_lifetime(reader: copy reader)
    static func read(from reader: inout ByteReader) throws -> ExposeAnswer {
        let id = try reader.readUInt32()
        let port = try reader.readUInt16()
        return ExposeAnswer(id: id, port: port, refusal: try reader.readText16(atMost: longestText))
    }
}

extension ByteWriter {
    /// A byte string behind its length in 8 bits; what is longer than that is cut.
    fileprivate mutating func writeString8(_ value: [UInt8]) {
        let kept = value.prefix(Int(UInt8.max))
        write(UInt8(kept.count))
        write(kept)
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    fileprivate mutating func readString8() throws -> [UInt8] { try readBytes(Int(try readUInt8())) }

    /// A text behind its length in 16 bits.
    @_lifetime(self: copy self)
    mutating func readText16(atMost longest: Int) throws -> String {
        let bytes = try readBytes(Int(try readUInt16()))
        guard bytes.count <= longest, let text = String(validating: bytes, as: UTF8.self) else {
            throw InvalidField(name: "text")
        }
        return text
    }
}
