#!/bin/sh
# Makes a root filesystem out of Debian's busybox-static, for `kctl image load DIR --name busybox`.
set -eu
umask 022
out=${1:?usage: busybox-image.sh FOLDER}
busybox=$(command -v busybox) || { echo "busybox is missing: apt-get install busybox-static" >&2; exit 1; }
mkdir -p "$out/bin" "$out/etc" "$out/tmp" "$out/root" "$out/www"
chmod 1777 "$out/tmp"
cp "$busybox" "$out/bin/busybox"
# A link for each applet, some 270 of which `[` is one, by a few processes: each to itself, which tar makes one to busybox.
set -f
applets=$("$busybox" --list | grep -vx busybox)
links=$(mktemp -d)
trap 'rm -rf "$links"' EXIT
ln -s -t "$links" $applets
tar -C "$links" -c --transform 'flags=s;s/.*/busybox/' $applets | tar -C "$out/bin" -x
echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' > "$out/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' > "$out/etc/group"
