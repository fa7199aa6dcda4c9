// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/// In the new process: as the caller's, but for what this program has changed for itself. Nothing here but system calls.
static void become(const char *path, char *const *arguments, char *const *environment, const sigset_t *mask) {
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0) continue;
        // SIGPIPE is ignored here for the sake of sockets.
        if (action.sa_handler == SIG_IGN && number != SIGPIPE) continue;
        action = (struct sigaction){.sa_handler = SIG_DFL};
        sigaction(number, &action, NULL);
    }
    sigprocmask(SIG_SETMASK, mask, NULL);
    execve(path, arguments, environment);
}

int start_in_group(
    int group, const char *path, char *const *arguments, char *const *environment, pid_t *process) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return errno;
    sigset_t all, before;
    sigfillset(&all);
    // No handler of this process is to run in the new one.
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct clone_args how = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)group};
    long child = syscall(SYS_clone3, &how, sizeof how);
    int error = errno;
    if (child == 0) {
        become(path, arguments, environment, &before);
        error = errno;
        ssize_t written = write(ends[1], &error, sizeof error);
        (void)written;
        _exit(127);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    if (child > 0) {
        // Nothing comes where the command has begun.
        ssize_t count;
        do count = read(ends[0], &error, sizeof error);
        while (count < 0 && errno == EINTR);
        if (count != sizeof error) error = 0;
        if (error == 0) *process = (pid_t)child;
    }
    close(ends[0]);
    return error;
}
