#!/usr/bin/env bash
# Copy what a fleet cannot do without into one archive, while its server runs.
#
#   deploy/backup.sh /srv/fleet /var/backups/fleet-$(date +%F).tar.gz
#
# The archive holds the authority's private key: keep it as that is kept. Not in it are logs, and the SuperLink's
# database, which the server fills again from the fleet's.
set -euo pipefail
fleet="${1:?the folder of the fleet}"
archive="${2:?the archive to write}"
python="${PYTHON:-/opt/tinytrain/bin/python}"
umask 077
[ -f "$fleet/server.yaml" ] || { echo "there is no fleet in $fleet" >&2; exit 2; }
copy="$(mktemp -d)"
trap 'rm -rf "$copy"' EXIT

mkdir "$copy/state"
for name in server.yaml trust.json pki releases nginx.conf; do
    [ ! -e "$fleet/$name" ] || cp -a "$fleet/$name" "$copy/$name"
done
database="$fleet/state/fleet.sqlite"
[ -e "$database" ] || echo "the fleet has no database yet: nodes, rollouts and reports are not in the archive" >&2
[ ! -e "$database" ] || "$python" - "$database" "$copy/state/fleet.sqlite" << 'END'
import sqlite3
import sys
from pathlib import Path

source = sqlite3.connect(Path(sys.argv[1]).resolve().as_uri() + "?mode=ro", uri=True)
target = sqlite3.connect(sys.argv[2])
source.backup(target)
(found,) = target.execute("PRAGMA integrity_check").fetchone()
sys.exit(None if found == "ok" else f"the copy of the database is damaged: {found}")
END
tar -C "$copy" -czf "$archive.partial" .
mv "$archive.partial" "$archive"
echo "wrote $archive"
