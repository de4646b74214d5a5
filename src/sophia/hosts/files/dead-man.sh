#!/bin/bash
# Ends this host when its control plane was not seen for the time of its lease, or its worker says so ("now").
set -euo pipefail
. /etc/sophia/host.env
seen=$(stat -c %Y /var/lib/sophia/seen 2>/dev/null || echo 0)
age=$(($(date +%s) - seen))
if [ "${1:-}" != now ] && [ "$age" -lt "$SOPHIA_END_AFTER_S" ]; then
  exit 0
fi
echo "the control plane was last seen $age s ago: this host ends" >&2
systemctl stop sophia-runner.service || true
if [ -s /var/lib/sophia/credentials.env ]; then
  timeout 120 docker run --rm --network host --env-file /var/lib/sophia/credentials.env -v /var/lib/sophia:/var/lib/sophia:ro \
    "$SOPHIA_IMAGE" host end --id "$SOPHIA_INSTANCE_ID" --config /var/lib/sophia/sophia.yaml || true
fi
systemctl poweroff
