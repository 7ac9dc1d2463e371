#!/bin/busybox sh
# Process 1 of the initramfs: the modules for the way to the host's files, then on with those as the root.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /lower /over /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "machine: no module $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /lower || echo "machine: no files of the host"
mount -t tmpfs -o size=75% tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/lower,upperdir=/over/upper,workdir=/over/work overlay /root
for point in proc sys dev; do mount --move "/$point" "/root/$point"; done
mount -t tmpfs -o mode=755 tmpfs /root/run
cp /command /checkout /guest.sh /root/run
kernel=$(cat /modules/kernel)
mkdir -p "/root/lib/modules/$(uname -r)"
mount --bind "/root$kernel" "/root/lib/modules/$(uname -r)"
exec switch_root /root /bin/sh /run/guest.sh
