#!/bin/sh
# In the machine, once its root is that of the machine it runs on: what an init would have done, then /run/command, and the
# end. The files of the host are read only: what is written goes to memory, and in two places to a disk of the machine's own.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
modprobe virtio_blk
mkdir -p /run/disk
mount -t ext4 /dev/vda /run/disk
# The checkout may lie below a folder that the disk is mounted on.
checkout=$(cat /run/checkout)
mkdir -p /run/source
mount --bind "$checkout" /run/source
for folder in /tmp /var/lib/pinnace; do
    mkdir -p "$folder" "/run/disk$folder"
    mount --bind "/run/disk$folder" "$folder"
done
chmod 1777 /tmp
mkdir -p "$checkout"
mount --bind /run/source "$checkout"
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o mode=0620,gid=5,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${number%:*}" "/dev/${number#*:}"; done
ip link set lo up
hostname machine
# As systemd has it.
ulimit -n 524288
. /run/command
echo o >/proc/sysrq-trigger
# With builtins: from here on there are no files to run programs from.
while :; do :; done
