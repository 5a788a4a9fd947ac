#!/usr/bin/env bash
# Become the first process of a box: a copy of this system on which a real systemd runs.
#
#   unshare --fork --kill-child=KILL --pid -- bash boot.sh CGROUP BOX LOWER [SOURCE TARGET]...
#
# Owns the box's mounts and all that is written below BOX, a directory of its own. CGROUP is an
# empty cgroup made for the box, LOWER the tree that is copied (as an overlay: nothing in it
# changes), and each SOURCE is seen read-only at TARGET. What the box does ends with it.
set -eu

if [ "$1" != inside ]; then
    # In this order: only a process in its cgroup gets a namespace that begins there.
    echo 0 >"$1/cgroup.procs"
    exec unshare --cgroup --mount --uts --ipc --net --propagation private -- \
        bash "$0" inside "$@"
fi
shift 2
box=$1 lower=$2
shift 2

mount -t tmpfs tmpfs "$box"
root=$box/root
mkdir "$box/upper" "$box/work" "$root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$box/upper,workdir=$box/work" "$root"

mount -t proc proc "$root/proc"
# Else systemd writes the sysctls of the host.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
while read -r name major minor; do
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<'NODES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
fuse 10 229
NODES
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue" "$root/dev/hugepages"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
# A user's manager needs it for every confinement, and it is made for the first of the system's.
mkdir -p "$root/run/systemd/unit-root"

while [ $# -gt 0 ]; do
    mkdir -p "$root$2"
    mount --rbind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
    shift 2
done

# What would reach for the host's hardware, or only takes time.
units=$root/etc/systemd/system
rm -rf "$units" "$root/etc/systemd/user"
mkdir -p "$units" "$root/etc/systemd/user" "$root/etc/systemd/journald.conf.d"
for unit in systemd-sysctl.service systemd-modules-load.service systemd-remount-fs.service \
    systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket \
    systemd-udevd-control.socket systemd-journald-audit.socket systemd-logind.service \
    timers.target dbus.service dbus.socket; do
    ln -s /dev/null "$units/$unit"
done
printf '%s\n' '[Journal]' Storage=persistent RateLimitIntervalSec=0 ReadKMsg=no \
    >"$root/etc/systemd/journald.conf.d/box.conf"
rm -rf "$root/var/log/journal"
mkdir -p "$root/var/log/journal"
test -s "$root/etc/machine-id" || tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"

# Two users of the host: one who has agents, one who has not. `*`: none logs in by a password.
echo 'ada:*:4711:4711::/home/ada:/bin/sh' >>"$root/etc/passwd"
echo 'ada:x:4711:' >>"$root/etc/group"
echo 'bob:*:4712:4712::/var/bob:/bin/sh' >>"$root/etc/passwd"
echo 'bob:x:4712:' >>"$root/etc/group"
# Their managers without logind and PAM, which not every system has.
cat >"$units/user-runtime-dir@.service" <<'UNIT'
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=install -d -o %i -m 0700 /run/user/%i
UNIT
cat >"$units/user@.service" <<'UNIT'
[Unit]
Requires=user-runtime-dir@%i.service
After=user-runtime-dir@%i.service
[Service]
User=%i
Type=notify
ExecStart=/lib/systemd/systemd --user
Environment=XDG_RUNTIME_DIR=/run/user/%i
Slice=user-%i.slice
KillMode=mixed
Delegate=pids memory
TimeoutStopSec=10s
UNIT

cd "$root"
mkdir -p oldroot
pivot_root . oldroot
cd /
umount -l /oldroot
# Without this LoadCredential= gives empty directories.
mount --make-rshared /
exec env -i container=meshd-test PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-syslog,-sys_boot \
    --inh-caps=-sys_module,-sys_time,-sys_rawio,-syslog,-sys_boot \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal
