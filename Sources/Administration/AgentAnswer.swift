// SPDX-License-Identifier: Apache-2.0

/// The first line of an answer that lasts: whether what was asked for is being done. The same line later on tells that it
/// is no longer.
public enum AgentAnswer: Equatable, Sendable {
    case ok
    /// What is needed is not there; the command ends with ``ExitStatus/unavailable``.
    case unavailable(String)
    /// It is not allowed; the command ends with ``ExitStatus/refused``.
    case refused(String)

    private static let error = "error: "
    private static let refusal = "refused: "

    /// `ok`, `error: TEXT`, or `error: refused: TEXT`.
    public var line: String {
        switch self {
        case .ok: "ok"
        case .unavailable(let text): AgentAnswer.error + AgentAnswer.oneLine(text)
        case .refused(let text): AgentAnswer.error + AgentAnswer.refusal + AgentAnswer.oneLine(text)
        }
    }

    /// Nil for a line that says something else.
    public init?(line: some StringProtocol) {
        if line == "ok" {
            self = .ok
        } else if line.hasPrefix(AgentAnswer.error) {
            let text = line.dropFirst(AgentAnswer.error.count)
            self =
                text.hasPrefix(AgentAnswer.refusal)
                ? .refused(String(text.dropFirst(AgentAnswer.refusal.count))) : .unavailable(String(text))
        } else {
            return nil
        }
    }

    /// Why the command fails; nil for ``ok``.
    public var failure: StartFailure? {
        switch self {
        case .ok: nil
        case .unavailable(let text): StartFailure(status: .unavailable, message: text)
        case .refused(let text): StartFailure(status: .refused, message: text)
        }
    }

    private static func oneLine(_ text: String) -> String { String(text.map { $0.isNewline ? " " : $0 }) }
}
