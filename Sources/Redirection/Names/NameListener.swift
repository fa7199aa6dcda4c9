// SPDX-License-Identifier: Apache-2.0

public import EventLoop
internal import Logging
public import Primitives
internal import Proxying
public import Telemetry

/// Addresses of this host at which a ``NameAnswerer`` is asked, over UDP and TCP. They decide who may ask: nobody is asked
/// who he is. Owned by the loop.
public final class NameListener {
    /// Where it listens, with the port that the system has chosen. Empty once closed.
    public var addresses: [TransportAddress] { sockets.compactMap(\.localAddress) }

    private let answerer: NameAnswerer
    private let log: LogSampler
    private var sockets: [UDPSocket] = []
    private var listeners: [TCPListener] = []
    private lazy var connections = NameConnections(answerer: answerer)

    private static let attempts = 8

    /// - Parameter addresses: where it is to listen. With port 0 the system chooses the port of the first, over UDP; over TCP
    ///   and at the other addresses it is the same.
    /// - Throws: the system's refusal of the first address that it refuses; then none is kept.
    public init(
        loop: EventLoop, addresses: [TransportAddress], answerer: NameAnswerer, log: LogSampler
    ) throws(UVError) {
        self.answerer = answerer
        self.log = log
        for attempt in 1...NameListener.attempts {
            do throws(UVError) {
                try open(addresses, loop)
                break
            } catch {
                close()
                // A port that is free over UDP may not be free over TCP: the system chooses another one.
                let isChosen = addresses.contains { $0.port == 0 } && error == .addressInUse
                guard isChosen, attempt < NameListener.attempts else { throw error }
            }
        }
        answerer.servers.own.formUnion(self.addresses)
    }

    private func open(_ addresses: [TransportAddress], _ loop: EventLoop) throws(UVError) {
        for address in addresses {
            let port = address.port == 0 ? self.addresses.first?.port ?? 0 : address.port
            let place = TransportAddress(address.ip, port: port)
            sockets.append(try UDPSocket(loop: loop, bind: place, delegate: self))
        }
        do throws(ListenFailure) {
            listeners = try TCPListener.listen(loop: loop, at: self.addresses, delegate: self).listeners
        } catch { throw error.error }
    }

    public func close() {
        answerer.servers.own.subtract(addresses)
        for socket in sockets { socket.close() }
        sockets = []
        for listener in listeners { listener.close() }
        listeners = []
        connections.close()
    }
}

extension NameListener: UDPSocketDelegate {
    public func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        // Nothing leaves a closed socket.
        answerer.answer(datagram) { socket.send($0.rawSpan, to: address, from: local) }
    }

    /// An asker is gone.
    public func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}

extension NameListener: TCPListenerDelegate {
    public func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        connections.take(stream)
    }

    public func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {
        log.log(
            .error, kind: "accept", now: answerer.loop.now,
            "accepting connections is paused: the system has nothing left to accept them with",
            metadata: ["for": "names", "error": "\(error)"])
    }
}
