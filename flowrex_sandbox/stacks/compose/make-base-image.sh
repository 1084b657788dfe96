#!/bin/sh
# Make the image debian:bookworm-slim on a machine that reaches Debian's packages but no image registry.
# Needs root (or sudo), debootstrap and the docker command line. Usage: make-base-image.sh [IMAGE]
set -eu

image=${1:-debian:bookworm-slim}
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"

command -v debootstrap >/dev/null 2>&1 || {
    echo "debootstrap is missing; install it with 'apt-get install debootstrap'" >&2
    exit 1
}

root=$(mktemp -d)
trap '$as_root rm -rf "$root"' EXIT INT TERM

# shellcheck disable=SC2086  # empty for root
$as_root debootstrap --variant=minbase bookworm "$root" >"${root}.log" 2>&1 || {
    tail -n 5 "${root}.log" >&2
    exit 1
}
rm -f "${root}.log"

# What the images leave out: it is a third of their size.
$as_root sh -c "cat >'$root/etc/dpkg/dpkg.cfg.d/slim'" <<'SLIM'
path-exclude /usr/share/doc/*
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/javascript/*
SLIM
$as_root rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists" "$root/usr/share/doc" "$root/usr/share/man"
$as_root mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"

$as_root tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$image" >/dev/null
echo "made $image"
