#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it: what they have in common. Debian 12 and its relatives.

# What a build needs past the Swift toolchain, and what the tests use on top of it.
# shellcheck disable=SC2034
BUILD_PACKAGES=(libuv1-dev libssl-dev libsqlite3-dev libbpf-dev pkg-config)
# Ciphers that are faster than OpenSSL's; there is no such package for other processors.
if [[ $(uname -m) == x86_64 ]]; then BUILD_PACKAGES+=(libipsec-mb-dev); fi
# shellcheck disable=SC2034
TEST_PACKAGES=(nftables iproute2 iputils-ping iperf3 socat dnsutils curl netcat-openbsd openssl procps python3 nginx-light
    git openssh-client openssh-server postgresql redis-server wget golang-go systemd valgrind shellcheck)

say() { printf '%s\n' "$*" >&2; }
die() {
    say "error: $*"
    exit 1
}

# Runs a command as root: as it is, or through sudo where that asks for nothing.
as_root() {
    if [[ $(id -u) -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo "$@"
    else
        die "this needs root: $*"
    fi
}

is_installed() { [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == 'install ok installed' ]]; }

# Installs those of the packages that are missing; asks for nothing, reads nothing, and starts no service.
install_packages() {
    local missing=() package
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [[ ${#missing[@]} -eq 0 ]] && return
    command -v apt-get >/dev/null || die "install these with this system's package manager: ${missing[*]}"
    say "installing ${missing[*]}"
    as_root apt-get update -q </dev/null >&2
    without_services as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "${missing[@]}" </dev/null >&2
}

# Runs a command while Debian's packages may start none of their services: a test machine wants nginx, not its port 80.
without_services() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    "$@" || status=$?
    as_root rm -f "$policy"
    return "$status"
}

need_swift() {
    command -v swift >/dev/null || die "the Swift toolchain (6.2 or later) is not on the PATH: see https://www.swift.org/install"
}
