// SPDX-License-Identifier: Apache-2.0

/// The status codes that a proxy for CONNECT answers with: RFC 9110, 15, and RFC 6585, 5.
public enum HTTPStatus: Int, Hashable, Sendable, CaseIterable {
    case ok = 200
    case badRequest = 400
    /// The rules of the proxy forbid it.
    case forbidden = 403
    case methodNotAllowed = 405
    case proxyAuthenticationRequired = 407
    case uriTooLong = 414
    case requestHeaderFieldsTooLarge = 431
    /// The destination can't be reached.
    case badGateway = 502
    /// The destination does not answer.
    case gatewayTimeout = 504
    case versionNotSupported = 505

    /// The words behind the code.
    var phrase: String {
        switch self {
        case .ok: "Connection established"
        case .badRequest: "Bad Request"
        case .forbidden: "Forbidden"
        case .methodNotAllowed: "Method Not Allowed"
        case .proxyAuthenticationRequired: "Proxy Authentication Required"
        case .uriTooLong: "URI Too Long"
        case .requestHeaderFieldsTooLarge: "Request Header Fields Too Large"
        case .badGateway: "Bad Gateway"
        case .gatewayTimeout: "Gateway Timeout"
        case .versionNotSupported: "HTTP Version Not Supported"
        }
    }

    /// The fields that the code asks for: RFC 9110, 15.5.6 and 15.5.8.
    fileprivate var fields: String {
        switch self {
        case .methodNotAllowed: "Allow: CONNECT\r\n"
        case .proxyAuthenticationRequired: "Proxy-Authenticate: Basic realm=\"proxy\", charset=\"UTF-8\"\r\n"
        default: ""
        }
    }
}

/// The answers of a proxy for CONNECT.
public enum HTTPResponse {
    /// A whole response. After ``HTTPStatus/ok`` the connection is the application's (RFC 9110, 9.3.6, which forbids it any
    /// field on content); after any other it is to be ended, as the response says.
    /// - Parameter text: why, in words for people, as the content. Its line end is added.
    public static func bytes(_ status: HTTPStatus, because text: String = "") -> [UInt8] {
        let line = "HTTP/1.1 \(status.rawValue) \(status.phrase)\r\n"
        guard status != .ok else { return Array("\(line)\r\n".utf8) }
        let content = Array("\(text.isEmpty ? status.phrase : text)\n".utf8)
        let head = """
            \(line)\(status.fields)Content-Type: text/plain; charset=utf-8\r
            Content-Length: \(content.count)\r
            Connection: close\r
            \r\n
            """
        return Array(head.utf8) + content
    }
}
