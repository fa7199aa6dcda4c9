// SPDX-License-Identifier: Apache-2.0

import Administration
import ArgumentParser
import EventLoop
import Settings

/// Which running agent a command asks.
struct AgentSocket: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The agent's admin socket. Default: admin-socket of the agent's settings on this host.", valueName: "path"))
    var socket: String?

    /// The socket's path: as given, as the settings say where they can be read, or the usual one. A user without an agent
    /// of its own is led to the system's; the socket's mode says whether it may ask there.
    var path: String {
        if let socket { return socket }
        let file = DefaultPlace.agentFile
        if DefaultPlace.exists(file), let settings = try? AgentSettings.load(path: file) { return settings.adminSocket }
        let own = "\(DefaultPlace.sockets)/agent.sock"
        let system = AgentSettings().adminSocket
        return !DefaultPlace.exists(own) && DefaultPlace.exists(system) ? system : own
    }
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
        } catch { return AgentRequest.outcome(of: error, path) }
        return .failed(StartFailure(status: .unavailable, message: "\(path): the agent did not answer"))
    }

    private static func show(_ line: String) {
        do { try say(line) } catch { Command.exit(withError: error) }
    }

    /// Why an agent could not be asked.
    static func failure(of error: UVError, _ path: String) -> StartFailure {
        switch outcome(of: error, path) {
        case .failed(let failure), .absent(let failure): failure
        case .done: StartFailure(status: .unavailable, message: error.message)
        }
    }

    /// Whether no agent is there.
    private static func isAbsence(_ error: UVError) -> Bool { error.isRefused || error.name == "ENOENT" }

    /// Whether an agent that was there may come back after this.
    private static func mayPass(_ error: UVError) -> Bool { isAbsence(error) || error.isReset }

    private static func outcome(of error: UVError, _ path: String) -> AgentOutcome {
        if isAbsence(error) {
            let advice = "start it (natfwt agent), or systemctl start natfwt-agent"
            return .absent(
                StartFailure(
                    status: .unavailable, message: "no agent runs here: \(advice) (\(path): \(error.message))"))
        }
        let message =
            if error.isTimeout { "the agent does not answer" } else if error.isPermissionDenied {
                "\(error.message): only the agent's user and group may ask it"
            } else { error.message }
        return .failed(StartFailure(status: .unavailable, message: "\(path): \(message)"))
    }
}
