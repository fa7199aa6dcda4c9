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

    /// Asks applications that are silent.
    func keepAlive() { setKeepAlive(Self.silence) }

    /// Listens at each of the addresses, or at none of them; but for what this host can't have, and has in the other family.
    /// Where the first has port 0 the system chooses the port, and the others with port 0 get the same.
    /// - Returns: the listeners, and the addresses that were passed over.
    static func listen(
        loop: EventLoop, at addresses: [TransportAddress], delegate: any TCPListenerDelegate
    ) throws(ListenFailure) -> (listeners: [TCPListener], missing: [TransportAddress]) {
        var listeners: [TCPListener] = []
        var chosen: UInt16 = 0
        do throws(ListenFailure) {
            let missing = try ListenFailure.each(of: addresses) { address throws(UVError) in
                let place = TransportAddress(address.ip, port: address.port == 0 ? chosen : address.port)
                let listener = try TCPListener(loop: loop, address: place, readPool: loop.buffers, delegate: delegate)
                listener.keepAlive()
                listeners.append(listener)
                if chosen == 0 { chosen = listener.localAddress?.port ?? 0 }
            }
            return (listeners, missing)
        } catch {
            for listener in listeners { listener.close() }
            throw error
        }
    }
}

extension Endpoint {
    /// Nobody wants it any more, and nobody is to be told of its end.
    func abandon(_ code: EndpointResetCode) {
        application = nil
        reset(code)
    }
}
