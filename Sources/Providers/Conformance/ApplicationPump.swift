// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// Carries an application's bytes through a provider, as an agent does for a program that connects to it: reads them from a
/// TCP connection into buffers of the loop, sends these, and writes what comes back to another TCP connection.
///
///     application ─ TCP ─▶ source ─ SEND_BUFFERS ─▶ provider
///                 ◀─ TCP ── sink ◀─── INDICATE ────────╯
///
/// What is under way, from its reading until the kernel has taken it back, is bounded by a window.
final class ApplicationPump {
    private let trial: ProviderTrial
    private var listener: TCPListener?
    private var source: TCPStream?
    private var sink: TCPStream?
    private var link: PacketLink?
    private var underWay = 0
    private var moved = 0
    private var isReading = false
    private var hasFailed = false

    /// Three quarters of the ring to the provider, which holds what it has been sent and not yet given back: so that there
    /// is something to do on this side while the provider wakes up.
    private static let window = 1_536 << 10

    /// Starts the application and waits for its two connections: it sends on the first and receives on the second.
    /// - Parameter command: starts a ``TrialApplication``; the port is added.
    init?(_ trial: ProviderTrial, command: [String]) throws(UVError) {
        self.trial = trial
        listener = try TCPListener(
            loop: trial.loop, address: TransportAddress(TrialApplication.host, port: 0), readPool: trial.loop.buffers,
            delegate: self)
        guard let port = listener?.localAddress?.port else { return nil }
        let application = try Program(command + ["\(port)"], environment: [])
        _ = trial.runs { sink != nil || application.exitStatus != nil }
        guard sink != nil else {
            end()
            return nil
        }
    }

    /// Closes the connections, at which the application ends.
    func end() {
        source?.reset()
        sink?.reset()
        listener?.close()
    }

    /// Carries over a link for a time: the bytes that the kernel has taken back. Nil where nothing can be carried any more, or
    /// something was lost.
    func run(over link: PacketLink, for time: Duration) -> Double? {
        self.link = link
        link.owner = self
        moved = 0
        isReading = true
        source?.startReading()
        _ = trial.runs(until: { hasFailed }, within: time)
        isReading = false
        source?.stopReading()
        let isDone = trial.runs(until: { underWay == 0 || hasFailed }, within: .seconds(5))
        return isDone && !hasFailed ? Double(moved) : nil
    }
}

extension ApplicationPump: TCPListenerDelegate {
    func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {
        guard sink == nil else { return }
        stream.delegate = self
        if source == nil { source = stream } else { sink = stream }
    }

    func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {}
}

extension ApplicationPump: TCPStreamDelegate {
    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {
        underWay += bytes.count
        if underWay >= ApplicationPump.window { source?.stopReading() }
        link?.send(bytes)
    }

    func tcpStream(_ stream: TCPStream, wrote count: Int) {
        underWay -= count
        moved += count
        if isReading, underWay < ApplicationPump.window { source?.startReading() }
    }

    func tcpStreamReceivedEnd(_ stream: TCPStream) { hasFailed = true }
    func tcpStream(_ stream: TCPStream, failed error: UVError) { hasFailed = true }
}

extension ApplicationPump: PacketLinkOwner {
    func packetLink(_ link: PacketLink, received packet: consuming Slice) { sink?.write(packet) }
}
