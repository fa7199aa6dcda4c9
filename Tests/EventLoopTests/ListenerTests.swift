// SPDX-License-Identifier: Apache-2.0

import EventLoop
import Glibc
import Primitives
import Testing

@Suite struct ListenerTests {
    @Test func addressInUseIsThrown() throws {
        let test = try TestLoop()
        defer { test.end() }
        let listener = try listen(test, test.door(test.peer()))
        let address = try #require(listener.localAddress)
        #expect(address.port != 0)
        #expect(throws: UVError.addressInUse) {
            try TCPListener(
                loop: test.loop, address: address, readPool: test.loop.buffers, delegate: test.door(test.peer()))
        }
        listener.close()
        #expect(listener.localAddress == nil)
        test.settle()
    }

    /// A port is free for IPv4 when IPv6's wildcard has it.
    @Test func v6ListenerLeavesV4Alone() throws {
        let test = try TestLoop()
        defer { test.end() }
        let v6 = try TCPListener(
            loop: test.loop, address: TransportAddress(.anyV6, port: 0), readPool: test.loop.buffers,
            delegate: test.door(test.peer()))
        let port = try #require(v6.localAddress).port
        let v4 = try TCPListener(
            loop: test.loop, address: TransportAddress(.anyV4, port: port), readPool: test.loop.buffers,
            delegate: test.door(test.peer()))
        v4.close()
        v6.close()
    }

    @Test func pausesAndResumes() throws {
        let test = try TestLoop()
        defer { test.end() }
        let door = test.door(test.peer())
        let listener = try listen(test, door)
        listener.pause()
        let near = test.peer()
        let stream = try TCPStream.connect(
            loop: test.loop, to: try #require(listener.localAddress), readPool: test.loop.buffers, delegate: near)
        let later = test.clock {
            #expect(door.streams.isEmpty)
            listener.resume()
        }
        near.onConnected = { _ in later.timer?.arm(after: .milliseconds(10)) }
        door.onAccepted = { _, address in
            #expect(address == stream.localAddress)
            test.loop.stop()
        }
        test.run()
        #expect(door.streams.count == 1)
        test.loop.closeAll()
    }

    /// A connection that nobody wants is closed.
    @Test func unwantedConnectionIsClosed() throws {
        let test = try TestLoop()
        defer { test.end() }
        let listener = try TCPListener(
            loop: test.loop, address: TransportAddress(.loopbackV4, port: 0), readPool: test.loop.buffers,
            delegate: Refuser())
        let near = test.peer()
        let stream = try TCPStream.connect(
            loop: test.loop, to: try #require(listener.localAddress), readPool: test.loop.buffers, delegate: near)
        stream.startReading()
        near.onEnd = { _ in test.loop.stop() }
        test.run()
        #expect(near.ends == 1)
        test.loop.closeAll()
    }

    /// A hundred connections at once: all come, with their addresses.
    @Test func acceptsABurst() throws {
        let test = try TestLoop()
        defer { test.end() }
        let door = test.door(test.peer())
        let listener = try listen(test, door)
        let address = try #require(listener.localAddress)
        var froms: Set<TransportAddress> = []
        door.onAccepted = { stream, from in
            if let from { froms.insert(from) }
            #expect(stream.remoteAddress == from)
            if froms.count == 100 { test.loop.stop() }
        }
        let streams = try (0..<100).map { _ in
            try TCPStream.connect(loop: test.loop, to: address, readPool: test.loop.buffers, delegate: test.peer())
        }
        test.run()
        #expect(Set(streams.compactMap(\.localAddress)) == froms)
        test.loop.closeAll()
    }

    /// Without descriptors the listener pauses, says so, and goes on when there are some: in a process of its own, whose
    /// limit it lowers.
    @Test func survivesWantOfDescriptors() async {
        await #expect(processExitsWith: .success) {
            let test = try TestLoop()
            defer { test.end() }
            let door = test.door(test.peer())
            let listener = try TCPListener(
                loop: test.loop, address: TransportAddress(.loopbackV4, port: 0), readPool: test.loop.buffers,
                delegate: door)
            let address = try #require(listener.localAddress)
            let near = test.peer()
            let streams = try (0..<8).map { _ in
                try TCPStream.connect(loop: test.loop, to: address, readPool: test.loop.buffers, delegate: near)
            }
            // No descriptor is left but those that are open.
            var before = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
            let highest = dup(0)
            close(highest)
            var none = rlimit(rlim_cur: rlim_t(highest), rlim_max: before.rlim_max)
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &none)
            let start = test.loop.now
            var relieved = start
            door.onPaused = {
                guard door.pauses.count == 3 else { return }
                relieved = test.loop.now
                setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &before)
            }
            door.onAccepted = { _, _ in if door.streams.count == streams.count { test.loop.stop() } }
            test.run(atMost: .seconds(10))
            // The test's runtime may give a descriptor back meanwhile, and a connection come early.
            let isRight =
                !test.hasHung && door.streams.count == 8 && door.pauses.count == 3
                && door.pauses.allSatisfy(\.isShortage) && relieved - start >= .milliseconds(200)
            // Without the checks of leaks that a sanitizer makes at the end.
            _exit(isRight ? 0 : 1)
        }
    }

    private func listen(_ test: TestLoop, _ door: Door) throws -> TCPListener {
        try TCPListener(
            loop: test.loop, address: TransportAddress(.loopbackV4, port: 0), readPool: test.loop.buffers,
            delegate: door)
    }
}

