// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
public import Primitives

/// An interface of this host, whose routes and name for people are changed here: with the rights of CAP_NET_ADMIN. What is
/// set goes with the interface.
public struct NetworkInterface: Sendable {
    /// At most 15 bytes.
    public let name: String
    /// As long as the interface is there no other has it.
    private let index: Int32

    /// The longest name for people, in bytes.
    public static let longestAlias = 255

    /// Fails with ENODEV where there is none of that name.
    public init(named name: String) throws(UVError) {
        self.name = name
        index = try UVError.check(cl_interface_index(name))
    }

    /// Gives it a name for people (ifalias); what is longer than ``longestAlias`` is cut between two characters, and what
    /// follows a NUL is lost.
    public func setAlias(_ alias: String) throws(UVError) {
        var text = ""
        var room = NetworkInterface.longestAlias
        for scalar in alias.unicodeScalars {
            room -= UTF8.width(scalar)
            guard room >= 0, scalar.value != 0 else { break }
            text.unicodeScalars.append(scalar)
        }
        try UVError.check(cl_interface_set_alias(index, text))
    }

    /// Has this host send to a prefix through the interface. Of two routes to one prefix the one with the lower metric is
    /// taken. One that is there already is as good.
    public func addRoute(to address: IPAddress, prefix: Int, metric: UInt32) throws(UVError) {
        guard address.family == .v6 else { throw .invalidArgument }
        try UVError.check(cl_interface_add_route(index, address.bytes, UInt32(clamping: prefix), metric))
    }

    /// Takes such a route away, if it is there.
    public func removeRoute(to address: IPAddress, prefix: Int, metric: UInt32) throws(UVError) {
        guard address.family == .v6 else { throw .invalidArgument }
        try UVError.check(cl_interface_remove_route(index, address.bytes, UInt32(clamping: prefix), metric))
    }

    /// Whose socket has made a packet that leaves by the interface; nil where there is no such socket (any more).
    /// - Parameter isTCP: else UDP.
    public func owner(isTCP: Bool, from local: TransportAddress, to remote: TransportAddress) -> UInt32? {
        guard local.ip.family == .v6, remote.ip.family == .v6 else { return nil }
        var name = cl_socket_name()
        name.protocol = UInt8(isTCP ? IPPROTO_TCP : IPPROTO_UDP)
        withUnsafeMutableBytes(of: &name.local) { $0.storeBytes(of: local.ip.value.bigEndian, as: UInt128.self) }
        withUnsafeMutableBytes(of: &name.remote) { $0.storeBytes(of: remote.ip.value.bigEndian, as: UInt128.self) }
        name.local_port = local.port
        name.remote_port = remote.port
        name.interface = index
        var user: UInt32 = 0
        return cl_socket_owner(&name, &user) == 0 ? user : nil
    }
}

extension UTF8 {
    fileprivate static func width(_ scalar: Unicode.Scalar) -> Int { UTF8.encode(scalar)?.count ?? 0 }
}
