// SPDX-License-Identifier: Apache-2.0

import Foundation
import Synchronization
import TestSupport

/// A folder for runs of `deploy/demo`, with the program that they are given: a script that notes which process is which
/// command, and becomes the real one.
final class DemoStage: Sendable {
    /// What becomes of a command.
    enum Change {
        /// It does nothing, and does not end.
        case hangs
        /// It prints this, and ends well.
        case prints(String)

        var script: String {
            switch self {
            case .hangs: "exec sleep 3600"
            case .prints(let text): "echo '\(text)'; exit"
            }
        }
    }

    private let folder: String
    private let shows = Mutex<[DemoShow]>([])
    private var notes: String { "\(folder)/started" }

    /// Makes one for the body, and removes it then with all that was started.
    static func run(_ changes: [String: Change] = [:], _ body: (DemoStage) async throws -> Void) async throws {
        let stage = try DemoStage(changes)
        do {
            try await body(stage)
            await stage.remove()
        } catch {
            await stage.remove()
            throw error
        }
    }

    private init(_ changes: [String: Change]) throws {
        folder = NSTemporaryDirectory() + "natfwt-stage-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let cases = changes.map { "\($0)) \($1.script) ;;\n" }.joined()
        let script = """
            #!/bin/sh
            echo "$$ $1" >>'\(notes)'
            case $1 in
            \(cases)*) exec '\(Natfwt.binary)' "$@" ;;
            esac

            """
        try script.write(toFile: "\(folder)/natfwt", atomically: true, encoding: .utf8)
        chmod("\(folder)/natfwt", 0o755)
        // The demo looks for it beside the program.
        let library = (Natfwt.binary as NSString).deletingLastPathComponent + "/libnatfwt-run.so"
        try FileManager.default.createSymbolicLink(atPath: "\(folder)/libnatfwt-run.so", withDestinationPath: library)
    }

    private func remove() async {
        for show in shows.withLock({ $0 }) { await show.end() }
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static let script = URL(fileURLWithPath: Lab.scripts + "/../../../deploy/demo").standardized.path

    /// Starts the demo, with this stage's program where no other arguments are given.
    func start(_ arguments: [String]? = nil) throws -> DemoShow {
        let child = try Child(
            "demo", [Self.script] + (arguments ?? ["--program", "\(folder)/natfwt"]), directory: folder)
        let show = DemoShow(child)
        shows.withLock { $0.append(show) }
        return show
    }

    /// What has been started of natfwt, and as which process.
    var started: [(pid: pid_t, command: String)] {
        let text = (try? String(contentsOfFile: notes, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count == 2, let pid = pid_t(words[0]) else { return nil }
            return (pid, String(words[1]))
        }
    }

    /// Which of those processes are still there, and what they have left: `natfwt run` makes control groups.
    var leftovers: [String] {
        let pids = Set(started.map(\.pid))
        let running = Processes.all.filter { pids.contains($0.pid) }.map { "process \($0.pid)" }
        let names = pids.map { "natfwt-run-\($0)" }
        let groups = Processes.controlGroups.filter { group in
            names.contains { group == $0 || group.hasPrefix("\($0).") }
        }
        return running + groups
    }
}

/// One run of the demo.
struct DemoShow: Sendable {
    let child: Child
    /// Its namespaces begin with this name, and its folder does.
    private var family: String { "natfwt-demo-\(child.pid)" }

    init(_ child: Child) { self.child = child }

    /// What it says of its fetches, with one space for many.
    var results: [String] {
        child.output.split(separator: "\n").filter { $0.hasPrefix("   ok ") || $0.hasPrefix("   WRONG ") }
            .map { $0.split(separator: " ").joined(separator: " ") }
    }

    /// The group of processes that does the work; nil where it has not begun or is no more.
    var group: pid_t? {
        Processes.all.first { $0.parent == child.pid && $0.group == $0.pid }?.group
    }

    /// What there is of it on this machine: namespaces, folders, mounts, and processes that name its folder.
    var leftovers: [String] {
        let files = FileManager.default
        var found: [String] = []
        for place in ["/run/netns", "/etc/netns", "/tmp"] {
            let names = (try? files.contentsOfDirectory(atPath: place)) ?? []
            found += names.filter(isOwn).map { "\(place)/\($0)" }
        }
        let mounts = (try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)) ?? ""
        found += mounts.split(separator: "\n").filter(isOwn).map { "mount \($0)" }
        return found + Processes.all.filter { isOwn($0.words) }.map { "process \($0.pid)" }
    }

    /// What follows the number in its names is no digit.
    private func isOwn(_ text: some StringProtocol) -> Bool {
        text.contains("\(family)-") || text.contains("\(family).")
    }

    /// Ends it, where a test has not come to its end.
    func end() async {
        _ = try? await child.stop()
        await child.destroy()
    }
}

/// What runs on this machine.
struct Processes {
    let pid, parent, group: pid_t
    /// Its command line.
    let words: String

    /// All that have not ended.
    static var all: [Processes] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0) }.compactMap { Processes($0) }
    }

    /// Nil where it has ended. Its name, in parentheses, may hold anything.
    private init?(_ pid: pid_t) {
        guard let text = FileManager.default.contents(atPath: "/proc/\(pid)/stat"),
            let fields = String(decoding: text, as: UTF8.self).split(separator: ")").last?.split(separator: " "),
            fields.count > 3, fields[0] != "Z", fields[0] != "X", let parent = pid_t(fields[1]),
            let group = pid_t(fields[2])
        else { return nil }
        self.pid = pid
        self.parent = parent
        self.group = group
        words = String(
            decoding: FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data(), as: UTF8.self)
    }

    static func inGroup(_ group: pid_t) -> [pid_t] { all.filter { $0.group == group }.map(\.pid) }

    /// The names of the control groups in that of this process.
    static var controlGroups: [String] {
        let own = (try? String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)) ?? ""
        guard let path = own.split(separator: "\n").first(where: { $0.hasPrefix("0::") })?.dropFirst(3) else {
            return []
        }
        return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].flatMap {
            (try? FileManager.default.contentsOfDirectory(atPath: $0 + path)) ?? []
        }
    }
}
