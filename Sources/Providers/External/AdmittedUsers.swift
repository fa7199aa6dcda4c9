// SPDX-License-Identifier: Apache-2.0

internal import ConnectivityPlatform
internal import EventLoop

/// Whose sockets are to be carried.
public enum Applicant: Hashable, Sendable {
    /// A user of this host.
    case user(UInt32)
    /// Any user's, or another host's: nobody can tell whose.
    case anybody
}

/// Who may use an instance: what its sddl says, for this host's numbers of users and groups.
public struct AdmittedUsers: Equatable, Sendable {
    private var users: Set<UInt32> = []
    private var groups: Set<UInt32> = []
    private var isForEverybody = false

    /// In a user namespace all that have no number there have one and the same (overflowuid).
    static let unknownUser: UInt32 = 65_534

    /// One user, as with an sddl that is NULL.
    init(user: UInt32) { users = [user] }

    /// - Returns: nil where one of them is not there.
    init?(_ allowed: [AllowedUser]) {
        for account in allowed {
            switch account {
            case .everybody: isForEverybody = true
            case .user(let name):
                guard let user = Accounts.user(name) else { return nil }
                users.insert(user)
            case .group(let name):
                guard let group = Accounts.group(name) else { return nil }
                groups.insert(group)
            }
        }
    }

    /// Whether sockets of that user may use the instance. Where groups are listed this may read files. Nobody is excepted,
    /// not even root: what an unprivileged user's provider attracts is to be none of root's traffic either.
    public func admits(_ applicant: Applicant) -> Bool {
        if isForEverybody { return true }
        guard case .user(let user) = applicant, user != AdmittedUsers.unknownUser else { return false }
        if users.contains(user) { return true }
        return !groups.isEmpty && !groups.isDisjoint(with: Accounts.groups(ofUser: user))
    }
}
