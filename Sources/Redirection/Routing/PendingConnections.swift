// SPDX-License-Identifier: Apache-2.0

internal import EventLoop
internal import Primitives

/// An application's connection that is not joined to anything yet.
protocol PendingConnection: AnyObject {
    var socket: TCPStream? { get }
    /// Its place among those that wait, and how long it may.
    var pending: PendingPlace { get set }
    /// It has waited for too long.
    func timedOut()
    /// The application has reset it.
    func disconnected()
}

/// Where a connection waits, and until when.
struct PendingPlace {
    fileprivate var index = -1
    fileprivate var deadline = Instant.distantFuture
}

/// The connections that wait for their request or their route: one timer for all of them.
///
/// A socket that waits for its route is not read, so that nobody tells when its application goes away: the kernel is asked
/// from time to time. What has only ended its own half may still be waiting for an answer.
final class PendingConnections {
    private let loop: EventLoop
    private var connections: [any PendingConnection] = []
    private var timer: LoopTimer?

    private static let interval: Duration = .milliseconds(500)

    init(loop: EventLoop) { self.loop = loop }

    var count: Int { connections.count }

    /// Its time begins, or begins anew. It is kept until it is removed.
    func add(_ connection: any PendingConnection, for patience: Duration) {
        connection.pending.deadline = loop.now + patience
        guard connection.pending.index < 0 else { return }
        connection.pending.index = connections.count
        connections.append(connection)
        if timer?.isArmed != true { arm() }
    }

    /// Does nothing where it does not wait.
    func remove(_ connection: any PendingConnection) {
        let index = connection.pending.index
        guard connections.indices.contains(index) else { return }
        connection.pending.index = -1
        let last = connections.removeLast()
        guard last !== connection else { return }
        connections[index] = last
        last.pending.index = index
    }

    /// All that wait, each of which is removed by its own end.
    var all: [any PendingConnection] { connections }

    private func arm() {
        let timer = self.timer ?? LoopTimer(loop: loop, delegate: self)
        timer.arm(after: Self.interval)
        self.timer = timer
    }
}

extension PendingConnections: LoopTimerDelegate {
    func timerFired(_ timer: LoopTimer) {
        for connection in connections where connection.pending.index >= 0 {
            if connection.socket?.isDisconnected == true {
                connection.disconnected()
            } else if connection.pending.deadline <= loop.now {
                connection.timedOut()
            }
        }
        if !connections.isEmpty { arm() }
    }
}
