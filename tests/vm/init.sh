#!/bin/busybox sh
# First program of the virtual machine, from the initramfs: puts a writable overlay over the host's root and goes on
# there with guest.sh. Any failure is a kernel panic (init exits), which ends the machine; vm.py shows the console.
set -eu
busybox=/bin/busybox
$busybox --install -s /bin
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

mkdir -p /root/proc /root/sys /root/dev /root/run /root/tmp
mount --move /proc /root/proc
mount --move /sys /root/sys
mount --move /dev /root/dev
mount -t tmpfs tmpfs /root/run
mount -t tmpfs tmpfs /root/tmp
mkdir -p /root/usr/lib/modules /root/run/vm
mount -t 9p -o "ro,cache=loose,$nine_p" modules /root/usr/lib/modules
mount -t 9p -o "$nine_p" share /root/run/vm
exec switch_root /root /bin/sh /run/vm/guest.sh
