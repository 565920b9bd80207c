#!/usr/bin/env bash
# Builds the image of the Containerfile and runs it: without privileges, on a root file system that cannot be written.
#
#   BASE            what it is built on; else Containerfile's own or, where no registry answers, a Debian tree of scripts/debian-tree
#   PODMAN          podman, with options of this machine, e.g. "podman --runtime runc"
#   BUILD_OPTIONS   for podman build, e.g. --volume of a pip.conf
#   RUN_OPTIONS     for podman run, e.g. --ulimit nofile=1024:1024
#
# It needs root and podman, and ends with 77, and says why, where it cannot be done. Its images and containers have a storage of their own.
set -euo pipefail
cd "$(dirname "$0")/../.."
cannot() { echo "cannot be done here: $*" >&2; exit 77; }
[ "$(id -u)" = 0 ] || cannot "it needs root"
command -v podman >/dev/null || cannot "podman is missing (apt install podman)"
box=$(mktemp -d /var/tmp/streamcls-image.XXXXXX)
printf '[storage]\ndriver = "overlay"\nrunroot = "%s/run"\ngraphroot = "%s/graph"\n' "$box" "$box" >"$box/storage.conf"
export CONTAINERS_STORAGE_CONF=$box/storage.conf
read -r -a podman <<<"${PODMAN:-podman}"
read -r -a building <<<"${BUILD_OPTIONS:-}"
read -r -a running <<<"${RUN_OPTIONS:-}"
away() {
    code=$?
    "${podman[@]}" rm --force --all >/dev/null 2>&1 || true
    "${podman[@]}" system reset --force >/dev/null 2>&1 || true
    rm -rf --one-file-system "$box"
    exit $code
}
trap away EXIT
fail() { echo "FAILED: $*" >&2; "${podman[@]}" logs streamcls >&2 || true; exit 1; }
passed() { echo "ok  $*"; }

usual=$(sed -n 's/^ARG BASE=//p' Containerfile)
base=${BASE:-$usual}
if ! "${podman[@]}" pull --quiet "$base" >/dev/null 2>&1; then
    tree=${STREAMCLS_TREE:-/var/tmp/streamcls-tree}
    scripts/debian-tree "$tree" || cannot "there is neither $base nor a Debian tree"
    base=localhost/debian-tree
    tar -C "$tree" --one-file-system --exclude='./var/cache/apt/archives/*' --exclude='./var/lib/apt/lists/*' -cf - . |
        "${podman[@]}" import --quiet - $base >/dev/null
    echo "    $usual cannot be had here: built on $tree instead"
fi
"${podman[@]}" build --quiet --format docker --isolation chroot --network host --build-arg BASE="$base" "${building[@]}" --tag streamcls \
    --file Containerfile . >/dev/null
passed "the image is built"

hardened=(--read-only --cap-drop=all --security-opt=no-new-privileges "${running[@]}")
once() { "${podman[@]}" run --rm --no-healthcheck --network none "${hardened[@]}" "$@"; }
[ "$(once --entrypoint id streamcls -u)" = 950 ] || fail "it does not run as a user of its own"
for program in pip gcc; do
    ! once --entrypoint sh streamcls -c "command -v $program" >/dev/null || fail "it has $program"
done
! once --entrypoint python streamcls -c "import tensorflow" 2>/dev/null || fail "it has TensorFlow"
passed "it runs as a user of its own, without pip, a compiler and TensorFlow"

printf '[[source]]\nname = "demo"\ntype = "dmeo"\n' >"$box/wrong.toml"
code=0
once --volume "$box/wrong.toml:/etc/streamcls/streamcls.toml:ro" streamcls >"$box/said" 2>&1 || code=$?
[ $code = 78 ] && grep -q 'did you mean "demo"' "$box/said" || fail "a wrong configuration: status $code"
passed "a wrong configuration ends it with status 78"

"${podman[@]}" run --detach --name streamcls --network none --volume state:/var/lib/streamcls "${hardened[@]}" streamcls >/dev/null 2>&1
for _ in $(seq 60); do
    if "${podman[@]}" healthcheck run streamcls >/dev/null 2>&1; then break; fi
    sleep 1
done
"${podman[@]}" healthcheck run streamcls >/dev/null 2>&1 || fail "it is not well within a minute"
passed "its health check says that all is well"
"${podman[@]}" stop --time 30 streamcls >/dev/null 2>&1
code=$("${podman[@]}" inspect --format '{{.State.ExitCode}}' streamcls)
[ "$code" = 0 ] || fail "stopped, it ends with status $code"
"${podman[@]}" logs streamcls 2>&1 | grep -q "shutdown" || fail "what was open is not closed"
passed "stopped, it closes what is open and ends with status 0"
