// SPDX-License-Identifier: Apache-2.0

import Administration
import EventLoop
import Glibc

/// A command in the foreground, from its start to its end.
///
/// Signals that come to this program are the command's too. Those that the terminal sends it sends to both by itself.
final class RunningCommand {
    private let program: ProgramFile
    private let words: Int
    private let means: RedirectionMeans
    private let onlyWay: RedirectionWay?
    private var kernel: KernelWay?
    /// 0 before its start.
    private var process: pid_t = 0
    private var status: Int32?
    private var refusal: StartFailure?
    private var isGranted = false

    private static let forwarded = [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH]
    /// What cannot be started (POSIX, "Exit Status for Commands").
    private static let notFound: Int32 = 127
    private static let notExecutable: Int32 = 126

    /// - Parameters:
    ///   - words: how many of the last words of this program's command line are the command's, its name included: they are
    ///     passed on as they are, UTF-8 or not.
    ///   - onlyWay: the way in which its sockets are redirected; nil for the best that there is.
    init(_ program: ProgramFile, words: Int, means: RedirectionMeans, onlyWay: RedirectionWay?) {
        self.program = program
        self.words = words
        self.means = means
        self.onlyWay = onlyWay
    }

    /// Runs it to its end.
    /// - Returns: its exit status; 128 and the signal's number where a signal has ended it.
    func run(_ agent: AgentSocket, egress: Bool) throws(StartFailure) -> Int32 {
        let socket = agent.path
        defer { kernel?.close() }
        // What was ignored stays so, as nohup(1) has it.
        let signals = RunningCommand.forwarded.filter { !RunningCommand.isIgnored($0) } + [SIGCHLD]
        let end: ConversationEnd
        do throws(UVError) {
            end = try AdministrationClient.converse(
                AgentRequest.run(egress: egress).text, path: socket, signals: signals,
                signalled: { [self] in signalled($0) }, received: { [self] in received($0) })
        } catch {
            guard process == 0 else { return wait() }
            throw agent.failure(of: error, socket)
        }
        if let refusal, process == 0 { throw refusal }
        if end == .program {
            guard process > 0 else {
                throw StartFailure(status: .unavailable, message: "\(socket): the agent did not answer")
            }
            kernel?.end()
            complain("warning: the agent has stopped: the command reaches the other nodes no more")
        }
        return wait()
    }

    private func received(_ line: String) {
        if let answer = AgentAnswer(line: line) {
            refusal = refusal ?? answer.failure
            isGranted = answer == .ok
        } else if isGranted, process == 0 {
            start(line)
        }
    }

    // MARK: The process

    /// Starts it. Where that fails the status is there at once.
    private func start(_ surroundings: String) {
        do throws(StartFailure) {
            try prepare(surroundings)
        } catch {
            refusal = error
            return end(error.status.rawValue)
        }
        var environment = RunningCommand.environment(without: ["NATFWT_RUN", "LD_PRELOAD"])
        let loaded = DefaultPlace.environment("LD_PRELOAD")
        // Where the kernel leads the sockets the library knows names still.
        let library = means.interposer.path
        let told = kernel == nil ? surroundings : KernelWay.onlyNames(surroundings)
        if library != nil { environment.append(Array("NATFWT_RUN=\(told)".utf8CString)) }
        let libraries = [library, loaded].compactMap(\.self).joined(separator: ":")
        if !libraries.isEmpty { environment.append(Array("LD_PRELOAD=\(libraries)".utf8CString)) }
        let first = Int(CommandLine.argc) - words
        let arguments = (0..<words).map { unsafe RunningCommand.bytes(of: CommandLine.unsafeArgv[first + $0]) }
        let code = spawn(arguments, environment)
        guard code != 0 else { return }
        complain("error: \(program.path): \(unsafe String(cString: strerror(code)))")
        end(code == ENOENT ? RunningCommand.notFound : RunningCommand.notExecutable)
    }

