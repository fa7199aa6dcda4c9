// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// Is told how dialing ended, once.
protocol DialerDelegate: AnyObject {
    /// The stream has no delegate of its own yet.
    func dialer(_ dialer: Dialer, connected stream: TCPStream)
    /// Nothing answered: what each address had to say.
    func dialer(_ dialer: Dialer, failed reasons: [String])
}

/// Finds the first of several hosts that answers: each is resolved when its turn comes, and each of its addresses tried.
final class Dialer {
    private let loop: EventLoop
    private var targets: [HostAndPort]
    /// The one that is tried now, or that has answered.
    private(set) var target: HostAndPort?
    private let timeout: Duration
    private let readPool: BufferPool
    private weak var delegate: (any DialerDelegate)?
    private var addresses: [TransportAddress] = []
    private var attempt: TCPStream?
    private var attemptAddress: TransportAddress?
    private var reasons: [String] = []
    private var timer: LoopTimer?
    private var isOver = false

    /// An address gets only this long while there is another one to try.
    private static let impatience: Duration = .seconds(3)
    private static let maximumAddresses = 16

    init(
        loop: EventLoop, targets: [HostAndPort], timeout: Duration, readPool: BufferPool, delegate: any DialerDelegate
    ) {
        self.loop = loop
        self.targets = targets
        self.timeout = timeout
        self.readPool = readPool
        self.delegate = delegate
    }

    func start() {
        timer = LoopTimer(loop: loop, delegate: self)
        tryNext()
    }

    func cancel() {
        isOver = true
        attempt?.close()
        attempt = nil
        timer?.close()
        timer = nil
    }

    private func tryNext() {
        guard !isOver else { return }
        if !addresses.isEmpty { return connect(to: addresses.removeFirst()) }
        guard !targets.isEmpty else { return fail() }
        let target = targets.removeFirst()
        self.target = target
        Resolver.resolve(loop: loop, target) { [weak self] result in self?.resolved(target, result) }
    }

    private func resolved(_ target: HostAndPort, _ result: Result<[TransportAddress], UVError>) {
        guard !isOver else { return }
        switch result {
        case .success(let found): addresses = Array(found.prefix(Self.maximumAddresses))
        case .failure(let error): reasons.append("\(target.host): \(error)")
        }
        tryNext()
    }

    private func connect(to address: TransportAddress) {
        attemptAddress = address
        do throws(UVError) {
            attempt = try TCPStream.connect(loop: loop, to: address, readPool: readPool, delegate: self)
            let isLast = addresses.isEmpty && targets.isEmpty
            timer?.arm(after: isLast ? timeout : min(timeout, Self.impatience))
        } catch {
            failed(error)
        }
    }

    private func failed(_ error: UVError) {
        if let attemptAddress { reasons.append("\(attemptAddress): \(error.message)") }
        attempt = nil
        timer?.disarm()
        // In a turn of its own, so that a hundred addresses that fail at once do not pile up.
        loop.atTurnEnd(self)
    }

    private func fail() {
        cancel()
        delegate?.dialer(self, failed: reasons)
    }
}

extension Dialer: TurnEndTask {
    func turnEnded() { tryNext() }
}

extension Dialer: TCPStreamDelegate {
    func tcpStreamConnected(_ stream: TCPStream) {
        guard !isOver else { return stream.close() }
        attempt = nil
        stream.delegate = nil
        cancel()
        delegate?.dialer(self, connected: stream)
    }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) {
        guard !isOver else { return }
        failed(error)
    }
}

extension Dialer: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        guard let attempt else { return }
        attempt.close()
        failed(.timedOut)
    }
}
