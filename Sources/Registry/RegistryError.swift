// SPDX-License-Identifier: Apache-2.0

public import Identity

/// Why a registry could not be opened, read or changed, with its file and what to do about it.
public struct RegistryError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Problem: Equatable, Sendable {
        case directoryMissing
        /// A directory, a device, a symbolic link.
        case notAFile
        /// The file or its directory can't be written to, in the system's words.
        case notWritable(String)
        case diskFull
        /// What is in the file contradicts itself; what was found.
        case damaged(String)
        /// A database of some other program.
        case notARegistry
        /// Made by a newer natfwt.
        case newerSchema(found: Int64, supported: Int64)
        /// Another process held it for longer than a call may wait.
        case busy
        /// The disk failed.
        case inputOutput(String)
        case nameTaken(NodeName)
        case unknownName(NodeName)
        /// A port is wanted for a node that is not registered.
        case unknownNode(NodeID)
        /// Everything else that SQLite may say.
        case database(code: Int32, message: String)
    }

    /// The registry's file.
    public let path: String
    public let problem: Problem

    public init(path: String, problem: Problem) {
        self.path = path
        self.problem = problem
    }

    public var description: String { "\(path): \(reason)" }

    private var reason: String {
        switch problem {
        case .directoryMissing: "the directory that it belongs into does not exist; make it first"
        case .notAFile: "it is not an ordinary file; move it away or choose another state directory"
        case .notWritable(let why):
            "it can't be written to (\(why)); give it and its directory to the user that natfwt runs as"
        case .diskFull: "the disk is full, or a quota is used up; free some space and try again"
        case .damaged(let what): "it is damaged (\(what)); put a backup in its place"
        case .notARegistry: "it is the database of another program; choose another state directory"
        case .newerSchema(let found, let supported):
            "it was written by a newer natfwt (schema \(found), this one knows \(supported)); update natfwt"
        case .busy: "another process keeps it locked; try again"
        case .inputOutput(let what): "the disk does not read or write it (\(what)); look into the system's log"
        case .nameTaken(let name):
            "there is a node named \(name) already; choose another name, or remove it first: natfwt nodes remove \(name)"
        case .unknownName(let name): "there is neither a node nor an open invite named \(name)"
        case .unknownNode(let node): "there is no node with the key \(node)"
        case .database(let code, let message): "\(message) (SQLite \(code))"
        }
    }
}
