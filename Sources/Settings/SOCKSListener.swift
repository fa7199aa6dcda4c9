// SPDX-License-Identifier: Apache-2.0

public import Primitives

/// A listener for programs that know proxies, SOCKS5 and HTTP CONNECT on one port: the table `[socks]`.
public struct SOCKSListener: Hashable, Sendable {
    /// Where it listens on this host.
    public var listen: [TransportAddress]
    /// What programs must know; nil: nothing.
    public var credentials: SOCKSCredentials?

    public init(listen: [TransportAddress], credentials: SOCKSCredentials? = nil) {
        self.listen = listen
        self.credentials = credentials
    }

    /// Whether any host of a network may use it without knowing anything.
    public var isOpenToOthers: Bool { credentials == nil && !listen.allSatisfy(\.ip.isLoopback) }
}

/// A user's name and password, each of 1 to 255 bytes (RFC 1929, 2), and no colon in the name (RFC 7617, 2).
public struct SOCKSCredentials: Hashable, Sendable {
    public let user: String
    public let password: String

    /// Nil where a SOCKS5 or an HTTP client could not say these.
    public init?(user: String, password: String) {
        guard SOCKSCredentials.isUser(user), SOCKSCredentials.isPassword(password) else { return nil }
        self.user = user
        self.password = password
    }

    /// What to tell a person whose name or password was refused.
    public static let expectedUser = "a user name of 1 to 255 bytes without a colon"
    /// As ``expectedUser``.
    public static let expectedPassword = "a password of 1 to 255 bytes"

    static func isUser(_ text: String) -> Bool { isPassword(text) && !text.utf8.contains(UInt8(ascii: ":")) }
    static func isPassword(_ text: String) -> Bool { (1...255).contains(text.utf8.count) }
}

extension SOCKSCredentials: CustomStringConvertible, CustomReflectable {
    /// The user's name. The password is never printed.
    public var description: String { user }
    public var customMirror: Mirror { Mirror(self, children: ["user": user]) }
}

extension TableReader {
    /// The table `[socks]`.
    mutating func socks(_ places: inout ListeningPlaces) -> SOCKSListener? {
        let listenLine = line(of: "listen")
        let (userLine, passwordLine) = (line(of: "user"), line(of: "password"))
        let (hasUser, hasPassword) = (has("user"), has("password"))
        let listen = listening()
        let user = secret("user", expected: SOCKSCredentials.expectedUser, SOCKSCredentials.isUser)
        let password = secret("password", expected: SOCKSCredentials.expectedPassword, SOCKSCredentials.isPassword)
        finish()
        if hasUser && !hasPassword { problem("user", line: userLine, "is of no use without a password") }
        if hasPassword && !hasUser { problem("password", line: passwordLine, "is of no use without a user") }
        guard let listen else { return nil }
        places.take(listen, line: line, listenLine: listenLine, of: self)
        guard let user, let password else { return SOCKSListener(listen: listen) }
        return SOCKSListener(listen: listen, credentials: SOCKSCredentials(user: user, password: password))
    }

    /// A text that no error shows.
    private mutating func secret(_ key: String, expected: String, _ isRight: (String) -> Bool) -> String? {
        let line = line(of: key)
        let read: String?? = value(key, expected: expected) { value in
            if case .string(let text) = value, isRight(text) { .some(text) } else { .some(nil) }
        }
        if case .some(nil) = read { problem(key, line: line, "expected \(expected)") }
        return read ?? nil
    }
}
