#!/bin/sh
# Second program of the virtual machine, in the overlay over the host's root: runs the command that vm.py left in
# /run/vm and turns the machine off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8 TMPDIR=/tmp TERM=dumb WEIR_VM=1 WEIR_VM_OUT=/run/vm/out

# The second serial line carries the command's output and nothing else; closing it waits until all is written.
setsid --wait sh /run/vm/command </dev/null >/dev/ttyS1 2>&1
echo $? >/run/vm/exit-code
echo o >/proc/sysrq-trigger
while :; do sleep 1; done
