// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives
internal import Proxying

/// A destination of datagrams to which several sockets send.
protocol FlowDestination: AnyObject {
    /// What has come from the destination is for that socket.
    func answer(_ data: RawSpan, to client: TransportAddress)
    /// One of them has no way there.
    func failed(_ why: String)
}

/// One application's socket that sends to a destination.
final class FlowSender: DatagramFlowOwner {
    let loop: EventLoop
    let router: any Router
    let client: TransportAddress
    private weak var target: (any FlowDestination)?
    private(set) var flow: DatagramFlow?

    init(_ client: TransportAddress, target: any FlowDestination, loop: EventLoop, router: any Router) {
        self.client = client
        self.target = target
        self.loop = loop
        self.router = router
    }

    func open(_ place: HostAndPort) {
        let flow = DatagramFlow(to: ProxyDestination(host: place.host, port: place.port), of: self)
        self.flow = flow
        flow.open()
    }

    func isIdle(for time: Duration) -> Bool { flow.map { loop.now - $0.lastActive >= time } ?? true }

    func close() {
        flow?.close()
        flow = nil
    }

    func flow(_ flow: DatagramFlow, received data: RawSpan) { target?.answer(data, to: client) }
    func flow(_ flow: DatagramFlow, failed why: String) { target?.failed(why) }
}
