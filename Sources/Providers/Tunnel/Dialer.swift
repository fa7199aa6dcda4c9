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

/// Finds the first of several hosts that answers. Each is resolved when its turn comes, and its addresses are tried as
/// RFC 8305 has it: the next one beside the last where that takes long, and the first that connects is taken.
final class Dialer {
    private struct Attempt {
        let stream: TCPStream
        let address: TransportAddress
        let target: HostAndPort
        let until: Instant
    }

    private let loop: EventLoop
    private var targets: ArraySlice<HostAndPort>
    /// The one that is tried now, or that has answered.
    private(set) var target: HostAndPort?
    private let timeout: Duration
    private let patience: Duration
    private let readPool: BufferPool
    private weak var delegate: (any DialerDelegate)?
    /// Those of the target that are left.
    private var addresses: ArraySlice<TransportAddress> = []
    private var attempts: [Attempt] = []
    private var reasons: [String] = []
    private var timer: LoopTimer?
    /// When the next address has its turn, whatever became of the last.
    private var nextAt: Instant?
    private var isResolving = false
    private var isQueued = false
    private var isOver = false

    /// A host has only this long alone while there is another one to try: the first is the one that is wanted.
    private static let patience: Duration = .seconds(3)
    private static let maximumAddresses = 16

    /// - Parameters:
    ///   - timeout: how long one address may take to answer.
    ///   - patience: how long the last address of a host is tried alone while there is another host.
    init(
        loop: EventLoop, targets: [HostAndPort], timeout: Duration, patience: Duration = Dialer.patience,
        readPool: BufferPool, delegate: any DialerDelegate
    ) {
        self.loop = loop
        self.targets = targets[...]
        self.timeout = timeout
        self.patience = patience
        self.readPool = readPool
        self.delegate = delegate
    }

    func start() {
        timer = LoopTimer(loop: loop, delegate: self)
        tryNext()
    }

    func cancel() { end(but: nil) }

    private func end(but connected: TCPStream?) {
        isOver = true
        for attempt in attempts where attempt.stream !== connected { attempt.stream.close() }
        attempts = []
        timer?.close()
        timer = nil
    }

    private func tryNext() {
        guard !isOver, !isResolving else { return }
        nextAt = nil
        if let address = addresses.popFirst(), let target {
            connect(to: address, of: target)
        } else if let target = targets.popFirst() {
            self.target = target
            isResolving = true
            Resolver.resolve(loop: loop, target) { [weak self] result in self?.resolved(target, result) }
        } else if attempts.isEmpty {
            return fail()
        }
        armTimer()
    }

    private func resolved(_ target: HostAndPort, _ result: Result<[TransportAddress], UVError>) {
        guard !isOver else { return }
        isResolving = false
        switch result {
        case .success(let found): addresses = HappyEyeballs.interleaved(found).prefix(Self.maximumAddresses)
        case .failure(let error): reasons.append("\(target.host): \(error)")
        }
        tryNext()
    }

    private func connect(to address: TransportAddress, of target: HostAndPort) {
        do throws(UVError) {
            let stream = try TCPStream.connect(loop: loop, to: address, readPool: readPool, delegate: self)
            attempts.append(
                Attempt(stream: stream, address: address, target: target, until: loop.now + timeout))
            if !addresses.isEmpty {
                nextAt = loop.now + HappyEyeballs.delay
            } else if !targets.isEmpty {
                nextAt = loop.now + patience
            }
        } catch {
            failed(address, error)
        }
    }

    private func failed(_ address: TransportAddress, _ error: UVError) {
        reasons.append("\(address): \(error.message)")
        // In a turn of its own, so that a hundred addresses that fail at once do not pile up.
        guard !isQueued else { return }
        isQueued = true
        loop.atTurnEnd(self)
    }

    private func fail() {
        end(but: nil)
        delegate?.dialer(self, failed: reasons)
    }

    private func armTimer() {
        let first = min(nextAt ?? .distantFuture, attempts.map(\.until).min() ?? .distantFuture)
        if first < .distantFuture { timer?.arm(at: first) } else { timer?.disarm() }
    }
}

extension Dialer: TurnEndTask {
    func turnEnded() {
        isQueued = false
        tryNext()
    }
}

extension Dialer: TCPStreamDelegate {
    func tcpStreamConnected(_ stream: TCPStream) {
        guard !isOver, let attempt = attempts.first(where: { $0.stream === stream }) else { return stream.close() }
        target = attempt.target
        stream.delegate = nil
        end(but: stream)
        delegate?.dialer(self, connected: stream)
    }

    func tcpStream(_ stream: TCPStream, received bytes: consuming Slice) {}
    func tcpStreamReceivedEnd(_ stream: TCPStream) {}
    func tcpStream(_ stream: TCPStream, failed error: UVError) {
        guard !isOver, let index = attempts.firstIndex(where: { $0.stream === stream }) else { return }
        failed(attempts.remove(at: index).address, error)
    }
}

extension Dialer: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        for attempt in attempts where attempt.until <= loop.now {
            attempt.stream.close()
            attempts.removeAll { $0.stream === attempt.stream }
            reasons.append("\(attempt.address): \(UVError.timedOut.message)")
        }
        if let nextAt, nextAt > loop.now, !attempts.isEmpty { return armTimer() }
        tryNext()
    }
}
