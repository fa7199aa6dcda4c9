// SPDX-License-Identifier: Apache-2.0

import ConnectivityPlatform
import EventLoop
import Primitives
import Redirection
import Settings
import Telemetry
import TestSupport
import Testing
import Tunneling

@testable import Agent

/// A session that writes down what the relay is asked for.
private final class Session: ExposingSession {
    var tunnel: Tunnel? { nil }
    var asked: [ExposeRequest] = []
    var givenBack: [UInt32] = []
    func expose(_ request: ExposeRequest) { asked.append(request) }
    func unexpose(_ id: UInt32) { givenBack.append(id) }
}

@Suite struct ExposuresTests {
    /// What a test has to do with.
    private struct Fixture {
        let loop: EventLoop
        let services: ServiceDirectory
        let exposures: Exposures
        let log = MemoryLog()

        init() throws {
            loop = try EventLoop()
            let limits = ServiceLimits(connectTimeout: .seconds(1), flowTimeout: .seconds(1), flows: 10)
            services = ServiceDirectory(loop: loop, limits: limits, log: LogSampler(log.logger))
            exposures = Exposures(services: services, logger: log.logger)
        }

        func answer(_ session: Session, _ id: UInt32, port: UInt16, at seconds: UInt64 = 0) {
            let refusal = port == 0 ? "because of the test" : ""
            exposures.received(
                ExposeAnswer(id: id, port: port, refusal: refusal), from: session, at: at(seconds))
        }
    }

    private static func at(_ seconds: UInt64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

    private func exposure(_ port: UInt16, service: UInt16 = 22, name: String = "", udp: Bool = false)
        -> Settings.Exposure
    {
        Settings.Exposure(
            transport: udp ? .udp : .tcp, service: HostAndPort(host: "127.0.0.1", port: service), port: port, name: name
        )
    }

    @Test func nothingIsAskedWithoutASession() throws {
        let fixture = try Fixture()
        fixture.exposures.apply([exposure(2_222), exposure(0, service: 53, name: "dns", udp: true)])
        #expect(fixture.exposures.entries.map(\.state) == [.wanted, .wanted])
        let session = Session()
        fixture.exposures.sessionActive(session)
        #expect(
            session.asked == [
                ExposeRequest(id: 1, transport: .tcp, port: 2_222, name: "127.0.0.1:22"),
                ExposeRequest(id: 2, transport: .udp, port: 0, name: "dns"),
            ])
        #expect(fixture.exposures.entries.map(\.state) == [.asked, .asked])
        fixture.answer(session, 1, port: 2_222)
        fixture.answer(session, 2, port: 20_053)
        #expect(fixture.exposures.entries.map(\.state) == [.exposed(2_222), .exposed(20_053)])
        fixture.exposures.retry(now: Self.at(1_000))
        #expect(session.asked.count == 2, "what is there is not asked for again")
    }

    /// What stays is not touched, what is new is asked for, what is gone is given back.
    @Test func reload() throws {
        let fixture = try Fixture()
        let session = Session()
        let (kept, gone, new) = (exposure(1_001), exposure(1_002), exposure(1_003))
        fixture.exposures.apply([kept, gone])
        fixture.exposures.sessionActive(session)
        fixture.answer(session, 1, port: 1_001)
        fixture.answer(session, 2, port: 1_002)
        fixture.exposures.apply([new, kept])
        #expect(session.givenBack == [2])
        #expect(fixture.log.lines.filter { $0.contains("no longer exposed") && $0.contains("1002") }.count == 1)
        #expect(session.asked.map(\.port) == [1_001, 1_002, 1_003])
        #expect(fixture.exposures.entries.map(\.exposure) == [kept, new])
        #expect(fixture.exposures.entries.map(\.state) == [.exposed(1_001), .asked])
        fixture.answer(session, 2, port: 1_002)
        #expect(fixture.exposures.entries.count == 2, "a late answer for what is gone is nothing")
        fixture.exposures.apply([new, kept])
        #expect(session.asked.count == 3 && session.givenBack.count == 1, "the same settings change nothing")
        fixture.exposures.apply([])
        #expect(session.givenBack == [2, 1, 3])
    }

    /// The same public port for another service is another exposure.
    @Test func serviceChanges() throws {
        let fixture = try Fixture()
        let session = Session()
        fixture.exposures.apply([exposure(1_001, service: 22)])
        fixture.exposures.sessionActive(session)
        fixture.answer(session, 1, port: 1_001)
        fixture.exposures.apply([exposure(1_001, service: 23)])
        #expect(session.givenBack == [1])
        #expect(session.asked.last == ExposeRequest(id: 2, transport: .tcp, port: 1_001, name: "127.0.0.1:23"))
    }

