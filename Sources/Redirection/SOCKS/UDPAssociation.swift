// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop
internal import Primitives
internal import Proxying

/// The datagrams of one client of a SOCKS5 proxy (RFC 1928, 7): a socket that the client sends to, and a datagram endpoint
/// for each destination.
///
/// Only the host that the client's TCP connection comes from is heard, and of that only one port: the one that it had named,
/// or else the first that sends something right. Nobody else is ever sent anything. It lives as long as that connection.
final class UDPAssociation: DatagramFlowOwner {
    /// Where the client is to send to.
    let address: TransportAddress
    let port: ProxyPort
    var loop: EventLoop { port.loop }
    var router: any Router { port.router }
    /// Who is heard and answered. The port is 0 until it is known.
    private(set) var client: TransportAddress
    private var socket: UDPSocket?
    private var flows: [ProxyDestination: DatagramFlow] = [:]
    /// That of the last datagram: most go where the one before went.
    private var latest: DatagramFlow?
    private var sweeper: LoopTimer?
    /// For an answer with its header.
    private var scratch: [UInt8] = []

    /// - Parameters:
    ///   - local: the address that the client's connection has come to.
    ///   - source: where that connection comes from.
    init(at local: IPAddress, of source: TransportAddress, request: ProxyRequest, port: ProxyPort) throws(UVError) {
        self.port = port
        let ip = source.ip.canonical
        client = TransportAddress(ip, port: UDPAssociation.namedPort(request.destination, client: ip))
        let receiver = Receiver()
        let socket = try UDPSocket(loop: port.loop, bind: TransportAddress(local, port: 0), delegate: receiver)
        address = socket.localAddress ?? TransportAddress(local, port: 0)
        self.socket = socket
        receiver.association = self
        sweeper = LoopTimer(loop: port.loop, delegate: self)
    }

    /// RFC 1928, 4: where the client will send from, zeros where it does not know. A client behind a NAT names an address
    /// that is not the one it comes from, and then its port is none either.
    private static func namedPort(_ named: ProxyDestination, client: IPAddress) -> UInt16 {
        guard case .address(let address) = named else { return 0 }
        return address.ip.isUnspecified || address.ip.canonical == client ? address.port : 0
    }

    func close() {
        socket?.close()
        socket = nil
        sweeper?.close()
        sweeper = nil
        latest = nil
        let ending = flows.values
        flows = [:]
        for flow in ending {
            flow.close()
            port.budget.giveBack()
        }
    }

    // MARK: - From the client

    fileprivate func received(_ datagram: RawSpan, from sender: TransportAddress) {
        guard sender.ip.canonical == client.ip, client.port == 0 || client.port == sender.port else { return }
        guard let header = try? SOCKS5Datagram(datagram) else { return }
        client.port = sender.port
        guard let flow = flow(to: header.destination) else { return }
        flow.send(datagram.extracting(header.dataOffset..<datagram.byteCount))
    }

    private func flow(to destination: ProxyDestination) -> DatagramFlow? {
        if let latest, latest.destination == destination { return latest }
        latest = flows[destination] ?? newFlow(to: destination)
        return latest
    }

    private func newFlow(to destination: ProxyDestination) -> DatagramFlow? {
        guard flows.count < port.limits.flowsPerClient, port.budget.take() else {
            port.turnedAwayFlow(client)
            return nil
        }
        let flow = DatagramFlow(
            to: destination, of: self, header: SOCKS5Datagram.header(from: destination))
        flows[destination] = flow
        if sweeper?.isArmed == false { sweeper?.arm(after: port.limits.flowTimeout / 4) }
        flow.open()
        return flow
    }

    // MARK: - To the client

    func flow(_ flow: DatagramFlow, received data: RawSpan) {
        guard let socket else { return }
        // Taken out for as long as it is looked at, and put back with its room.
        var answer: [UInt8] = []
        swap(&answer, &scratch)
        answer.removeAll(keepingCapacity: true)
        answer.append(contentsOf: flow.header)
        answer.append(copying: data)
        socket.send(answer.rawSpan, to: client)
        scratch = answer
    }

    func flow(_ flow: DatagramFlow, failed why: String) {
        port.failed(why, destination: flow.destination, client)
    }

    fileprivate func forget(_ flow: DatagramFlow) {
        guard flows[flow.destination] === flow else { return }
        flows[flow.destination] = nil
        if latest === flow { latest = nil }
        port.budget.giveBack()
    }
}

extension UDPAssociation: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        for flow in flows.values where port.loop.now - flow.lastActive >= port.limits.flowTimeout {
            forget(flow)
            flow.close()
        }
        if !flows.isEmpty { timer.arm(after: port.limits.flowTimeout / 4) }
    }
}

/// Stands between the socket, which keeps its delegate, and the association, which goes with its connection.
private final class Receiver: UDPSocketDelegate {
    weak var association: UDPAssociation?

    func udpSocket(
        _ socket: UDPSocket, received datagram: RawSpan, from address: TransportAddress, to local: IPAddress?
    ) {
        guard let association else { return socket.close() }
        association.received(datagram, from: address)
    }

    /// The client's port was closed when an answer came. It may open again.
    func udpSocket(_ socket: UDPSocket, failed error: UVError) {}
}
