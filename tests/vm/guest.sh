#!/bin/sh
# Second program of the virtual machine, in the overlay over the host's root: finishes /dev and /sys, runs the command
# that vm.py left in /run/vm, and turns the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TMPDIR=/tmp WEIR_VM=1 WEIR_VM_OUT=/run/vm/out

# devtmpfs has the devices only; bash's <(...) and many tools want these links.
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
chmod 1777 /tmp /dev/shm
ln -s /run /var/run 2>/dev/null
hostname weir-vm
ip link set lo up

# The second serial line carries the command's output and nothing else.
stty -F /dev/ttyS1 raw -echo 4000000 2>/dev/null || stty -F /dev/ttyS1 raw -echo 115200
setsid sh /run/vm/command </dev/null >/dev/ttyS1 2>&1
echo $? >/run/vm/exit-code
stty -F /dev/ttyS1 drain 2>/dev/null
sync -f /run/vm/exit-code
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
