// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import TLS

/// Connections without a handshake, whose sides have a secret already.
@Suite struct SharedSecretTests {
    static let suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
    private static let secret = pattern(32)

    @Test(arguments: suites) func bothWays(suite: String) throws {
        let client = try Endpoint(.client, secret: Self.secret, suite: suite)
        let server = try Endpoint(.server, secret: Self.secret, suite: suite)
        #expect(client.engine.state == .established && client.engine.cipherSuite == suite)
        try server.receive(client.seal(pattern(100_000)))
        try client.receive(server.seal(pattern(70_000)))
        #expect(server.plaintext == pattern(100_000) && client.plaintext == pattern(70_000))
    }

    /// The two directions have keys of their own: what comes back as it went is no record of the other side.
    @Test func whatIsSentBackIsRefused() throws {
        let client = try Endpoint(.client, secret: Self.secret, suite: Self.suites[0])
        let record = client.seal([1, 2, 3])
        #expect(throws: TLSError.self) { try client.receive(record) }
        let twin = try Endpoint(.client, secret: Self.secret, suite: Self.suites[0])
        #expect(throws: TLSError.self) { try twin.receive(record) }
        #expect(twin.plaintext.isEmpty)
    }

    @Test func anotherSecretOpensNothing() throws {
        let client = try Endpoint(.client, secret: Self.secret, suite: Self.suites[0])
        let server = try Endpoint(.server, secret: Self.secret.reversed(), suite: Self.suites[0])
        let record = client.seal([1, 2, 3])
        #expect(throws: TLSError.self) { try server.receive(record) }
    }

    @Test func anUnknownSuiteIsAnError() {
        #expect(throws: TLSError.self) { try Endpoint(.client, secret: Self.secret, suite: "TLS_NULL") }
    }
}
