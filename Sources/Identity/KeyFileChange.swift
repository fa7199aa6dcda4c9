// SPDX-License-Identifier: Apache-2.0

/// What a program that runs has to say of its key's file, where that does not hold the key any more. Keys are read at the
/// start only: whoever replaced the file wants to know that nothing has changed yet, and what the next start would do.
public enum KeyFileChange: Equatable, Sendable, CustomStringConvertible {
    /// There is another node's key now.
    case otherKey(NodeID)
    /// Nothing is there: a start would make a new key.
    case missing
    /// A start would fail.
    case unusable(NodeKeyError)

    public var description: String {
        switch self {
        case .otherKey(let id): "the key on disk differs from the one in use; restart to use it, as \(id)"
        case .missing: "the key's file is gone; a restart would make a new key, which nobody knows"
        case .unusable: "the key's file can't be used; the program goes on, but would not start again"
        }
    }

    /// What is wrong with the file itself.
    public var problem: NodeKeyError? { if case .unusable(let error) = self { error } else { nil } }
}

extension NodeKey {
    /// Looks whether a file still holds this key; nil where it does.
    public func change(in path: String) -> KeyFileChange? {
        do {
            let found = try NodeKey.load(path)
            return found.id == id ? nil : .otherKey(found.id)
        } catch .file(let error) where error.problem == .missing {
            return .missing
        } catch {
            return .unusable(error)
        }
    }
}