    /// Soon at first, then less often, up to 30 s.
    @Test func refusedIsTriedAgain() throws {
        let fixture = try Fixture()
        let session = Session()
        fixture.exposures.apply([exposure(1_001)])
        fixture.exposures.sessionActive(session)
        var now: UInt64 = 100
        for wait in [1, 2, 4, 8, 16, 30, 30] as [UInt64] {
            let asked = session.asked.count
            fixture.answer(session, 1, port: 0, at: now)
            #expect(
                fixture.exposures.entries[0].state
                    == .refused("because of the test", retryAt: Self.at(now + wait)))
            fixture.exposures.retry(now: Self.at(now + wait - 1))
            #expect(session.asked.count == asked)
            now += wait
            fixture.exposures.retry(now: Self.at(now))
            #expect(session.asked.count == asked + 1)
        }
        let errors = fixture.log.lines.filter { $0.contains("error") && $0.contains("refuses") }
        #expect(errors.count == 1, "the first is an error, the rest is known")
        fixture.answer(session, 1, port: 1_001, at: now)
        #expect(fixture.exposures.entries[0].state == .exposed(1_001))
    }

    /// A port that the relay chose is asked for by number in the next session, and no more once it was refused.
    @Test func chosenPortIsRemembered() throws {
        let fixture = try Fixture()
        let (first, second) = (Session(), Session())
        fixture.exposures.apply([exposure(0, name: "ssh")])
        fixture.exposures.sessionActive(first)
        fixture.answer(first, 1, port: 20_007)
        fixture.exposures.sessionEnded()
        #expect(fixture.exposures.entries[0].state == .wanted)
        fixture.exposures.sessionActive(second)
        #expect(second.asked == [ExposeRequest(id: 1, transport: .tcp, port: 20_007, name: "ssh")])
        fixture.answer(second, 1, port: 0)
        fixture.exposures.retry(now: Self.at(60))
        #expect(second.asked.last?.port == 0)
    }

    /// An answer of a session that is over is not believed.
    @Test func lateAnswerOfAnotherSession() throws {
        let fixture = try Fixture()
        let (first, second) = (Session(), Session())
        fixture.exposures.apply([exposure(1_001)])
        fixture.exposures.sessionActive(first)
        fixture.exposures.sessionEnded()
        fixture.answer(first, 1, port: 1_001)
        #expect(fixture.exposures.entries[0].state == .wanted)
        fixture.exposures.sessionActive(second)
        fixture.answer(first, 1, port: 1_001)
        #expect(fixture.exposures.entries[0].state == .asked)
        fixture.answer(second, 1, port: 1_001)
        #expect(fixture.exposures.entries[0].state == .exposed(1_001))
    }

    /// The relay takes a port away while it is exposed.
    @Test func portIsTakenAway() throws {
        let fixture = try Fixture()
        let session = Session()
        fixture.exposures.apply([exposure(1_001)])
        fixture.exposures.sessionActive(session)
        fixture.answer(session, 1, port: 1_001)
        fixture.answer(session, 1, port: 0, at: 10)
        #expect(fixture.exposures.entries[0].state == .refused("because of the test", retryAt: Self.at(11)))
    }

    /// Any order of events keeps each wish known once, and asked for at most once at a time.
    @Test(arguments: UInt64(1)...30) func anyOrder(seed: UInt64) throws {
        let fixture = try Fixture()
        var random = SeededRandom(seed)
        var session: Session?
        let all = (UInt16(1)...6).map { exposure(1_000 + $0) }
        var wanted: [Settings.Exposure] = []
        for step in 0..<300 {
            switch Int.random(in: 0..<5, using: &random) {
            case 0:
                wanted = all.filter { _ in Bool.random(using: &random) }.shuffled(using: &random)
                fixture.exposures.apply(wanted)
            case 1:
                let fresh = Session()
                session = fresh
                fixture.exposures.sessionActive(fresh)
            case 2:
                session = nil
                fixture.exposures.sessionEnded()
            case 3:
                guard let session, let request = session.asked.randomElement(using: &random) else { continue }
                fixture.answer(session, request.id, port: Bool.random(using: &random) ? request.port : 0)
            default: fixture.exposures.retry(now: Self.at(UInt64(step)))
            }
            let entries = fixture.exposures.entries
            #expect(Set(entries.map(\.exposure)) == Set(wanted), "seed \(seed), step \(step)")
            #expect(Set(entries.map(\.id)).count == wanted.count, "seed \(seed), step \(step)")
            let waiting = entries.filter { $0.state == .wanted }.count
            #expect(session == nil ? waiting == entries.count : waiting == 0, "seed \(seed), step \(step)")
        }
    }
}
