#!/usr/bin/env bash
# Install the server of a fleet on Debian: a user, a virtual environment, nginx, systemd units, and the fleet's folder.
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
export PATH="$PATH:/usr/sbin:/sbin"

lacking=()
python3 -c 'import ensurepip' 2> /dev/null || lacking+=(python3-venv)
command -v nginx > /dev/null || lacking+=(nginx-light)
if [ "${#lacking[@]}" -gt 0 ]; then
    apt-get update -q
    apt-get install -y -q "${lacking[@]}"
fi
# Debian starts an nginx of its own, for a site at port 80; the fleet's has its own unit and configuration.
[[ "${lacking[*]}" != *nginx* ]] || systemctl disable --now nginx
id -u tinytrain > /dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin tinytrain

[ -x "$home/bin/python" ] || python3 -m venv "$home"
"$home/bin/pip" install -q -c "$here/constraints.txt" "$source[server]"
sed "s#/srv/fleet#$fleet#g" "$here/deploy/tinytrain-server" > /usr/local/bin/tinytrain-server
chmod 0755 /usr/local/bin/tinytrain-server

install -d -o tinytrain -g tinytrain -m 0700 "$fleet" "$fleet/state" "$fleet/releases"
cd "$fleet"
[ -e "$fleet/server.yaml" ] || tinytrain-server init "$fleet" --address "$address"
[ -e "$fleet/pki/ca.crt" ] || tinytrain-server pki init
tinytrain-server nginx-conf --out "$fleet/nginx.conf"

for unit in tinytrain-server.service tinytrain-proxy.service tinytrain-logs.service tinytrain-logs.timer; do
    sed "s#/srv/fleet#$fleet#g" "$here/deploy/systemd/$unit" > "$units/$unit"
done
systemctl daemon-reload
systemctl enable --now tinytrain-logs.timer
echo "Next: docs/operations.md from step 3 on, in $fleet"
