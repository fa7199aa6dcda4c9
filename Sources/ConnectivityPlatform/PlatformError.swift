// SPDX-License-Identifier: Apache-2.0

/// A misuse of the platform, or something it cannot do now. None of them harms the session (obligation 31).
public enum PlatformError: Error, Hashable, Sendable {
    /// The operation is not allowed in the instance's state.
    case invalidState(operation: String, state: InstanceState)
    /// The instance is destroyed.
    case destroyed
    /// The platform is shut down, or gone.
    case stopped
    /// A value that may not be given.
    case invalidArgument(String)
    /// Flags are reserved and must be 0.
    case invalidFlags(UInt32)
    /// No such pended call: never begun, completed already, past its deadline, or overtaken by the session's end.
    case unknownCall(PendedCall)
    /// No interface of that LUID belongs to this provider.
    case unknownInterface(InterfaceLUID)
    /// Another instance uses the interface.
    case interfaceInUse(InterfaceLUID)
    /// A bound is reached; its name as in the configuration.
    case limitReached(String, Int)
    /// No active instance reaches the transport ID unambiguously.
    case unreachable(TransportID)
}

extension PlatformError {
    /// The HRESULT by which the C API tells of the error.
    public var code: UInt32 {
        switch self {
        case .invalidState: 0x8007_139F  // ERROR_INVALID_STATE
        case .destroyed: 0x8007_0006  // E_HANDLE
        case .stopped: 0x8007_045B  // ERROR_SHUTDOWN_IN_PROGRESS
        case .invalidArgument: 0x8007_0057  // E_INVALIDARG
        case .invalidFlags: 0x8007_03EC  // ERROR_INVALID_FLAGS
        case .unknownCall: 0x8007_0490  // ERROR_NOT_FOUND
        case .unknownInterface: 0x8007_0002  // ERROR_FILE_NOT_FOUND
        case .interfaceInUse: 0x8007_00AA  // ERROR_BUSY
        case .limitReached: 0x8007_0718  // ERROR_NOT_ENOUGH_QUOTA
        case .unreachable: 0x8007_04D0  // ERROR_HOST_UNREACHABLE
        }
    }
}

extension PlatformError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalidState(let operation, let state): "\(operation) is not allowed while the instance is \(state)"
        case .destroyed: "the instance is destroyed"
        case .stopped: "the platform is shut down"
        case .invalidArgument(let what): what
        case .invalidFlags(let flags): "flags must be 0, not \(flags)"
        case .unknownCall(let call): "call \(call.id) is not pended"
        case .unknownInterface(let luid): "interface \(luid) is not known for this provider"
        case .interfaceInUse(let luid): "interface \(luid) is in use by another instance"
        case .limitReached(let name, let bound): "the bound \(name) (\(bound)) is reached"
        case .unreachable(let id): "\(id) is not unambiguously reachable"
        }
    }
}
