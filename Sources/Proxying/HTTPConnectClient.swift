// SPDX-License-Identifier: Apache-2.0

internal import Primitives

/// The client's half of CONNECT (RFC 9110, 9.3.6).
struct HTTPConnectClient: Sendable {
    private let destination: ProxyDestination
    private let credentials: ProxyCredentials?
    private let headBound: Int
    private var scanner: HTTPHeadScanner?
    /// Heads of interim responses, of which a proxy may send many, count against the bound too.
    private var skipped = 0

    init(destination: ProxyDestination, credentials: ProxyCredentials?, headBound: Int) {
        self.destination = destination
        self.credentials = credentials
        self.headBound = headBound
    }

    /// What is to be done, and how many of the bytes that takes.
    mutating func next(_ bytes: [UInt8]) -> (event: ProxyClientEvent, size: Int) {
        do throws(ProxyClientError) {
            guard scanner != nil else {
                let request = try request()
                scanner = HTTPHeadScanner()
                return (.write(request), 0)
            }
            let bound = headBound - skipped
            guard let size = scanner?.end(in: bytes, bound: bound) else {
                guard bytes.count < bound else { throw .malformed("its head is longer than \(headBound) bytes") }
                return (.needMore, 0)
            }
            if try judge(bytes[..<size]) { return (.connected(bound: nil), size) }
            skipped += size
            scanner = HTTPHeadScanner()
            return (.needMore, size)
        } catch {
            return (.failed(error), 0)
        }
    }

    /// RFC 9112, 3.2.3 and 3.2.
    private func request() throws(ProxyClientError) -> [UInt8] {
        let authority = destination.description
        // What reads back as something else would be another request.
        guard HostAndPort(authority).map(ProxyDestination.init) == destination, destination.port > 0 else {
            throw .unusable("a destination of this kind can't be asked of an HTTP proxy")
        }
        var text = "CONNECT \(authority) HTTP/1.1\r\nHost: \(authority)\r\n"
        if let credentials {
            guard let token = credentials.basic else {
                throw .unusable("a user name for an HTTP proxy can't have a colon")
            }
            text += "Proxy-Authorization: Basic \(token)\r\n"
        }
        return Array("\(text)\r\n".utf8)
    }

    /// Whether the response is the final one, and good. RFC 9110, 9.3.6: any 2xx is, and its fields on content mean
    /// nothing. RFC 9110, 15.2: others of 1xx come before it; 101 would be another protocol.
    private func judge(_ bytes: ArraySlice<UInt8>) throws(ProxyClientError) -> Bool {
        let head: HTTPHead
        do { head = try HTTPHead(bytes) } catch { throw .malformed(error.text) }
        guard let (code, phrase) = HTTPConnectClient.status(head.startLine) else {
            throw .malformed("it is no HTTP/1.1")
        }
        switch code {
        case 100, 102...199: return false
        case 200...299: return true
        case 407: throw credentials == nil ? .authenticationRequired : .authenticationRefused
        default: throw .status(code, phrase: phrase)
        }
    }

    /// RFC 9112, 4: version, space, three digits, space, phrase. The last space is left out by many.
    private static func status(_ line: String) -> (code: Int, phrase: String)? {
        let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, parts[0] == "HTTP/1.1" || parts[0] == "HTTP/1.0", parts[1].utf8.count == 3,
            parts[1].utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let code = Int(parts[1])
        else { return nil }
        let phrase = parts.count == 3 ? String(parts[2].unicodeScalars.filter { (0x20...0x7E).contains($0.value) }) : ""
        return (code, String(phrase.prefix(100)))
    }
}
