// SPDX-License-Identifier: Apache-2.0

import Foundation

/// Namespaces carry the pid and the start time of the test process that made them, so that the next run can tell which
/// ones belong to a dead one, and two runs at once never meet.
enum Leftovers {
    static let family = "natfwt"

    /// The first part of every namespace's name in this process: family, pid, start time.
    static let prefix = "\(family)-\(getpid())-\(startTime(of: getpid()) ?? "0")"

    /// When a process started, in clock ticks since boot (field 22 of /proc/PID/stat); nil where there is none.
    static func startTime(of pid: pid_t) -> String? {
        guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
        // The command in parentheses may hold anything; what follows it is plain.
        let text = String(decoding: data, as: UTF8.self)
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 19 ? String(fields[19]) : nil
    }

    /// Whether a namespace of that name belongs to a test process that is no more.
    static func isOrphan(_ name: String) -> Bool {
        let parts = name.split(separator: "-")
        guard parts.count >= 4, parts[0] == family, let pid = pid_t(parts[1]) else { return false }
        return startTime(of: pid) != String(parts[2])
    }

    /// Removes what dead runs left: programs, namespaces, host files and directories.
    static func sweep() {
        let files = FileManager.default
        for place in ["/run/netns", "/etc/netns"] {
            for name in (try? files.contentsOfDirectory(atPath: place)) ?? [] where isOrphan(name) {
                removeNow(name)
            }
        }
        for name in (try? files.contentsOfDirectory(atPath: NSTemporaryDirectory())) ?? [] {
            let parts = name.split(separator: "-")
            guard name.hasPrefix("natfwt-lab-"), parts.count > 3, let pid = pid_t(parts[2]) else { continue }
            if startTime(of: pid) == nil { try? files.removeItem(atPath: "\(NSTemporaryDirectory())/\(name)") }
        }
    }

    /// Kills what runs in a namespace and deletes it.
    static func remove(_ name: String) async { removeNow(name) }

    private static func removeNow(_ name: String) {
        if FileManager.default.fileExists(atPath: "/run/netns/\(name)") {
            for pid in pids(in: name) { kill(pid, SIGKILL) }
            _ = command(["netns", "del", name])
        }
        try? FileManager.default.removeItem(atPath: "/etc/netns/\(name)")
    }

    private static func pids(in name: String) -> [pid_t] {
        command(["netns", "pids", name]).output.split(separator: "\n").compactMap { pid_t($0) }
    }

    static func canMakeNamespaces() -> Bool {
        let name = "\(prefix)-0-probe"
        guard command(["netns", "add", name]).succeeded else { return false }
        return command(["netns", "del", name]).succeeded
    }

    private static func command(_ arguments: [String]) -> (succeeded: Bool, output: String) {
        let (code, output) = Tool.runNow([Tool.path("ip")] + arguments)
        return (code == 0, output)
    }
}
