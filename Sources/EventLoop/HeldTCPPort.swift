// SPDX-License-Identifier: Apache-2.0

import CLinux
import CUV
import Glibc
public import Primitives

/// A TCP port at which whoever connects waits, until the owner meets or refuses him.
///
/// The kernel drops what comes to it, so that a connect(2) goes on as towards a host that is far away. ``meet(_:readPool:delegate:)``
/// makes the connection from this side (RFC 9293, 3.5, "simultaneous open"): only whom the owner knows of is ever
/// connected, and only when there is something to be connected to. Everyone else waits until he gives up.
public final class HeldTCPPort {
    /// Where it is, with the port that the system has chosen.
    public let address: TransportAddress
    private unowned(unsafe) let loop: EventLoop
    private var descriptor: Int32

    /// - Parameter address: of this host; with port 0 the system chooses the port.
    public init(loop: EventLoop, address: TransportAddress) throws(UVError) {
        self.loop = loop
        descriptor = try UVError.check(SocketAddress(address).withBytes { cl_tcp_held_listen($0, $1) })
        self.address = SocketAddress.local(of: descriptor) ?? address
    }

    deinit { close() }

    /// Connects to one who waits. As ``TCPStream/connect(loop:to:from:readPool:delegate:)``; where nobody waits it fails as
    /// refused.
    public func meet(
        _ other: TransportAddress, readPool: BufferPool, delegate: any TCPStreamDelegate
    ) throws(UVError) -> TCPStream {
        let descriptor = try UVError.check(SocketAddress(address).withBytes { cl_tcp_held_socket($0, $1) })
        return try TCPStream.connect(
            loop: loop, adopting: descriptor, to: other, readPool: readPool, delegate: delegate)
    }

    /// Has the connect(2) of one who waits fail, as reset by its peer.
    /// - Parameter isAgain: whether this was tried already, and had no effect.
    public func refuse(_ other: TransportAddress, isAgain: Bool = false) -> Refusal {
        let status = SocketAddress(address).withBytes { from, length in
            SocketAddress(other).withBytes { to, _ in cl_tcp_held_refuse(from, to, length, isAgain ? 1 : 0) }
        }
        return status == 0 ? .done : status == UV_EAGAIN.rawValue ? .noEffect : .nobody
    }

    /// What came of refusing.
    public enum Refusal: Sendable {
        case done
        /// Nobody waits there.
        case nobody
        /// It waits on: to be tried again in half a second. The kernel lets itself be provoked no more often.
        case noEffect
    }

    /// From now on who connects is refused. Connections that were made go on.
    public func close() {
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        descriptor = -1
    }
}
