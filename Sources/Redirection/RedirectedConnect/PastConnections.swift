// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import Glibc
internal import Primitives

/// What is still asked about connections that are over: why one failed, and what it had been to. Bounded.
struct PastConnections {
    private struct Entry {
        var destination: TransportAddress
        var failure: Int32
        var until: Instant
    }
    private var entries: [TransportAddress: Entry] = [:]

    private static let keeps: Duration = .seconds(60)
    private static let most = 8_192

    mutating func keep(
        _ local: TransportAddress, _ destination: TransportAddress, failure: Int32 = 0, at now: Instant
    ) {
        if let entry = entries[local], entry.failure != 0, failure == 0 { return }
        guard entries.count < Self.most || entries[local] != nil else { return }
        entries[local] = Entry(destination: destination, failure: failure, until: now + Self.keeps)
    }

    /// An errno, once; 0 where it did not fail.
    mutating func takeFailure(of local: TransportAddress) -> Int32 {
        guard let failure = entries[local]?.failure else { return 0 }
        entries[local]?.failure = 0
        return failure
    }

    func destination(of local: TransportAddress) -> TransportAddress? { entries[local]?.destination }

    mutating func forget(_ local: TransportAddress) { entries[local] = nil }

    mutating func sweep(now: Instant) { entries = entries.filter { $0.value.until > now } }
}

/// What connect(2) says where the platform says why not.
struct ErrorNumber {
    let value: Int32

    static let unreachable = EHOSTUNREACH

    init(_ code: EndpointResetCode) {
        switch code {
        case .refused, .reset: value = ECONNREFUSED
        case .unreachable: value = EHOSTUNREACH
        case .timedOut: value = ETIMEDOUT
        case .notAllowed: value = EACCES
        case .limit: value = ENOBUFS
        default: value = ENETUNREACH
        }
    }
}
