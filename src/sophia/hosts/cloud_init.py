"""The cloud-init document that a GPU host is set up with. No secret is in it but the join token, which is good once and
for a short time."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from importlib import resources

import msgspec
import yaml

from sophia.decisions.fit import Fit
from sophia.hosts.vllm import vllm_arguments
from sophia.nouns.errors import InvalidInput

DEAD_MAN_EVERY_S = 60
SPARE_S = 120.0
"""The host's own timer comes that much after the worker's drain."""
VLLM_IMAGE = "vllm/vllm-openai:v0.33.0"
VLLM_PORT = 8000
ABANDONED = 75
"""Exit status of a worker whose lease has run out."""
_PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")


class ServedModel(msgspec.Struct, frozen=True):
    """A model that the host serves with vLLM."""

    fit: Fit
    repository: str


class HostPlan(msgspec.Struct, frozen=True, kw_only=True):
    instance_id: str
    pool: str
    join_url: str
    """The gateway's, as hosts reach it."""
    join_token: str
    image: str
    """Of the runner; its entry point is ``sophia``."""
    gpus: int
    lease_s: float
    drain_s: float
    restart_s: float
    models: Sequence[ServedModel] = ()


def user_data(plan: HostPlan) -> str:
    """The document. Raises ``InvalidInput`` for names that cannot stand in files and units."""
    for name in (plan.instance_id, plan.pool, *(model.fit.model for model in plan.models)):
        if not _PLAIN.match(name):
            raise InvalidInput(f"{name!r} cannot name a host, a pool or a served model")
    if not plan.join_url.startswith("https://"):
        raise InvalidInput("hosts join over https only", field="gpu_hosts.join_url")
    scripts = ("setup.sh", "join.sh", "runner.sh", "dead-man.sh")
    files = [
        _file("/etc/sophia/host.env", _environment(plan), "0644"),
        _file("/etc/sophia/join-token", plan.join_token, "0600"),
        *(_file(f"/opt/sophia/{name}", script(name), "0755") for name in scripts),
        _file("/etc/systemd/system/sophia-runner.service", _runner(plan)),
        _file("/etc/systemd/system/sophia-dead-man.service", _DEAD_MAN),
        _file("/etc/systemd/system/sophia-dead-man.timer", _TIMER),
        *(
            _file(f"/etc/systemd/system/sophia-vllm-{model.fit.model}.service", _vllm(plan, model, VLLM_PORT + number))
            for number, model in enumerate(plan.models)
        ),
    ]
    document = {"write_files": files, "runcmd": [["/opt/sophia/setup.sh"]]}
    return "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False, width=1000)


def script(name: str) -> str:
    return resources.files("sophia.hosts").joinpath("files", name).read_text()


def _file(path: str, content: str, mode: str = "0644") -> dict[str, str]:
    return {"path": path, "owner": "root:root", "permissions": mode, "content": content}


def _environment(plan: HostPlan) -> str:
    values = {
        "SOPHIA_IMAGE": plan.image,
        "SOPHIA_POOL": plan.pool,
        "SOPHIA_INSTANCE_ID": plan.instance_id,
        "SOPHIA_JOIN_URL": plan.join_url,
        "SOPHIA_GPUS": str(plan.gpus),
        "SOPHIA_LEASE_S": f"{plan.lease_s:.0f}",
        "SOPHIA_END_AFTER_S": f"{plan.lease_s + plan.drain_s + SPARE_S:.0f}",
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _runner(plan: HostPlan) -> str:
    return f"""[Unit]
Description=Sophia GPU runner
After=docker.service network-online.target
Wants=network-online.target
Requires=docker.service
# Tried for as long as the host lives; the dead-man's switch ends what never comes up.
StartLimitIntervalSec=0

[Service]
ExecStartPre=/opt/sophia/join.sh
ExecStart=/opt/sophia/runner.sh
ExecStop=/usr/bin/docker stop -t {plan.drain_s:.0f} sophia-runner
TimeoutStartSec=1800
TimeoutStopSec={plan.drain_s + 10:.0f}
Restart=always
RestartSec={plan.restart_s:.0f}
RestartPreventExitStatus={ABANDONED}

[Install]
WantedBy=multi-user.target
"""


def _vllm(plan: HostPlan, model: ServedModel, port: int) -> str:
    arguments = vllm_arguments(model.fit, model.repository, host="127.0.0.1", port=port)
    # The image's entry point is `vllm serve`.
    served = " ".join(shlex.quote(argument) for argument in arguments[1:])
    name = f"sophia-vllm-{model.fit.model}"
    return f"""[Unit]
Description=vLLM serving {model.fit.model}
After=docker.service sophia-runner.service
Requires=docker.service
StartLimitIntervalSec=0

[Service]
ExecStartPre=/bin/sh -c 'test -s /var/lib/sophia/credentials.env'
ExecStartPre=-/usr/bin/docker rm -f {name}
ExecStart=/usr/bin/docker run --rm --name {name} --gpus all --ipc host --network host \\
  --env-file /var/lib/sophia/credentials.env -v /var/lib/sophia/models:/root/.cache/huggingface \\
  {VLLM_IMAGE} {served}
ExecStop=/usr/bin/docker stop -t {plan.drain_s:.0f} {name}
TimeoutStartSec=1800
Restart=always
RestartSec={plan.restart_s:.0f}

[Install]
WantedBy=multi-user.target
"""


_DEAD_MAN = """[Unit]
Description=Ends this host when nobody looks after it any more

[Service]
Type=oneshot
ExecStart=/opt/sophia/dead-man.sh
"""

_TIMER = f"""[Unit]
Description=Looks every {DEAD_MAN_EVERY_S} s whether this host is still looked after

[Timer]
OnBootSec={DEAD_MAN_EVERY_S}
OnUnitActiveSec={DEAD_MAN_EVERY_S}

[Install]
WantedBy=timers.target
"""
