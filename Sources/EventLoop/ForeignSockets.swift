// SPDX-License-Identifier: Apache-2.0

import CLinux
public import Primitives

// Sockets that stand in for other hosts: what the host's packet filter leads to them (TPROXY) keeps the address that it was
// meant for, and what they send comes from there. All of it takes CAP_NET_RAW.

extension TCPListener {
    /// Accepts also what was meant for other hosts: the connection's ``TCPStream/localAddress`` is what it was meant for.
    public func takeForeign() throws(UVError) {
        try UVError.check(cl_take_foreign(acceptor.descriptor, address.ip.family == .v6 ? 1 : 0, 0))
    }
}

extension UDPSocket {
    /// Receives also what was meant for other hosts, and tells of each datagram where it was meant to go:
    /// ``UDPSocketDelegate/udpSocket(_:received:from:meantFor:)``.
    public func takeForeign() throws(UVError) {
        try UVError.check(cl_take_foreign(descriptor, localAddress?.ip.family == .v6 ? 1 : 0, 1))
        takesForeign = true
    }

    /// A socket that sends in the name of `address`, which is another host's perhaps, and receives nothing.
    public convenience init(
        loop: EventLoop, inTheNameOf address: TransportAddress, delegate: any UDPSocketDelegate
    ) throws(UVError) {
        let descriptor = SocketAddress(address).withBytes { cl_udp_foreign($0, $1) }
        try self.init(loop: loop, descriptor: descriptor, delegate: delegate)
    }

    /// Sends one datagram in the name of `source`, at once and with no socket left over: for a few, where nobody is to send
    /// from there again soon. Both addresses are of one family.
    public static func send(
        _ datagram: RawSpan, inTheNameOf source: TransportAddress, to address: TransportAddress
    ) throws(UVError) {
        guard source.ip.family == address.ip.family else { throw .invalidArgument }
        try UVError.check(
            SocketAddress(source).withBytes { from, length in
                SocketAddress(address).withBytes { to, _ in
                    datagram.withUnsafeBytes { bytes in
                        cl_udp_send_as(from, to, length, bytes.baseAddress, UInt32(clamping: bytes.count))
                    }
                }
            })
    }
}
