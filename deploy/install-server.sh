#!/usr/bin/env bash
# Install the server of a fleet on Debian: a user, a virtual environment, nginx and two systemd units.
#
#   sudo deploy/install-server.sh /srv/fleet fleet.example.org:443
#
# Every step may be repeated. TINYTRAIN_SOURCE is what pip installs, by default this checkout.
set -euo pipefail
fleet="${1:?the folder of the fleet, as /srv/fleet}"
address="${2:?host:port that devices dial}"
here="$(cd "$(dirname "$0")/.." && pwd)"
source="${TINYTRAIN_SOURCE:-$here}"
home=/opt/tinytrain
units="${UNITS:-/etc/systemd/system}"

command -v nginx > /dev/null || [ -x /usr/sbin/nginx ] || apt-get install -y nginx-light
id -u tinytrain > /dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin tinytrain

[ -x "$home/bin/python" ] || python3 -m venv "$home"
"$home/bin/pip" install -q -c "$here/constraints.txt" "$source[server]"

install -d -o tinytrain -g tinytrain -m 0700 "$fleet"
as_owner() { runuser -u tinytrain -- "$home/bin/tinytrain-server" "$@"; }
[ -e "$fleet/server.yaml" ] || as_owner init "$fleet" --address "$address"
[ -e "$fleet/pki/ca.crt" ] || as_owner pki init --fleet "$fleet"
as_owner nginx-conf --fleet "$fleet" --out "$fleet/nginx.conf"

for unit in tinytrain-server tinytrain-proxy; do
    sed "s#/srv/fleet#$fleet#g" "$here/deploy/systemd/$unit.service" > "$units/$unit.service"
done
systemctl daemon-reload
echo "Next: release keygen and trust, then: systemctl enable --now tinytrain-server tinytrain-proxy"