private final class Refuser: TCPListenerDelegate {
    func tcpListener(_ listener: TCPListener, accepted stream: TCPStream, from address: TransportAddress) {}
    func tcpListener(_ listener: TCPListener, pausedFor error: UVError) {}
}

@Suite struct UnixListenerTests {
    private static func path() -> String { "/tmp/natfwt-test-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock" }

    @Test(arguments: WriteMode.allCases) func echoes(mode: WriteMode) throws {
        let test = try TestLoop()
        defer { test.end() }
        let there = test.peer()
        let echo = Echo(there, mode)
        let door = test.door(there)
        let path = UnixListenerTests.path()
        let listener = try UnixListener(loop: test.loop, path: path, readPool: test.loop.buffers, delegate: door)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        let here = test.peer()
        let traffic = Traffic(4 << 20)
        here.onConnected = { traffic.push($0, test.loop.buffers) }
        here.onWrote = { stream, _ in traffic.push(stream, test.loop.buffers) }
        here.onReceived = { _, bytes in traffic.check(bytes) }
        here.onEnd = { _ in test.loop.stop() }
        let near = try TCPStream.connectUnix(
            loop: test.loop, path: path, readPool: test.loop.buffers, delegate: here)
        near.startReading()
        test.run()
        #expect(traffic.isIntact && traffic.checked == 4 << 20)
        #expect(near.localAddress == nil && near.remoteAddress == nil)
        withExtendedLifetime(echo) {}
        listener.close()
        #expect(access(path, F_OK) != 0)
        test.loop.closeAll()
    }

    /// A file that a killed process left is replaced, a live one is not.
    @Test func replacesOnlyWhatIsDead() throws {
        let test = try TestLoop()
        defer { test.end() }
        let path = UnixListenerTests.path()
        let first = try UnixListener(
            loop: test.loop, path: path, mode: 0o660, readPool: test.loop.buffers, delegate: test.door(test.peer()))
        #expect(throws: UVError.addressInUse) {
            try UnixListener(loop: test.loop, path: path, readPool: test.loop.buffers, delegate: test.door(test.peer()))
        }
        // As if it had been killed: the socket is gone, the file is there.
        let copy = path + ".dead"
        rename(path, copy)
        first.close()
        rename(copy, path)
        #expect(throws: UVError.connectionRefused) {
            try TCPStream.connectUnix(loop: test.loop, path: path, readPool: test.loop.buffers, delegate: test.peer())
        }
        let second = try UnixListener(
            loop: test.loop, path: path, readPool: test.loop.buffers, delegate: test.door(test.peer()))
        second.close()
        test.settle()
    }

    /// A file that is no socket stays what it is.
    @Test func leavesOtherFilesAlone() throws {
        let test = try TestLoop()
        defer { test.end() }
        let path = UnixListenerTests.path()
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        #expect(throws: UVError.addressInUse) {
            try UnixListener(loop: test.loop, path: path, readPool: test.loop.buffers, delegate: test.door(test.peer()))
        }
        #expect(access(path, F_OK) == 0)
        unlink(path)
        #expect(throws: UVError.self) {
            try UnixListener(
                loop: test.loop, path: "/tmp/" + String(repeating: "x", count: 200), readPool: test.loop.buffers,
                delegate: test.door(test.peer()))
        }
    }
}
