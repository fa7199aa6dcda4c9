// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>
#include <sys/types.h>

/// Starts a program in a control group, where it is from its first instruction on. Answers 0, or an errno.
int start_in_group(int group, const char *path, char *const *arguments, char *const *environment, pid_t *process);
