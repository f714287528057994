#!/bin/sh
# Runs inside the virtual machine: does this kernel offer the queues, filters and programs that Weir and the labs use?
# Fails at the first that it refuses, naming it.
set -eu
policer=${1:?usage: kernel.sh POLICER_OBJECT}

attempt() {
  if "$@"; then echo "ok: $*"; else echo "FAILED: $*"; exit 1; fi
}

ip link add near mtu 1500 type veth peer name far
ip link set near up
ip link set far up
attempt tc qdisc add dev near root handle 7e17: htb default 3
attempt tc class add dev near parent 7e17: classid 7e17:1 htb rate 20mbit ceil 20mbit
attempt tc class add dev near parent 7e17:1 classid 7e17:3 htb rate 5mbit ceil 20mbit prio 2
attempt tc qdisc add dev near parent 7e17:3 handle 8003: fq_codel target 5ms interval 100ms flows 128 ecn
attempt tc filter add dev near parent 7e17: prio 1 protocol ip u32 match ip dst 192.0.2.0/24 flowid 7e17:3
attempt tc filter add dev near parent 7e17: prio 2 protocol ip flower dst_ip 192.0.2.0/24 classid 7e17:3
attempt tc qdisc add dev far root handle 1: netem delay 20ms
attempt tc qdisc replace dev far root cake bandwidth 50mbit
attempt tc qdisc replace dev far root tbf rate 20mbit burst 4kb latency 100ms
attempt tc qdisc change dev far root tbf rate 40mbit burst 4kb latency 100ms
attempt tc qdisc add dev near clsact
attempt tc filter add dev near egress prio 1 handle 1 flower dst_mac 02:00:00:00:00:01 action pass
attempt tc filter add dev near ingress prio 2 handle 1 bpf direct-action object-file "$policer" section tc
tc -s qdisc show dev near | grep -A1 fq_codel
tc filter show dev near ingress | grep -q jited && echo "ok: the program was compiled by the kernel"
attempt ip link add bridge0 type bridge
attempt ip link add link near name near.100 type vlan id 100
