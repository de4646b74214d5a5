#!/bin/bash
# Sets a GPU host up, once: Docker, the NVIDIA container toolkit, the services.
set -euo pipefail
. /etc/sophia/host.env
mkdir -p /var/lib/sophia
# From here on the dead-man's timer counts, whatever fails below.
touch /var/lib/sophia/seen
systemctl daemon-reload
systemctl enable --now sophia-dead-man.timer

export DEBIAN_FRONTEND=noninteractive
if ! command -v docker >/dev/null; then
  apt-get update -q
  apt-get install -q -y docker.io
fi
if ! command -v nvidia-ctk >/dev/null; then
  site=https://nvidia.github.io/libnvidia-container
  keyring=/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg
  curl -fsSL --retry 5 "$site/gpgkey" | gpg --dearmor --yes -o "$keyring"
  echo "deb [signed-by=$keyring] $site/stable/deb/$(dpkg --print-architecture) /" \
    >/etc/apt/sources.list.d/nvidia-container-toolkit.list
  apt-get update -q
  apt-get install -q -y nvidia-container-toolkit
fi
nvidia-ctk runtime configure --runtime=docker
systemctl restart docker
for _ in 1 2 3 4 5; do
  docker pull -q "$SOPHIA_IMAGE" && break
  sleep 10
done
systemctl enable --now sophia-runner.service
for unit in /etc/systemd/system/sophia-vllm-*.service; do
  [ -e "$unit" ] || continue
  systemctl enable --now "$(basename "$unit")"
done
