// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// Why nothing can be received at an address of this host.
public struct ListenFailure: Error, Equatable, Sendable {
    /// The address that the system has refused.
    public let address: TransportAddress
    public let error: UVError

    public init(_ address: TransportAddress, _ error: UVError) {
        self.address = address
        self.error = error
    }

    /// Opens something at each of the addresses. One that this host can't have is passed over where another of them is the
    /// same place in the other family (``UVError/passesOver(_:among:)``).
    /// - Parameter open: what is to be done for an address.
    /// - Returns: what was passed over.
    /// - Throws: the first refusal; also where nothing was opened. What was opened before is the caller's to close.
    public static func each(
        of addresses: [TransportAddress], open: (TransportAddress) throws(UVError) -> Void
    ) throws(ListenFailure) -> [TransportAddress] {
        var missing: [ListenFailure] = []
        for address in addresses {
            do throws(UVError) { try open(address) } catch {
                let failure = ListenFailure(address, error)
                guard error.passesOver(address, among: addresses) else { throw failure }
                missing.append(failure)
            }
        }
        if missing.count == addresses.count, let first = missing.first { throw first }
        return missing.map(\.address)
    }
}

extension ListenFailure: CustomStringConvertible {
    /// `127.0.0.1:1080: address already in use (EADDRINUSE)`.
    public var description: String { "\(address): \(error)" }
}

extension UVError {
    /// Whether this refusal of an address only tells that the host has no addresses of that family, while another of the
    /// addresses is the same place in the other family: both loopback addresses, or both that stand for every address, mean
    /// "whichever there is". Who names one alone wants that one.
    public func passesOver(_ address: TransportAddress, among addresses: [TransportAddress]) -> Bool {
        guard isFamilyMissing, let other = address.ip.sameInOtherFamily else { return false }
        return addresses.contains(TransportAddress(other, port: address.port))
    }
}
