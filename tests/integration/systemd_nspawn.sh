#!/usr/bin/env bash
# Installs, runs, breaks, upgrades and removes the Debian package under a real systemd: a Debian tree, booted in a container without a
# network.
#
#   STREAMCLS_TREE   the tree, kept for the next time, see scripts/debian-tree
#   STREAMCLS_DEB    a package to try; else scripts/build-deb makes it
#   DROPINS          a folder of further drop-ins for streamcls.service
#
# It needs root and systemd-nspawn, and ends with 77, and says why, where it cannot be done.
set -euo pipefail
cd "$(dirname "$0")/../.."
tree=${STREAMCLS_TREE:-/var/tmp/streamcls-tree}
watchdog_s=6
cannot() { echo "cannot be done here: $*" >&2; exit 77; }
[ "$(id -u)" = 0 ] || cannot "it needs root"
for tool in systemd-nspawn nsenter debootstrap dpkg-deb; do
    command -v $tool >/dev/null || cannot "$tool is missing (apt install systemd-container debootstrap)"
done
scripts/debian-tree "$tree"

box=$(mktemp -d /var/tmp/streamcls-boot.XXXXXX)
root=$box/root
container=""
away() {
    code=$?
    if [ -n "$container" ]; then kill -KILL "$container" 2>/dev/null || true; wait "$container" 2>/dev/null || true; fi
    for _ in 1 2 3 4 5; do if ! mountpoint -q "$root" || umount "$root" 2>/dev/null; then break; fi; sleep 1; done
    mountpoint -q "$root" || rm -rf --one-file-system "$box"
    exit $code
}
trap away EXIT
trap 'exit 1' INT TERM
mkdir "$box/upper" "$box/work" "$root"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$box/upper,workdir=$box/work" "$root" 2>/dev/null || cp -a "$tree/." "$root/"

deb=${STREAMCLS_DEB:-}
if [ -z "$deb" ]; then
    scripts/build-deb || exit
    deb=$(find dist -name "streamcls_*.deb" -printf "%T@ %p\n" | sort -n | tail -1 | cut -d" " -f2)
fi
version=$(dpkg-deb --field "$deb" Version)
cp "$deb" "$root/root/streamcls.deb"

# --- the container

