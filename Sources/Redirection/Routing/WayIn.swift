// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives

/// What a way in for applications has seen. Owned by the loop.
public struct WayInCounters: Sendable {
    /// Connections so far.
    public var accepted: UInt64 = 0
    /// Those turned away because a bound was reached.
    public var turnedAway: UInt64 = 0
    /// Those that could not be brought to where they wanted to go.
    public var failed: UInt64 = 0
    public init() {}
}

extension TCPListener {
    /// An application that is silent for so long is asked whether it is still there: a host that vanished would hold its
    /// connection, and the far side's, for ever.
    private static let silence: Duration = .seconds(300)

    /// Listens at each of the addresses, or at none of them. Where the first has port 0 the system chooses the port, and
    /// the others with port 0 get the same.
    static func listen(
        loop: EventLoop, at addresses: [TransportAddress], delegate: any TCPListenerDelegate
    ) throws(UVError) -> [TCPListener] {
        var listeners: [TCPListener] = []
        var chosen: UInt16 = 0
        do throws(UVError) {
            for address in addresses {
                let place = TransportAddress(address.ip, port: address.port == 0 ? chosen : address.port)
                let listener = try TCPListener(loop: loop, address: place, readPool: loop.buffers, delegate: delegate)
                listener.setKeepAlive(Self.silence)
                listeners.append(listener)
                if chosen == 0 { chosen = listener.localAddress?.port ?? 0 }
            }
        } catch {
            for listener in listeners { listener.close() }
            throw error
        }
        return listeners
    }
}

extension Endpoint {
    /// Nobody wants it any more, and nobody is to be told of its end.
    func abandon(_ code: EndpointResetCode) {
        application = nil
        reset(code)
    }
}
