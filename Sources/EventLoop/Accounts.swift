// SPDX-License-Identifier: Apache-2.0

import Glibc

/// The users and groups of this host. Each look-up may read files, so none of them belongs on a hot path.
public enum Accounts {
    /// The user whose program this is.
    public static var ownUser: UInt32 { geteuid() }

    /// A user's number, by name or as digits.
    public static func user(_ name: String) -> UInt32? {
        if let number = UInt32(name) { return number }
        return lookUp { entry, room, found in
            var user: UnsafeMutablePointer<passwd>?
            guard let base = room.baseAddress else { return }
            getpwnam_r(name, &entry, base, room.count, &user)
            found = user?.pointee.pw_uid
        } from: {
            passwd()
        }
    }

    /// A group's number, by name or as digits.
    public static func group(_ name: String) -> UInt32? {
        if let number = UInt32(name) { return number }
        return lookUp { entry, room, found in
            var group: UnsafeMutablePointer<Glibc.group>?
            guard let base = room.baseAddress else { return }
            getgrnam_r(name, &entry, base, room.count, &group)
            found = group?.pointee.gr_gid
        } from: {
            Glibc.group()
        }
    }

    /// A user's name, or the number where it has none.
    public static func name(ofUser number: UInt32) -> String {
        var entry = passwd()
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: room) { room in
            var user: UnsafeMutablePointer<passwd>?
            if let base = room.baseAddress { getpwuid_r(number, &entry, base, room.count, &user) }
            return user?.pointee.pw_name.map { String(cString: $0) } ?? "\(number)"
        }
    }

    /// The groups that a user is in, by the lists of this host: its primary group, and the others. Of a user without an
    /// account nothing is known.
    public static func groups(ofUser number: UInt32) -> Set<UInt32> {
        var entry = passwd()
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: room) { room in
            var user: UnsafeMutablePointer<passwd>?
            if let base = room.baseAddress { getpwuid_r(number, &entry, base, room.count, &user) }
            guard let name = user?.pointee.pw_name, let primary = user?.pointee.pw_gid else { return [] }
            var groups = [gid_t](repeating: primary, count: mostGroups)
            var count = Int32(mostGroups)
            // Of a user in more groups than fit the first ones count.
            let status = getgrouplist(name, primary, &groups, &count)
            return Set(groups.prefix(status < 0 ? mostGroups : Int(count)))
        }
    }

    private static let mostGroups = 1_024

    /// Enough for a group of some thousand members.
    private static let room = 64 << 10

    private static func lookUp<Entry>(
        _ body: (inout Entry, UnsafeMutableBufferPointer<CChar>, inout UInt32?) -> Void, from make: () -> Entry
    ) -> UInt32? {
        var entry = make()
        var found: UInt32?
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: room) { body(&entry, $0, &found) }
        return found
    }
}
