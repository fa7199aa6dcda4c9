// SPDX-License-Identifier: Apache-2.0

/// What a provider answers to a call that may pend.
public enum CallOutcome: Hashable, Sendable {
    case completed
    /// The provider will call ``ProviderInstance/complete(_:_:now:)``, within the call's deadline (obligation 25).
    case pending
    /// The session ends for the fault's reason.
    case failed(SessionFault)
    /// To adding a transport ID: it is a duplicate. To reaching one: not, or not unambiguously, reachable.
    /// To any other call it is a failure.
    case refused
}

extension CallOutcome {
    /// The code that the C API stands for the outcome with. Compare with ``pendingCode`` before any test for failure:
    /// it is shaped like one (obligation 19).
    public var code: UInt32 {
        switch self {
        case .completed: 0
        case .pending: CallOutcome.pendingCode
        case .failed: 0x8000_4005  // E_FAIL
        case .refused: 0x8007_1392  // HRESULT_FROM_WIN32(ERROR_OBJECT_ALREADY_EXISTS)
        }
    }

    /// HRESULT_FROM_WIN32(ERROR_IO_PENDING).
    public static let pendingCode: UInt32 = 0x8007_03E5
}
