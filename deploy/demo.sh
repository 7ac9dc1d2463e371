#!/bin/sh
# The main job from nothing: a lab, an image, two pods on different nodes, and a page from one to the other.
# Run it again and it works again: a lab that is there is used.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
now() { date +%s%N; }
begun=$(now)
step() {
    printf '%-52s' "$1"
    step_begun=$(now)
}
done_() {
    elapsed=$((($(now) - step_begun) / 1000000))
    printf '%4d.%03d s\n' $((elapsed / 1000)) $((elapsed % 1000))
}
quietly() {
    output=$("$@" 2>&1) || { printf 'failed\n%s\n' "$output" >&2; exit 1; }
}

[ "$(id -u)" -eq 0 ] || { echo "The demo makes namespaces, which needs root: sudo make demo" >&2; exit 1; }

step "A lab of three nodes"
if kctl lab status --name default >/dev/null 2>&1; then
    # After a reboot or a crash too.
    quietly kctl lab start --name default
else
    quietly kctl lab up --nodes 3
fi
done_

step "An image from busybox-static, on every node"
rm -rf "$here/.demo"
mkdir -p "$here/.demo"
quietly "$here/examples/busybox-image.sh" "$here/.demo/busybox"
quietly kctl image load "$here/.demo/busybox" --name busybox
done_

step "kctl apply -f examples/"
quietly kctl delete -f "$here/examples" --ignore-not-found --now
step_begun=$(now)
quietly kctl apply -f "$here/examples"
done_

step "Pods Ready"
quietly kctl wait pod -l app=demo --for=condition=Ready --timeout=60s
done_

step "A page from pod to pod, by a Service name"
fetch() { kctl exec client -- timeout 5 wget -q -O - http://web/; }
# Nodes learn of a ready pod a moment later.
page=$(fetch 2>/dev/null || { sleep 1; fetch; }) || { echo failed >&2; exit 1; }
done_

total=$((($(now) - begun) / 1000000))
printf '%-52s%4d.%03d s\n\n' "Together" $((total / 1000)) $((total % 1000))
kctl get pods -o wide
printf '\nclient fetched http://web/ and read:\n    %s\n' "$page"
web=$(kctl get pod web -o jsonpath='{.spec.nodeName}')
client=$(kctl get pod client -o jsonpath='{.spec.nodeName}')
[ "$web" != "$client" ] || { echo "both pods are on $web, but the demo needs two nodes" >&2; exit 1; }

kctl=kctl
command -v kctl | grep -q "^$here/" && kctl=.venv/bin/kctl
printf '\nThe lab is still up. Try next:\n'
printf '    %s describe pod web\n' "$kctl"
printf '    %s exec -it client -- sh\n' "$kctl"
printf '    %s lab node stop %s && %s get nodes -w\n' "$kctl" "$web" "$kctl"
printf 'and to remove the lab: %s lab down\n' "$kctl"
