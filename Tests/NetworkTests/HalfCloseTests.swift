// SPDX-License-Identifier: Apache-2.0

import TestSupport
import Testing

/// One conversation through the relay: what each side does, and how it must look to each.
struct HalfCloseCase: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let visitor: String
    let service: String
    /// How the visitor's and the service's reading must end; nil where it does not matter.
    var visitorEnd: String?
    var serviceEnd: String?
    /// What each must have received; nil where a reset may have cut it.
    var visitorReceives: Int?
    var serviceReceives: Int?
    /// Whether a side's sending must fail.
    var visitorFails = false
    var serviceFails = false
}

extension NetworkTests.Programs {
    ///     visitor ◀══▶ relay:7000 ◀══ tunnel ══▶ agent ◀══▶ service
    ///     plays steps                                       plays steps
    ///
    /// Half-close and reset must pass the tunnel as they are: an end of file as an end of file in its own direction, with
    /// the other direction open, and a reset as a reset, never as a clean end that hides what is missing.
    @Suite("Half-close and reset pass through")
    struct HalfCloseTests {
        static let orderly: [HalfCloseCase] = [
            HalfCloseCase(
                testDescription: "the service answers only after end-of-file",
                visitor: "send 1000000; fin; drain", service: "drain; send 500000; close",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 500_000, serviceReceives: 1_000_000),
            HalfCloseCase(
                testDescription: "the service closes first, then the visitor sends",
                visitor: "drain; send 1000000; fin", service: "send 1000; fin; drain",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 1000, serviceReceives: 1_000_000),
            HalfCloseCase(
                testDescription: "the service closes first while the visitor still sends",
                visitor: "send 20000000; drain; fin", service: "send 1000; fin; drain",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 1000, serviceReceives: 20_000_000),
            HalfCloseCase(
                testDescription: "the visitor says nothing but end-of-file",
                visitor: "fin; drain", service: "drain; send 1000; close",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 1000, serviceReceives: 0),
            HalfCloseCase(
                testDescription: "the service says nothing but end-of-file",
                visitor: "drain; send 1000; fin", service: "fin; drain",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 0, serviceReceives: 1000),
            HalfCloseCase(
                testDescription: "both close their sending at once",
                visitor: "send 100000; fin; drain", service: "send 100000; fin; drain",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 100_000, serviceReceives: 100_000),
            HalfCloseCase(
                testDescription: "half-closed first, then much comes the other way",
                visitor: "fin; drain", service: "drain; send 60000000; close",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 60_000_000, serviceReceives: 0),
            HalfCloseCase(
                testDescription: "half-closed by the service first, then much goes to it",
                visitor: "drain; send 60000000; fin", service: "fin; drain",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 0, serviceReceives: 60_000_000),
            HalfCloseCase(
                testDescription: "a pause between the half-close and the answer",
                visitor: "send 10; fin; drain", service: "drain; pause 4000; send 10; close",
                visitorEnd: "eof", serviceEnd: "eof", visitorReceives: 10, serviceReceives: 10),
        ]

        static let abrupt: [HalfCloseCase] = [
            HalfCloseCase(
                testDescription: "the visitor resets", visitor: "send 1000; pause 300; reset", service: "drain",
                serviceEnd: "reset", serviceReceives: 1000),
            HalfCloseCase(
                testDescription: "the service resets", visitor: "send 1000; drain",
                service: "read 1000; send 1000; pause 300; reset", visitorEnd: "reset", visitorReceives: 1000),
            HalfCloseCase(
                testDescription: "the visitor resets while the service sends",
                visitor: "read 100000; reset", service: "send 100000000", serviceFails: true),
            HalfCloseCase(
                testDescription: "the service resets while the visitor sends",
                visitor: "send 100000000", service: "read 100000; reset", visitorFails: true),
            HalfCloseCase(
                testDescription: "the service resets in the middle of its answer",
                visitor: "drain", service: "send 1000000; reset", visitorEnd: "reset"),
            HalfCloseCase(
                testDescription: "the service closes with bytes unread",
                visitor: "send 1000; drain", service: "read 10; pause 300; close", visitorEnd: "reset"),
            HalfCloseCase(
                testDescription: "the service is gone, and the visitor sends on",
                visitor: "drain; send 100000000", service: "send 1000; close", visitorEnd: "eof",
                visitorReceives: 1000, visitorFails: true),
            HalfCloseCase(
                testDescription: "the visitor half-closes, then resets", visitor: "fin; pause 300; reset",
                service: "drain; send 100000000", serviceEnd: "eof", serviceFails: true),
            HalfCloseCase(
                testDescription: "the service half-closes, then resets", visitor: "drain; send 100000000",
                service: "fin; pause 300; reset", visitorEnd: "eof", visitorFails: true),
        ]

        @Test("in order", arguments: orderly)
        func orderlyEnd(_ this: HalfCloseCase) async throws { try await play(this) }

        @Test("by reset", arguments: abrupt)
        func abruptEnd(_ this: HalfCloseCase) async throws { try await play(this) }

        private func play(_ this: HalfCloseCase) async throws {
            try await Lab.deployed([Exposure(.tcp, "127.0.0.1:7000", port: 7000)]) { deployment in
                try await this.play(visitor: deployment.lab.visitor, service: deployment.lab.home)
            }
        }

        @Test("a service that refuses is a reset for the visitor")
        func refusedService() async throws {
            try await Lab.deployed([Exposure(.tcp, "127.0.0.1:7999", port: 7000)]) { deployment in
                let talk = try await deployment.lab.visitor.talk(to: "203.0.113.10", port: 7000, "drain")
                #expect(talk.end == "reset" && talk.received == 0, "\(talk)")
            }
        }
    }
}

extension NetworkTests.LabTests {
    /// The table itself, without any tunnel: what it asks of the relay is what the kernel does between two hosts.
    @Test(
        "half-close cases hold on plain TCP",
        arguments: NetworkTests.Programs.HalfCloseTests.orderly + NetworkTests.Programs.HalfCloseTests.abrupt)
    func halfCloseTable(_ this: HalfCloseCase) async throws {
        try await Lab.run { lab in try await this.play(visitor: lab.visitor, service: lab.relay) }
    }
}

extension HalfCloseCase {
    /// Plays the case with the service at port 7000 of one machine, and the visitor going to the relay's port 7000, or where
    /// it is told to.
    func play(visitor: Namespace, service: Namespace, at address: String = "203.0.113.10") async throws {
        let server = try await service.serve(port: 7000, self.service)
        let went = try await visitor.talk(to: address, port: 7000, self.visitor)
        try await server.says("{")
        let served = try Talk.last(in: server.output)
        if let visitorEnd { #expect(went.end == visitorEnd, "visitor: \(went)") }
        if let serviceEnd { #expect(served.end == serviceEnd, "service: \(served)") }
        if let visitorReceives { try await check(went, received: visitorReceives) }
        if let serviceReceives { try await check(served, received: serviceReceives) }
        #expect((went.failed != nil) == visitorFails, "visitor: \(went)")
        #expect((served.failed != nil) == serviceFails, "service: \(served)")
        try await server.stop()
    }

    private func check(_ talk: Talk, received count: Int) async throws {
        #expect(talk.received == count, "\(talk)")
        let expected = try await Talk.expected(count)
        #expect(talk.sha256 == expected, "what was received is not what was sent")
    }
}
