// SPDX-License-Identifier: Apache-2.0

import Foundation

/// The working tree that the tests were built from.
enum Repository {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Every file below `folder` whose name ends in one of `endings`, in the order of their paths.
    static func files(in folder: String, endings: [String]) -> [SourceFile] {
        let start = root.appendingPathComponent(folder).path
        guard let walk = FileManager.default.enumerator(atPath: start) else { return [] }
        let names = walk.compactMap { $0 as? String }.filter { name in
            endings.contains { name.hasSuffix($0) } && !name.split(separator: "/").contains { $0.hasPrefix(".") }
        }
        return names.sorted().compactMap { read("\(folder)/\($0)") }
    }

    static func read(_ path: String) -> SourceFile? {
        guard let data = FileManager.default.contents(atPath: root.appendingPathComponent(path).path) else {
            return nil
        }
        return SourceFile(path: path, text: String(decoding: data, as: UTF8.self))
    }

    /// The modules. What is in Examples are packages of their own, for others to begin with.
    static let sources = files(in: "Sources", endings: [".swift"]).filter { !$0.path.hasPrefix("Sources/Examples/") }
    static let tests = files(in: "Tests", endings: [".swift"])
    static let headers = files(in: "Sources", endings: [".c", ".h"])
    static let scripts =
        files(in: "deploy", endings: [""]) + files(in: "Tests", endings: [".py", ".sh"])
        + files(in: "config", endings: [""]) + files(in: ".ci", endings: [""])

    static let manifest = read("Package.swift")
}
