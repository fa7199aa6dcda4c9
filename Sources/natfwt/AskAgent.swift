// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop
import Settings

/// Which running agent a command asks.
struct AgentSocket: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The agent's admin socket. Default: that of the user's own agent; where that does not run, of the system's.",
            valueName: "path"))
    var socket: String?

    /// Where an agent may listen: as given, or all places that there are.
    private var places: [String] { socket.map { [$0] } ?? DefaultPlace.agentSockets }

    /// The first place at which somebody listens; else one that could not be looked at, which says more than one at which
    /// there is nobody.
    var path: String {
        let places = places
        guard places.count > 1 else { return places[0] }
        let found = places.map { (path: $0, obstacle: UnixListener.obstacle(at: $0)) }
        let best = found.first { $0.obstacle == nil } ?? found.first { $0.obstacle?.isAbsence == false }
        return (best ?? found[0]).path
    }

    /// Why the agent at ``path`` could not be asked.
    func outcome(of error: UVError, _ path: String) -> AgentOutcome {
        if error.isAbsence {
            let advice = "start it (natfwt agent), or systemctl start natfwt-agent"
            let nowhere = places.joined(separator: " or ")
            return .absent(
                StartFailure(
                    status: .unavailable, message: "no agent runs here: \(advice) (nobody listens at \(nowhere))"))
        }
        let message =
            if error.isTimeout { "the agent does not answer: it is stopped, or hangs" } else if error.isPermissionDenied
            {
                "\(error.message): only the agent's user\(DefaultPlace.members(of: path)) may ask it"
            } else { error.message }
        return .failed(StartFailure(status: .unavailable, message: "\(path): \(message)"))
    }

    /// The same as a failure.
    func failure(of error: UVError, _ path: String) -> StartFailure {
        switch outcome(of: error, path) {
        case .failed(let failure), .absent(let failure): failure
        case .done: StartFailure(status: .unavailable, message: error.message)
        }
    }
}

extension UVError {
    /// Nobody is there: no such file, or one that is left of a program that has ended.
    var isAbsence: Bool { isRefused || name == "ENOENT" }
}

/// How asking an agent went.
enum AgentOutcome {
    case done
    case failed(StartFailure)
    /// No agent runs here.
    case absent(StartFailure)
}

extension AgentRequest {
    /// Sends the request, prints what is answered, and ends with the conversation: with success after Ctrl-C or where
    /// there was an end to come to, else with what the agent says is wrong. Where only Ctrl-C is a good end, an agent that
    /// stops is waited for and asked again.
    /// - Parameters:
    ///   - started: what is said once the agent does as it was asked; nil: nothing.
    ///   - lasts: whether only Ctrl-C is a good end.
    func run(_ agent: AgentSocket, started: String? = nil, lasts: Bool) throws(StartFailure) {
        switch outcome(agent, started: started, lasts: lasts) {
        case .done: return
        case .failed(let failure), .absent(let failure): throw failure
        }
    }

    /// How often an agent that has stopped is looked for.
    private static let pause: Duration = .seconds(1)

    /// As ``run(_:started:lasts:)``.
    func outcome(_ agent: AgentSocket, started: String? = nil, lasts: Bool) -> AgentOutcome {
        let path = agent.path
        var isAnswered = false
        var hasBegun = false
        var failure: StartFailure?
        do throws(UVError) {
            let again: (UVError?) -> Duration? = { error in
                guard lasts, hasBegun, failure == nil, error.map(AgentRequest.mayPass) ?? true else { return nil }
                if isAnswered { complain("warning: the agent has stopped; waiting until it is back") }
                isAnswered = false
                return AgentRequest.pause
            }
            let end = try AdministrationClient.converse(text, path: path, again: again) { line in
                let answer = AgentAnswer(line: line)
                failure = failure ?? answer?.failure
                if answer == nil { AgentRequest.show(line) }
                if answer == .ok, !isAnswered, let started { AgentRequest.show(started) }
                isAnswered = true
                hasBegun = hasBegun || answer == .ok
            }
            if let failure { return .failed(failure) }
            if end != .program || isAnswered && !lasts { return .done }
        } catch { return agent.outcome(of: error, path) }
        return .failed(StartFailure(status: .unavailable, message: "\(path): the agent did not answer"))
    }

    private static func show(_ line: String) {
        do { try say(line) } catch { Command.exit(withError: error) }
    }

    /// Whether an agent that was there may come back after this.
    private static func mayPass(_ error: UVError) -> Bool { error.isAbsence || error.isReset }
}
