#!/bin/sh
# Debian's kernel and its modules into a folder, without installing it: the virtual machine of tests/vm boots it.
set -eu
folder=$1
[ -e "$folder/complete" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
package=linux-image-$(dpkg --print-architecture)
depends() { apt-cache depends "$package" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
[ -n "$(depends)" ] || apt-get update -qq
image=$(depends)
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
# A list of packages may be older than what the archive still has.
apt-get download -qq "$image" 2>download.log || { apt-get update -qq; image=$(depends); apt-get download -qq "$image"; }
echo "Debian's kernel: $image"
version=${image#linux-image-}
# Below /lib or, from Debian 13 on, /usr/lib.
modules=*/lib/modules/$version
dpkg-deb --fsys-tarfile "$image"_*.deb | tar -x --wildcards '*/boot/vmlinuz-*' "$modules/modules.*" \
    "$modules/kernel/arch/*" "$modules/kernel/crypto/*" "$modules/kernel/lib/*" "$modules/kernel/fs/*" \
    "$modules/kernel/net/*" "$modules/kernel/drivers/net/*" "$modules/kernel/drivers/virtio/*" "$modules/kernel/drivers/block/*"
[ ! -d usr/lib/modules ] || mv usr/lib .
depmod -b . "$version"
ln -s "boot/vmlinuz-$version" vmlinuz
ln -s "lib/modules/$version" modules
rm -f ./*.deb download.log
touch complete
