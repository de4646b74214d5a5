#!/bin/bash
# The worker in its container. It is ready, that is reports to the queue, only after the GPUs have passed their test.
set -euo pipefail
. /etc/sophia/host.env
docker rm -f sophia-runner >/dev/null 2>&1 || true
docker run --rm --gpus all "$SOPHIA_IMAGE" host self-test --gpus "$SOPHIA_GPUS"
status=0
docker run --name sophia-runner --gpus all --network host --env-file /var/lib/sophia/credentials.env \
  -v /var/lib/sophia:/var/lib/sophia "$SOPHIA_IMAGE" worker --pool "$SOPHIA_POOL" --id "$SOPHIA_INSTANCE_ID" \
  --config /var/lib/sophia/sophia.yaml --lease-s "$SOPHIA_LEASE_S" --seen-file /var/lib/sophia/seen || status=$?
if [ "$status" = 75 ]; then
  systemd-run --no-block /opt/sophia/dead-man.sh now
fi
exit "$status"
