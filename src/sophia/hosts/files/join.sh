#!/bin/bash
# Exchanges the join token for credentials, once.
set -euo pipefail
. /etc/sophia/host.env
[ -s /var/lib/sophia/credentials.env ] && exit 0
docker run --rm --network host -v /var/lib/sophia:/var/lib/sophia -v /etc/sophia:/etc/sophia:ro "$SOPHIA_IMAGE" \
  host join --url "$SOPHIA_JOIN_URL" --token-file /etc/sophia/join-token --folder /var/lib/sophia
rm -f /etc/sophia/join-token
