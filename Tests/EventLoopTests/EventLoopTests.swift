// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Glibc
import Primitives
import Synchronization
import Testing

@Suite struct EventLoopTests {
    @Test func endsWhenNothingIsLeft() throws {
        let loop = try EventLoop()
        loop.run()
        loop.stop()
        loop.run()
        var calls = 0
        loop.atTurnEnd(AtTurnEnd { calls += 1 })
        loop.run()
        #expect(calls == 1)
    }

    /// Tasks run in order, and those that they add run before the loop blocks.
    @Test func turnEndRunsUntilNothingIsLeft() throws {
        let test = try TestLoop()
        defer { test.end() }
        var order: [Int] = []
        let clock = test.clock {
            order.append(0)
            for number in 1...2 {
                test.loop.atTurnEnd(
                    AtTurnEnd {
                        order.append(number)
                        test.loop.atTurnEnd(AtTurnEnd { order.append(number * 10) })
                    })
            }
        }
        let end = test.clock { test.loop.stop() }
        clock.timer?.arm(after: .zero)
        end.timer?.arm(after: .milliseconds(5))
        test.run()
        #expect(order == [0, 1, 2, 10, 20])
    }

    /// A task that asks for itself for ever does not keep the loop from its timers.
    @Test func endlessTurnEndLeavesTheLoopItsTurn() throws {
        let test = try TestLoop()
        defer { test.end() }
        var calls = 0
        var again: EveryTurn?
        again = test.everyTurn() {
            calls += 1
            again?.schedule()
        }
        again?.schedule()
        let end = test.clock { test.loop.stop() }
        end.timer?.arm(after: .milliseconds(5))
        test.run()
        again = nil
        #expect(calls > 64)
        test.loop.run()
    }

    @Test func timersFireInOrderAndNeverEarly() throws {
        let test = try TestLoop()
        defer { test.end() }
        var fired: [Int] = []
        let delays = [30, 5, 12, 0, 12, 1]
        let start = test.loop.now
        let clocks = delays.indices.map { index in
            test.clock {
                fired.append(index)
                #expect(test.loop.now - start >= .milliseconds(delays[index]))
                if fired.count == delays.count { test.loop.stop() }
            }
        }
        for (clock, delay) in zip(clocks, delays) { clock.timer?.arm(after: .milliseconds(delay)) }
        test.run()
        #expect(fired == [3, 5, 1, 2, 4, 0])
        #expect(clocks.allSatisfy { $0.timer?.isArmed == false })
    }

    @Test func timersAreDisarmedAndArmedAnew() throws {
        let test = try TestLoop()
        defer { test.end() }
        var fired: [String] = []
        let never = test.clock { fired.append("never") }
        let closed = test.clock { fired.append("closed") }
        let moved = test.clock { fired.append("moved") }
        let past = test.clock { fired.append("past") }
        let end = test.clock { test.loop.stop() }
        never.timer?.arm(after: .milliseconds(1))
        never.timer?.disarm()
        closed.timer?.arm(after: .milliseconds(1))
        closed.timer?.close()
        closed.timer?.arm(after: .milliseconds(1))
        moved.timer?.arm(after: .seconds(3600))
        moved.timer?.arm(at: test.loop.now + .milliseconds(3))
        past.timer?.arm(at: Instant(nanoseconds: 1))
        end.timer?.arm(after: .milliseconds(8))
        do { test.clock { fired.append("dropped") }.timer?.arm(after: .milliseconds(1)) }
        test.run()
        #expect(fired == ["past", "moved"])
    }

    /// A delegate may drop its timer in the call.
    @Test func timerIsDroppedInItsCall() throws {
        let test = try TestLoop()
        defer { test.end() }
        var clock: Clock?
        clock = test.clock {
            clock = nil
            test.loop.stop()
        }
        clock?.timer?.arm(after: .zero)
        test.run()
        #expect(clock == nil)
    }

    @Test func nowStandsStillWithinATurn() throws {
        let test = try TestLoop()
        defer { test.end() }
        var first: Instant?
        let early = test.clock { [loop = test.loop] in
            let now = loop.now
            usleep(2000)
            #expect(loop.now == now)
            first = now
        }
        let late = test.clock { [loop = test.loop] in
            if let first { #expect(loop.now - first >= .milliseconds(2)) }
            loop.stop()
        }
        early.timer?.arm(after: .zero)
        late.timer?.arm(after: .milliseconds(4))
        test.run()
        #expect(first != nil)
    }

    /// Mail from many threads arrives once, and in the order of each of them.
    @Test func mailComesFromThreads() throws {
        let test = try TestLoop()
        defer { test.end() }
        let mailbox = test.loop.mailbox
        let (threads, messages) = (4, 5_000)
        let box = LoopBound(Ledger(threads))
        let loop = LoopBound(test.loop)
        let workers = (0..<threads).map { thread in
            Worker {
                for message in 0..<messages {
                    mailbox.post {
                        box.withValue { ledger in
                            ledger.note(message, of: thread)
                            if ledger.count == threads * messages { loop.withValue { $0.stop() } }
                        }
                    }
                }
            }
        }
        test.run()
        for worker in workers { worker.join() }
        box.withValue { ledger in
            #expect(ledger.count == threads * messages && ledger.isInOrder)
        }
    }

    @Test func mailKeepsTheLoopOnlyWhereItIsTold() throws {
        let loop = try EventLoop()
        loop.waitsForMail = true
        let mailbox = loop.mailbox
        let bound = LoopBound(loop)
        let worker = Worker { mailbox.post { bound.withValue { $0.waitsForMail = false } } }
        loop.run()
        worker.join()
    }

    @Test func mailToAnEndedLoopIsDropped() throws {
        var loop: EventLoop? = try EventLoop()
        let mailbox = try #require(loop?.mailbox)
        weak var kept: Peer?
        do {
            let peer = Peer()
            kept = peer
            let bound = LoopBound(peer)
            mailbox.post { bound.withValue { _ in } }
        }
        #expect(kept != nil)
        loop = nil
        #expect(kept == nil)
        mailbox.post {}
    }

    @Test func signalsAreTold() throws {
        let test = try TestLoop()
        defer { test.end() }
        let listener = SignalLog { test.loop.stop() }
        let watcher = try SignalWatcher(loop: test.loop, signal: SIGUSR1, delegate: listener)
        let clock = test.clock { kill(getpid(), SIGUSR1) }
        clock.timer?.arm(after: .milliseconds(1))
        test.run()
        #expect(listener.signals == [SIGUSR1])
        watcher.close()
        #expect(throws: UVError.invalidArgument) {
            try SignalWatcher(loop: test.loop, signal: SIGKILL, delegate: listener)
        }
        test.settle()
    }
}

/// What came from which thread.
private final class Ledger {
    private(set) var count = 0
    private(set) var isInOrder = true
    private var next: [Int]

    init(_ threads: Int) { next = Array(repeating: 0, count: threads) }

    func note(_ message: Int, of thread: Int) {
        isInOrder = isInOrder && next[thread] == message
        next[thread] += 1
        count += 1
    }
}

private final class SignalLog: SignalWatcherDelegate {
    private(set) var signals: [Int32] = []
    private let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
    func signalReceived(_ watcher: SignalWatcher) {
        signals.append(watcher.signal)
        body()
    }
}

/// A thread that runs a closure.
final class Worker {
    private var thread = pthread_t()
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    init(_ body: @escaping @Sendable () -> Void) {
        let argument = Unmanaged.passRetained(Body(body)).toOpaque()
        pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, argument)
    }

    func join() { pthread_join(thread, nil) }
}
