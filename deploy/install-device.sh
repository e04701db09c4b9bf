#!/usr/bin/env bash
# Make a Debian machine a device of a fleet: a user, a virtual environment, the operator's bundle and a systemd unit.
#
#   sudo deploy/install-device.sh gate-1.enrol --data 1=/srv/images/1
#
# What follows the bundle goes to `tinytrain-client enrol`. Every step may be repeated. The images have to be readable
# for the user `tinytrain`. TINYTRAIN_SOURCE is what pip installs, by default this checkout.
set -euo pipefail
bundle="${1:?the bundle that tinytrain-server node add wrote}"
shift
here="$(cd "$(dirname "$0")/.." && pwd)"
source="${TINYTRAIN_SOURCE:-$here}"
home="${TINYTRAIN_HOME:-/opt/tinytrain}"
settings="${TINYTRAIN_SETTINGS:-/etc/tinytrain}"
store="${TINYTRAIN_STORE:-/var/lib/tinytrain}"
units="${UNITS:-/etc/systemd/system}"

id -u tinytrain > /dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin tinytrain

if [ ! -x "$home/bin/tinytrain-client" ]; then
    [ -x "$home/bin/python" ] || python3 -m venv "$home"
    "$home/bin/pip" install -q -c "$here/constraints.txt" "$source[device]"
fi

"$home/bin/tinytrain-client" enrol "$bundle" --into "$settings" --store "$store" "$@"
install -d -o tinytrain -g tinytrain -m 0700 "$store"
chown -R tinytrain:tinytrain "$settings"
chmod 0700 "$settings"

sed -e "s#/opt/tinytrain#$home#g" -e "s#/etc/tinytrain#$settings#g" -e "s#/var/lib/tinytrain#$store#g" \
    -e "s#^StateDirectory=.*#ReadWritePaths=$store#; /^StateDirectoryMode=/d" \
    "$here/deploy/systemd/tinytrain-client.service" > "$units/tinytrain-client.service"
command -v systemctl > /dev/null && systemctl daemon-reload || true
echo "Next: delete $bundle, then: systemctl enable --now tinytrain-client"