boot() {
    systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --private-network --link-journal=no --console=pipe \
        </dev/null >>"$box/console" 2>&1 &
    container=$!
    leader=""
    for _ in $(seq 100); do
        leader=$(pgrep -P "$container" | head -1 || true)
        if [ -n "$leader" ] && [ -e "/proc/$leader/root/run/systemd/private" ] && [ "$(readlink "/proc/$leader/ns/pid")" != "$(readlink /proc/self/ns/pid)" ]; then
            break
        fi
        kill -0 "$container" 2>/dev/null || break
        sleep 0.2
    done
    state=$(inside systemctl is-system-running --wait || true)
    case "$state" in
        running | degraded) ;;
        *) tail -20 "$box/console" >&2; cannot "systemd does not boot in a container here (state: ${state:-none})" ;;
    esac
}
inside() { nsenter --target "$leader" --all env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
apt() { inside apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >"$box/apt" 2>&1 || { cat "$box/apt"; fail "apt-get $*"; }; }
of() { inside systemctl show --value --property "$1" streamcls; }
began=$SECONDS
passed() { printf 'ok  %3d s  %s\n' $((SECONDS - began)) "$*"; }
fail() {
    echo "FAILED: $*" >&2
    inside systemctl status --no-pager --full streamcls >&2 || true
    inside journalctl --no-pager -u streamcls -n 60 >&2 || true
    exit 1
}
until_true() { # until_true SECONDS WHAT COMMAND...
    local limit=$((SECONDS + $1 * ${PATIENCE:-3})) what=$2 # a machine may be busy with other things
    shift 2
    until "$@"; do
        [ $SECONDS -lt $limit ] || fail "$what: not within its time"
        sleep 0.2
    done
}
logged() { inside journalctl --no-pager -o cat -u streamcls -n 200 | grep -F -- "$1" >/dev/null; } # not -q: it would close the pipe early
same() { [ "$2" = "$3" ] || fail "$1: expected $3, found $2"; } # same WHAT FOUND EXPECTED
events=$root/var/lib/private/streamcls/events.jsonl
asked() { inside /opt/streamcls/bin/python /root/ask.py "$@"; } # asked QUESTION: of the events
active() { [ "$(of ActiveState)" = active ] && [ "$(of SubState)" = running ]; }
failed() { [ "$(of ActiveState)" = failed ]; }
pid_other_than() { local now; now=$(of MainPID); [ "$now" != 0 ] && [ "$now" != "$1" ] && active; }

cat >"$root/root/ask.py" <<'PY'
"""What the events that the daemon wrote say."""

import json
import sys

question, *rest = sys.argv[1:]
events = []
for line in open("/var/lib/private/streamcls/events.jsonl"):
    if line.endswith("\n"):
        events.append(json.loads(line))


def kind(event):
    return event["type"].removeprefix("streamcls.")


if question == "open":  # is a segment open?
    state = {e["data"]["id"]: e["data"]["phase"] for e in events if kind(e) == "genre.segment"}
    sys.exit(0 if any(phase != "closed" for phase in state.values()) else 1)
elif question == "all-closed":
    state = {}
    for e in events:
        if kind(e) == "genre.segment":
            state[e["subject"], e["data"]["id"]] = (e["data"]["phase"], e["data"].get("reason"))
    still = [key for key, (phase, _) in state.items() if phase != "closed"]
    print(len(state), "segments,", sum(reason == "shutdown" for _, reason in state.values()), "closed by the stop")
    sys.exit(f"still open: {still}" if still or not any(reason == "shutdown" for _, reason in state.values()) else 0)
elif question == "closed":  # is all of a stream closed, since the configuration changed?
    state = {e["data"]["id"]: e["data"] for e in events if kind(e) == "genre.segment" and e["subject"] == rest[0]}
    reasons = [data.get("reason", "still open") for data in state.values()]
    ended = [e["data"]["reason"] for e in events if kind(e) == "stream.status" and e["subject"] == rest[0] and e["data"]["state"] == "ended"]
    print(f"{len(reasons)} segments, the last one closed for: {reasons[-1] if reasons else None}; it ended for: {ended[-1] if ended else None}")
    sys.exit(0 if "still open" not in reasons and ended[-1:] == ["configuration changed"] else 1)
elif question == "last":  # end of the newest window of a stream
    print(max((e["data"]["end_sample"] for e in events if kind(e) == "genre.window" and e["subject"] == rest[0]), default=0))
elif question == "without-hole":  # are the windows of a stream a whole grid, none missing, none twice, beyond a sample?
    starts = [e["data"]["first_sample"] for e in events if kind(e) == "genre.window" and e["subject"] == rest[0]]
    once = sorted(set(starts))
    steps = {b - a for a, b in zip(once, once[1:])}
    gaps = [e["data"] for e in events if kind(e) == "stream.status" and e["subject"] == rest[0] and e["data"]["state"] == "gap"]
    print(f"{len(starts)} windows, {len(starts) - len(once)} told twice, distances {sorted(steps)}, {len(gaps)} gaps, to sample {once[-1]}")
    sys.exit(0 if max(steps) - min(steps) <= 1 and not gaps and once[-1] > int(rest[1]) else 1)
PY

# --- installation

boot
passed "booted: $(inside systemctl --version | head -1), $(inside cat /etc/debian_version)"
apt install --no-install-recommends /root/streamcls.deb
same "state of the package" "$(inside dpkg-query --show --showformat '${db:Status-Abbrev}' streamcls)" "ii "
same "unit after installation" "$(inside systemctl is-enabled streamcls) $(of ActiveState)" "enabled inactive"
same "configuration's permissions" "$(inside stat -c '%a %U:%G' /etc/streamcls/streamcls.toml)" "640 root:streamcls"
inside streamcls check /etc/streamcls/streamcls.toml >/dev/null 2>&1 || fail "the shipped configuration is not right"
passed "installed $version by apt, without a network; enabled, not started"

for unit in streamcls.service streamcls@radio.service; do
    found=$(inside systemd-analyze verify --man=no "$unit" 2>&1) || fail "systemd-analyze verify: $found"
    same "systemd-analyze verify $unit" "$found" ""
done
exposure() { inside systemd-analyze security --no-pager "$@" streamcls.service | sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p'; }
plain=$(exposure --threshold=15) || fail "exposure above 1.5"
dropins=$root/etc/systemd/system/streamcls.service.d
mkdir -p "$dropins"
cp "$root/opt/streamcls/share/streamcls/systemd/streamcls-mic.conf" "$dropins/"
inside systemctl daemon-reload
mic=$(exposure --threshold=15) || fail "exposure above 1.5 with streamcls-mic.conf"
rm "$dropins/streamcls-mic.conf"
inside systemctl daemon-reload
passed "systemd-analyze: verify clean; exposure $plain, with streamcls-mic.conf $mic"

# --- a configuration with a file that is resumed and a demo; ten minutes of audio

mkdir -p "$root/srv/audio"
inside /opt/streamcls/bin/python -c '
import av, streamcls_demo, pathlib
resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
sound = b"".join(
    bytes(part.planes[0])[: part.samples * 2]
    for frame in av.open(str(pathlib.Path(streamcls_demo.__file__).parent / "programme.opus")).decode(audio=0)
    for part in resampler.resample(frame)
)
count = -(-600 * 32000 // len(sound))
pathlib.Path("/srv/audio/logger.s16").write_bytes(sound * count)
'
cat >"$root/etc/streamcls/streamcls.toml" <<'TOML'
[[source]]
name = "logger"
type = "filetail"
path = "/srv/audio/logger.s16"
format = { sample_rate = 16000 }
start = "resume"
pace = "realtime"

[[source]]
name = "demo"
type = "demo"

[[subscriber]]
type = "jsonl"
path = "/var/lib/streamcls/events.jsonl"
TOML
printf '[journal]\nwindows = true\n' >>"$root/etc/streamcls/streamcls.toml"
[ -z "${DROPINS:-}" ] || cp "$DROPINS"/*.conf "$dropins/"
inside systemctl daemon-reload
kind=$(of Type)

# --- start, kill, wedge

inside systemctl start streamcls || fail "start"
active || fail "not active after start"
first=$(of MainPID)
same "user" "$(inside stat -c %U "/proc/$first")" streamcls
passed "started (Type=$kind): active; status: $(of StatusText)"
until_true 30 "windows of the resumed file" eval '[ "$(asked last logger 2>/dev/null || echo 0)" -gt 16000 ]'

inside systemctl kill --kill-whom=main --signal=KILL streamcls
until_true 20 "running again after kill -9" pid_other_than "$first"
same "restarts" "$(of NRestarts)" 1
passed "kill -9: running again as another process"

if [ "$kind" = notify ]; then
    printf '[Service]\nWatchdogSec=%d\n' $watchdog_s >"$dropins/watchdog.conf"
    inside systemctl daemon-reload
    inside systemctl restart streamcls || fail "restart"
    second=$(of MainPID)
    inside systemctl kill --kill-whom=main --signal=STOP streamcls
    until_true $((watchdog_s * 5)) "running again after SIGSTOP" pid_other_than "$second"
    logged "Watchdog timeout" || fail "the log does not name the watchdog"
    passed "SIGSTOP: the watchdog restarted it, and the log says so"
    rm "$dropins/watchdog.conf"
    inside systemctl daemon-reload
fi

# --- a worker that hangs: a policy of a stranger's that never comes back, once

packages=$(inside /opt/streamcls/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if [ "$kind" = notify ]; then
    mkdir -p "$root$packages/streamcls_wedge-1.0.dist-info"
    printf 'Metadata-Version: 2.1\nName: streamcls-wedge\nVersion: 1.0\n' >"$root$packages/streamcls_wedge-1.0.dist-info/METADATA"
    printf '[streamcls]\nwedge = streamcls_wedge\n' >"$root$packages/streamcls_wedge-1.0.dist-info/entry_points.txt"
    cat >"$root$packages/streamcls_wedge.py" <<'PY'
"""A policy that hangs in its third window, the first time that the machine runs it."""

import pathlib
import threading

from streamcls import ComponentConfig, hookimpl

DONE = pathlib.Path("/var/lib/streamcls/wedged")


class WedgePolicy:
    name = "wedge"
    Config = ComponentConfig

    def __init__(self, config, context):
        self.seen = 0

    @classmethod
    def accepts(cls, config, model):
        return True

    def update(self, item):
        self.seen += 1
        if self.seen > 2 and not DONE.exists():
            DONE.touch()
            threading.Event().wait()
        return []

    def gap(self, first_sample, end_sample):
        return []

    def close(self, at_sample, reason):
        return []


@hookimpl
def register_policies():
    return [WedgePolicy]
PY
    cp "$root/etc/streamcls/streamcls.toml" "$box/right.toml"
    printf '[daemon]\nstuck_s = 3\n[[stream]]\npolicies = ["genre", "moderation", "wedge"]\n' >>"$root/etc/streamcls/streamcls.toml"
    printf '[Service]\nWatchdogSec=%d\n' $watchdog_s >"$dropins/watchdog.conf"
    inside systemctl daemon-reload
    inside systemctl restart streamcls || fail "restart with a policy that hangs"
    third=$(of MainPID)
    until_true $((watchdog_s * 5)) "running again after a worker hung" pid_other_than "$third"
    logged "streamcls_wedge.py" || fail "the log does not name where the worker hung"
    passed "a worker that hangs: the watchdog restarted it; the log: $(inside journalctl --no-pager -o cat -u streamcls | grep "fed no more" | tail -1)"
    rm -r "$dropins/watchdog.conf" "$root$packages/streamcls_wedge.py" "$root$packages/streamcls_wedge-1.0.dist-info"
    cat "$box/right.toml" >"$root/etc/streamcls/streamcls.toml"
    inside systemctl daemon-reload
    inside systemctl restart streamcls || fail "restart without the policy that hung"
fi

# --- reload: a stream added while another runs, a file with mistakes, the stream removed again

until_true 60 "running before the reload" active
fourth=$(of MainPID)
reached=$(asked last logger)
until_true 30 "windows before the reload" eval '[ "$(asked last logger)" -gt "$reached" ]'
cp "$root/etc/streamcls/streamcls.toml" "$box/right.toml"
printf '[[source]]\nname = "second"\ntype = "demo"\n' >>"$root/etc/streamcls/streamcls.toml"
inside systemctl reload streamcls || fail "reload with one stream more"
logged "reload: applied" || fail "the log does not say that the reload was applied"
until_true 30 "windows of the added stream" eval '[ "$(asked last second)" -gt 16000 ]'
echo 'nonsense = 1' >>"$root/etc/streamcls/streamcls.toml"
inside systemctl reload streamcls 2>/dev/null && fail "a wrong configuration was reloaded"
logged "nonsense" || fail "the log does not say why the reload was refused"
same "after a refused reload" "$(of ActiveState) $(of SubState) $(of MainPID)" "active running $fourth"
second=$(asked last second)
until_true 30 "further windows after a refused reload" eval '[ "$(asked last second)" -gt "$second" ]'
cat "$box/right.toml" >"$root/etc/streamcls/streamcls.toml"
inside systemctl reload streamcls || fail "reload with one stream less"
until_true 10 "the removed stream is closed" eval 'asked closed second >/dev/null'
closed=$(asked closed second)
inside systemctl kill --kill-whom=main --signal=HUP streamcls
until_true 20 "a reload by SIGHUP" logged "reload: unchanged"
reached=$(asked last logger)
until_true 30 "windows after the reloads" eval '[ "$(asked last logger)" -gt $((reached + 48000)) ]'
whole=$(asked without-hole logger "$reached") || fail "what the other stream lost by the reloads: $whole"
same "process after the reloads" "$(of MainPID)" "$fourth"
passed "reload: a stream added and removed ($closed), a wrong file refused, by SIGHUP too; the other stream: $whole"

# --- a wrong configuration

cp "$root/etc/streamcls/streamcls.toml" "$box/right.toml"
echo 'nonsense = 1' >"$root/etc/streamcls/streamcls.toml"
inside systemctl restart streamcls 2>/dev/null && [ "$kind" = notify ] && fail "a wrong configuration started"
until_true 20 "failure on a wrong configuration" failed
restarts=$(of NRestarts)
sleep 5 # more than RestartSec: nothing may happen
same "status on a wrong configuration" "$(of ExecMainStatus) $(of ActiveState) $(($(of NRestarts) - restarts))" "78 failed 0"
cat "$box/right.toml" >"$root/etc/streamcls/streamcls.toml"
passed "wrong configuration: status 78, no further attempt; the log: $(inside journalctl --no-pager -o cat -u streamcls | grep nonsense | tail -1)"

# --- stop

inside systemctl reset-failed streamcls
inside systemctl start streamcls || fail "start after a wrong configuration"
until_true 60 "an open segment" asked open
invocation=$(of InvocationID)
inside systemctl stop streamcls
same "after stop" "$(of ExecMainStatus) $(of Result) $(of ActiveState)" "0 success inactive"
inside journalctl --no-pager -o cat "_SYSTEMD_INVOCATION_ID=$invocation" | grep "stopped" >/dev/null || fail "the log does not say that it stopped"
closed=$(asked all-closed) || fail "segments after stop: $closed"
passed "stopped with 0; $closed"

# --- reboot

reached=$(asked last logger)
inside systemctl start streamcls
until_true 30 "further windows" eval '[ "$(asked last logger)" -gt "$reached" ]'
reached=$(asked last logger)
inside systemctl reboot 2>/dev/null || true
wait "$container" || true
container=""
boot
until_true 40 "running after the reboot" active
until_true 30 "windows after the reboot" eval '[ "$(asked last logger)" -gt $((reached + 48000)) ]'
whole=$(asked without-hole logger "$reached") || fail "what the file said over kill and reboot: $whole"
passed "reboot: started by itself; the resumed file over kills, stops and reboot: $whole"

# --- upgrade

higher=$version+1
dpkg-deb --raw-extract "$root/root/streamcls.deb" "$box/unpacked"
sed -i "s/^Version: .*/Version: $higher/" "$box/unpacked/DEBIAN/control"
echo "# a comment of a newer version" >>"$box/unpacked/opt/streamcls/share/streamcls/streamcls.toml"
dpkg-deb --root-owner-group -Zzstd -z1 --build "$box/unpacked" "$root/root/higher.deb" >/dev/null
rm -rf "$box/unpacked"
before=$(of MainPID)
configuration=$(sha256sum <"$root/etc/streamcls/streamcls.toml")
reached=$(asked last logger)
state=$(inside sh -c 'ls -i /var/lib/private/streamcls/journal.sqlite3')
apt install --no-install-recommends /root/higher.deb
same "version" "$(inside dpkg-query --show --showformat '${Version}' streamcls)" "$higher"
same "configuration after the upgrade" "$(sha256sum <"$root/etc/streamcls/streamcls.toml")" "$configuration"
same "journal after the upgrade" "$(inside sh -c 'ls -i /var/lib/private/streamcls/journal.sqlite3')" "$state"
until_true 40 "running after the upgrade" pid_other_than "$before"
until_true 30 "windows after the upgrade" eval '[ "$(asked last logger)" -gt $((reached + 32000)) ]'
whole=$(asked without-hole logger "$reached") || fail "what the file said over the upgrade: $whole"
passed "upgraded to $higher: configuration and state kept, running; $whole"

# --- removal

apt remove streamcls
same "after removal" "$(inside dpkg-query --show --showformat '${db:Status-Abbrev}' streamcls) $(of LoadState)" "rc  not-found"
[ -s "$root/etc/streamcls/streamcls.toml" ] && [ -s "$events" ] || fail "removal took configuration or state"
[ ! -e "$root/opt/streamcls" ] || fail "removal left $(find "$root/opt/streamcls" | head -3)"
! inside sh -c 'cat /proc/[0-9]*/cmdline' 2>/dev/null | tr '\0' ' ' | grep /opt/streamcls/bin >/dev/null || fail "removal left a process"
apt purge streamcls
left=$(inside sh -c 'ls -d /etc/streamcls /var/lib/streamcls* /var/lib/private/streamcls* /opt/streamcls /etc/systemd/system/*/streamcls* /etc/systemd/system/streamcls* /usr/bin/streamcls 2>/dev/null' || true)
same "left after purge" "$left" ""
same "failed units" "$(inside systemctl --failed --no-legend --plain)" ""
passed "removed, with configuration and state kept; purged, with nothing left"

inside systemctl poweroff 2>/dev/null || true
wait "$container" || true
container=""
echo "systemd: in order, $(du -sm "$box" | cut -f1) MB beside the tree"
