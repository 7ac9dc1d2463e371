#!/bin/sh
# In the machine, once its root is that of the machine it runs on: what an init would have done, then /run/command, and the
# end. What is written goes to memory; the files of the host are read only.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
mkdir -p /var/lib/pinnace
for folder in /tmp /var/lib/pinnace; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o mode=0620,gid=5,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname machine
# As systemd has it; processes of the root would keep it from handing controllers down otherwise.
ulimit -n 524288
code=1
. /run/command
echo "machine: exit $code"
echo o >/proc/sysrq-trigger
sleep 60