    /// It is over before it has begun.
    private func end(_ status: Int32) {
        self.status = status
        kill(getpid(), SIGCHLD)
    }

    /// Finds the way, and says what it does not do.
    private func prepare(_ surroundings: String) throws(StartFailure) {
        let name = program.path
        if program.isOtherUsers {
            complain("warning: \(name) runs as another user (setuid): its connections are not redirected")
        }
        var missing = ""
        if onlyWay != .preload {
            do throws(StartFailure) {
                return kernel = try KernelWay(try means.kernel.get(), surroundings)
            } catch {
                guard onlyWay == nil else { throw error }
                missing = error.message
            }
        }
        _ = try means.interposer.get()
        guard let obstacle = program.obstacle else { return }
        complain(
            "warning: \(name) \(obstacle): its connections are not redirected"
                + (missing.isEmpty ? "" : ", for \(missing)"))
    }

    private func spawn(_ arguments: [[CChar]], _ environment: [[CChar]]) -> Int32 {
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // Ignored here for the sake of sockets.
        var defaults = sigset_t()
        unsafe sigemptyset(&defaults)
        unsafe sigaddset(&defaults, SIGPIPE)
        unsafe posix_spawnattr_setsigdefault(&attributes, &defaults)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
        let argv = unsafe arguments.map { unsafe strdup($0) } + [nil]
        let envp = unsafe environment.map { unsafe strdup($0) } + [nil]
        defer { unsafe (argv + envp).forEach { unsafe free($0) } }
        if let kernel { return unsafe kernel.start(program.path, argv, envp, &process) }
        return unsafe posix_spawn(&process, program.path, nil, &attributes, argv, envp)
    }

    private static func bytes(of text: UnsafeMutablePointer<CChar>?) -> [CChar] {
        guard let text = unsafe text else { return [0] }
        return unsafe Array(UnsafeBufferPointer(start: text, count: strlen(text) + 1))
    }

    private static func environment(without names: [String]) -> [[CChar]] {
        var entries: [[CChar]] = []
        var next = unsafe environ
        while let entry = unsafe next.pointee {
            let text = unsafe bytes(of: entry)
            let isLeftOut = names.contains { name in text.starts(with: "\(name)=".utf8CString.dropLast()) }
            if !isLeftOut { entries.append(text) }
            unsafe next += 1
        }
        return entries
    }

    // MARK: Signals

    /// - Returns: whether it is over.
    private func signalled(_ signal: Int32) -> Bool {
        guard signal == SIGCHLD else {
            if process == 0 { return true }
            if !RunningCommand.comesFromTerminal(signal) { kill(process, signal) }
            return false
        }
        return status != nil || reap(WNOHANG)
    }

    private func reap(_ options: Int32) -> Bool {
        var found: Int32 = 0
        var answer: pid_t
        repeat { answer = unsafe waitpid(process, &found, options) } while answer < 0 && errno == EINTR
        guard answer == process else { return false }
        let signal = found & 0x7F
        status = signal == 0 ? found >> 8 & 0xFF : 128 + signal
        return true
    }

    private func wait() -> Int32 {
        if process == 0, status == nil { return 128 + SIGINT }
        if status == nil { _ = reap(0) }
        return status ?? RunningCommand.notExecutable
    }

    private static func isIgnored(_ signal: Int32) -> Bool {
        var action = sigaction()
        guard unsafe sigaction(signal, nil, &action) == 0 else { return false }
        return unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    }

    /// Ctrl-C and the like go to all of the terminal's foreground processes.
    private static func comesFromTerminal(_ signal: Int32) -> Bool {
        guard [SIGINT, SIGQUIT, SIGWINCH].contains(signal) else { return false }
        let terminal = unsafe open("/dev/tty", O_RDONLY | O_CLOEXEC | O_NOCTTY)
        guard terminal >= 0 else { return false }
        defer { close(terminal) }
        return tcgetpgrp(terminal) == getpgrp()
    }
}
