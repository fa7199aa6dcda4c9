// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// What a provider's process says over its socket. The layout is in ExternalProviders.md.
enum ProviderMessage {
    /// There is something in the ring.
    case bell
    case register(Registration)
    /// A call has ended with an HRESULT.
    case returned(PendedCall, HRESULT)
    /// SEND_BUFFERS has failed.
    case failed(HRESULT)
    case deregister

    /// Why bytes are no message.
    struct Malformed: Error {}

    private enum Number {
        static let bell: UInt16 = 1
        static let register: UInt16 = 2
        static let returned: UInt16 = 3
        static let failed: UInt16 = 4
        static let deregister: UInt16 = 5
    }

    init(_ bytes: RawSpan) throws(Malformed) {
        do throws(Truncated) {
            var reader = ByteReader(bytes)
            let type = try reader.readUInt16().byteSwapped
            let size = try reader.readUInt16().byteSwapped
            let value = try reader.readUInt32().byteSwapped
            let number = try reader.readUInt64().byteSwapped
            guard Int(size) == bytes.byteCount else { throw Truncated() }
            switch type {
            case Number.register:
                self = .register(try Registration(version: value, luid: number, &reader))
            case Number.bell: self = .bell
            case Number.returned: self = .returned(PendedCall(id: number), HRESULT(rawValue: value))
            case Number.failed: self = .failed(HRESULT(rawValue: value))
            case Number.deregister: self = .deregister
            default: throw Truncated()
            }
            guard reader.isAtEnd else { throw Truncated() }
        } catch {
            throw Malformed()
        }
    }
}

/// What a provider asks for with Register.
struct Registration {
    var version: UInt32
    var flags: UInt32
    /// Nil or 0: a new interface.
    var luid: InterfaceLUID?
    var friendlyName: String?
    /// Users and groups; nil: the user that registers.
    var sddl: String?
    /// What the program calls itself.
    var program: String

    @_lifetime(reader: copy reader)
    fileprivate init(version: UInt32, luid: UInt64, _ reader: inout ByteReader) throws(Truncated) {
        self.version = version
        self.luid = luid == 0 ? nil : InterfaceLUID(rawValue: luid)
        flags = try reader.readUInt32().byteSwapped
        let nameSize = try reader.readUInt16().byteSwapped
        let sddlSize = try reader.readUInt16().byteSwapped
        let programSize = try reader.readUInt16().byteSwapped
        let given = try reader.readUInt16().byteSwapped
        _ = try reader.readUInt32()
        let name = try Registration.text(try reader.readBytes(Int(nameSize)))
        let sddl = try Registration.text(try reader.readBytes(Int(sddlSize)))
        program = try Registration.text(try reader.readBytes(Int(programSize)))
        friendlyName = given & 1 != 0 ? name : nil
        self.sddl = given & 2 != 0 ? sddl : nil
    }

    private static func text(_ bytes: [UInt8]) throws(Truncated) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Truncated() }
        return text
    }
}

/// What the agent says to a provider's process.
enum PlatformMessage {
    case bell
    case registered(HRESULT, luid: UInt64, ringSize: Int)
    case establish
    case call(PendedCall, CallKind, TransportID?)
    case terminate(SessionTerminationReason)
    case deregistered

    enum CallKind: UInt32 {
        case addTransportID = 1
        case removeTransportID, reachTransportID, transitionActive, transitionInactive
    }

    var bytes: [UInt8] {
        switch self {
        case .bell: message(1)
        case .registered(let result, let luid, let ringSize):
            if result.isFailure {
                message(16, result.rawValue)
            } else {
                message(16, result.rawValue, luid) { body in
                    body.write(UInt32(truncatingIfNeeded: ringSize).byteSwapped)
                    body.write(SharedRings.features.byteSwapped)
                }
            }
        case .establish: message(17)
        case .call(let call, let kind, let id):
            message(18, kind.rawValue, call.id) { body in
                guard let id else { return }
                body.write(UInt64(id.bytes.count).byteSwapped)
                body.write(id.bytes)
                body.write([UInt8](repeating: 0, count: 16 - id.bytes.count))
            }
        case .terminate(let reason): message(19, reason.rawValue)
        case .deregistered: message(20)
        }
    }

    private func message(
        _ type: UInt16, _ value: UInt32 = 0, _ number: UInt64 = 0, _ write: (inout ByteWriter) -> Void = { _ in }
    ) -> [UInt8] {
        var body = ByteWriter()
        write(&body)
        var message = ByteWriter()
        message.write(type.byteSwapped)
        message.write(UInt16(16 + body.count).byteSwapped)
        message.write(value.byteSwapped)
        message.write(number.byteSwapped)
        message.write(body.bytes)
        return message.bytes
    }
}

/// What the functions and callbacks of the C API return.
struct HRESULT: RawRepresentable, Hashable, Sendable {
    let rawValue: UInt32

    static let ok = HRESULT(rawValue: 0)
    /// E_FAIL
    static let fail = HRESULT(rawValue: 0x8000_4005)
    /// E_INVALIDARG
    static let invalidArgument = HRESULT(rawValue: 0x8007_0057)
    /// E_ACCESSDENIED
    static let accessDenied = HRESULT(rawValue: 0x8007_0005)
    /// ERROR_OBJECT_ALREADY_EXISTS: the transport ID is a peer's.
    static let duplicate = HRESULT(rawValue: 0x8007_1392)
    /// ERROR_REVISION_MISMATCH
    static let version = HRESULT(rawValue: 0x8007_051A)
    /// ERROR_NOT_ENOUGH_QUOTA
    static let quota = HRESULT(rawValue: 0x8007_0718)
    /// ERROR_NONE_MAPPED: no such user or group.
    static let noAccount = HRESULT(rawValue: 0x8007_0534)

    var isFailure: Bool { rawValue & 0x8000_0000 != 0 }
}

extension HRESULT: CustomStringConvertible {
    var description: String {
        let digits = String(rawValue, radix: 16, uppercase: true)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}
