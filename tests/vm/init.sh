#!/bin/busybox sh
# shellcheck shell=dash
# First program of the virtual machine, from the initramfs: puts a writable overlay over the host's root, fills /dev,
# /sys and /run, and goes on there with guest.sh. It does all that a static busybox can do, because each program of
# the host's costs a quarter of a second of dynamic linking in an emulator. Any failure ends init, hence the machine;
# vm.py shows the console.
set -eu
/bin/busybox --install -s /bin
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module"; done

# The host does not change the files that matter while we run: cache them, or each look-up costs a round trip.
nine_p="trans=virtio,version=9p2000.L,msize=512000"
mount -t 9p -o "ro,cache=loose,$nine_p" machine /lower
mount -t tmpfs -o size=60% tmpfs /rw
mkdir /rw/upper /rw/work # the overlay wants both on one file system
mount -t overlay -o "lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work" overlay /root

# devtmpfs has the devices only; bash's <(...) and many tools want these links.
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# A fresh /run, like after a boot. /tmp stays the host's under the overlay: a checkout may be there.
mkdir -p /root/proc /root/sys /root/dev /root/run /root/usr/lib/modules
mount -t tmpfs tmpfs /root/run
mkdir /root/run/vm /root/run/lock
mount -t 9p -o "ro,cache=loose,$nine_p" modules /root/usr/lib/modules
mount -t 9p -o "$nine_p" share /root/run/vm

hostname weir-vm
ip link set lo up
stty -F /dev/ttyS1 raw -echo 115200

for tree in proc sys dev; do mount --move "/$tree" "/root/$tree"; done
exec switch_root /root /bin/sh /run/vm/guest.sh
