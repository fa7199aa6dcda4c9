// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "way.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

// The group is made beneath the one that this process is in, so that what bounds the caller's session bounds the command
// too. It is called by this process's number.

static const char prefix[] = "natfwt-run-";

enum { FOLDER = O_DIRECTORY | O_RDONLY | O_CLOEXEC };

/// Where this process is in the second hierarchy. False where the kernel has none.
static bool own_path(char *path, size_t room) {
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return false;
    char line[4200];
    bool is_found = false;
    while (!is_found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        // What is outside of a namespace's root can't be named from here.
        if (strncmp(line, "0::/", 4) != 0 || strncmp(line, "0::/..", 6) == 0) continue;
        is_found = (size_t)snprintf(path, room, ".%s", line + 3) < room;
    }
    fclose(file);
    return is_found;
}

/// The root of the second hierarchy where it is mounted.
static int open_mounted(const char *path) {
    struct statfs status;
    if (statfs(path, &status) != 0 || status.f_type != CGROUP2_SUPER_MAGIC) return -1;
    return open(path, FOLDER);
}

/// A mount that nobody sees, and that is gone with its descriptor.
static int open_detached(void) {
    int context = fsopen("cgroup2", FSOPEN_CLOEXEC);
    if (context < 0) return -1;
    int root = -1;
    if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0) {
        root = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    }
    int error = errno;
    close(context);
    errno = error;
    return root;
}

/// Groups of processes that are no more, and that were not given the time to remove them.
static void sweep(int parent) {
    int copy = openat(parent, ".", FOLDER);
    DIR *folder = copy < 0 ? NULL : fdopendir(copy);
    if (!folder) {
        if (copy >= 0) close(copy);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0) continue;
        long process = strtol(entry->d_name + sizeof prefix - 1, NULL, 10);
        // One that still has processes is not removed.
        if (process > 0 && kill((pid_t)process, 0) != 0 && errno == ESRCH) {
            unlinkat(parent, entry->d_name, AT_REMOVEDIR);
        }
    }
    closedir(folder);
}

/// Makes the group in a hierarchy. Takes `root`.
static bool make_below(struct group *group, int root, const char *path) {
    if (root < 0) return false;
    group->parent = openat(root, path, FOLDER);
    close(root);
    if (group->parent < 0) return false;
    sweep(group->parent);
    // A group of that name is of a process that had this number before, and has left processes behind.
    for (int attempt = 0; attempt < 100; attempt++) {
        snprintf(group->name, sizeof group->name, attempt == 0 ? "%s%d" : "%s%d.%d", prefix, (int)getpid(), attempt);
        if (mkdirat(group->parent, group->name, 0755) == 0) {
            group->own = openat(group->parent, group->name, FOLDER);
            if (group->own >= 0) return true;
            unlinkat(group->parent, group->name, AT_REMOVEDIR);
        }
        if (errno != EEXIST) break;
    }
    int error = errno;
    close(group->parent);
    errno = error;
    return false;
}

bool group_make(struct group *group, struct reason why) {
    static const char *const places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char path[4200];
    *group = (struct group){.parent = -1, .own = -1};
    int error = 0;
    for (size_t index = 0; index < sizeof places / sizeof places[0]; index++) {
        int mounted = open_mounted(places[index]);
        if (mounted < 0) continue;
        if (!own_path(path, sizeof path)) strcpy(path, ".");
        if (make_below(group, mounted, path)) return true;
        error = errno;
    }
    // It may be mounted for reading only.
    int root = open_detached();
    if (root < 0 && error != 0) return fail(why, error, "no control group can be made");
    if (root < 0) return fail(why, errno, "no control groups of version 2 can be reached");
    // Now that there is a mount the kernel tells.
    if (!own_path(path, sizeof path)) {
        close(root);
        return fail(why, 0, "this process's control group can't be named from here");
    }
    return make_below(group, root, path) || fail(why, errno, "no control group can be made");
}

/// Writes the numbers of all processes of the group to the parent's. Answers how many there were.
static int move_up(struct group *group) {
    int own = openat(group->own, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    int parent = openat(group->parent, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    FILE *file = own < 0 ? NULL : fdopen(own, "r");
    int count = 0;
    char line[32];
    while (file && parent >= 0 && fgets(line, sizeof line, file)) {
        count++;
        // It may be gone already.
        ssize_t written = write(parent, line, strlen(line));
        (void)written;
    }
    if (file) {
        fclose(file);
    } else if (own >= 0) {
        close(own);
    }
    if (parent >= 0) close(parent);
    return count;
}

void group_remove(struct group *group) {
    if (group->own < 0) return;
    // Those that are moved may start others meanwhile.
    for (int attempt = 0; attempt < 100; attempt++) {
        if (unlinkat(group->parent, group->name, AT_REMOVEDIR) == 0 || errno != EBUSY) break;
        // Those of which only the ends are left are not listed, and need a moment.
        if (move_up(group) == 0) usleep(1000);
    }
    close(group->own);
    close(group->parent);
    group->own = group->parent = -1;
}
