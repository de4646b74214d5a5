"""Every operation of the HTTP API, once. The app is routed from this table and the OpenAPI document is made from it."""

from __future__ import annotations

from sophia.events.view import EventView
from sophia.gateway import access_schemas as access
from sophia.gateway import openai_schemas as openai
from sophia.gateway import schemas as api
from sophia.gateway.file_operations import FILE_OPERATIONS
from sophia.gateway.operation import Answer, Operation, Param, several, text
from sophia.nouns.submission import Submission
from sophia.nouns.task import TaskState, TaskType

MAX_LIST = 200
MAX_WAIT_S = 60
DEFAULT_LIST = 50


LIMIT = Param(
    name="limit",
    description="At most that many.",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_LIST, "default": DEFAULT_LIST},
)
IDEMPOTENCY = Param(
    name="Idempotency-Key",
    location="header",
    description="The same key with the same body gives the same task again (`duplicate: true`, status 202 as the first"
    " time); with another body it is refused with 409. A batch's tasks are compared one by one, by their index.",
    schema={"type": "string", "minLength": 1, "maxLength": 255},
)
LAST_EVENT_ID = Param(
    name="Last-Event-ID",
    location="header",
    description="As `after`; browsers send it when they reconnect. `after` wins.",
    schema={"type": "string"},
)
EVENTS_NOTE = (
    "Replays the task's log after the given position, then follows it live, and ends after the final event. Each event"
    " has `id` (its `seq`, the position to resume from), `event` (its kind) and `data` (an `EventView`). A comment every"
    " 15 s keeps the connection alive."
)

OPERATIONS: tuple[Operation, ...] = (
    *FILE_OPERATIONS,
    Operation(
        id="submitTask",
        method="POST",
        path="/v1/tasks",
        tag="tasks",
        summary="Submit a task",
        description="Accepted is durable: the task runs, or ends in a final state that says why.",
        request=Submission,
        answers=(
            Answer(
                status=202,
                description="Accepted",
                body=api.Accepted,
                headers={"Location": "Where the task can be read"},
            ),
        ),
        errors=(400, 409, 413, 422),
        params=(IDEMPOTENCY,),
    ),
    Operation(
        id="submitBatch",
        method="POST",
        path="/v1/tasks/batch",
        tag="tasks",
        summary="Submit several tasks: all or none",
        request=api.BatchSubmission,
        answers=(Answer(status=202, description="All accepted, in the order given", body=api.BatchAccepted),),
        errors=(400, 409, 413, 422),
        params=(IDEMPOTENCY,),
    ),
    Operation(
        id="listTasks",
        method="GET",
        path="/v1/tasks",
        tag="tasks",
        summary="List tasks, newest first",
        description="Read from the ledger, which follows the queue within about a second.",
        answers=(Answer(status=200, description="A page of tasks", body=api.TaskList),),
        errors=(422,),
        params=(
            several("state", "Only these states; repeat it or separate with commas.", [s.value for s in TaskState]),
            several("type", "Only these task types.", [kind.value for kind in TaskType]),
            several("stream", "Only these streams, such as `planning` or `stream:planning`."),
            text("submitted_after", "Only tasks submitted at or after this time.", format="date-time"),
            text("submitted_before", "Only tasks submitted before this time.", format="date-time"),
            LIMIT,
            text("cursor", "`next_cursor` of the page before."),
        ),
    ),
    Operation(
        id="getTask",
        method="GET",
        path="/v1/tasks/{task_id}",
        tag="tasks",
        summary="Read a task",
        description="With its payload and result in full, however large. A 410 says that one of them is lost.",
        answers=(Answer(status=200, description="The task", body=api.TaskView),),
        errors=(404, 410, 422),
        params=(
            Param(
                name="wait",
                description="Answer when the task is final, or after that many seconds with its state then.",
                schema={"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0},
            ),
        ),
    ),
    Operation(
        id="cancelTask",
        method="POST",
        path="/v1/tasks/{task_id}/cancel",
        tag="tasks",
        summary="Cancel a task",
        description="What waits is cancelled at once; the worker of what runs is asked to stop. A task that is final"
        " already stays as it is.",
        request=api.CancelRequest,
        request_required=False,
        answers=(Answer(status=200, description="The task after that", body=api.TaskView),),
        errors=(400, 404, 410, 413, 422),
    ),
    Operation(
        id="taskEvents",
        method="GET",
        path="/v1/tasks/{task_id}/events",
        tag="tasks",
        summary="Follow a task (server-sent events)",
        description=EVENTS_NOTE,
        answers=(Answer(status=200, description="A stream of events", body=EventView, media="text/event-stream"),),
        errors=(404, 422),
        params=(text("after", "The `seq` of the last event seen; 0 or absent: from the start."), LAST_EVENT_ID),
    ),
    Operation(
        id="explainTask",
        method="GET",
        path="/v1/tasks/{task_id}/explain",
        tag="tasks",
        summary="Say why a task is where it is",
        answers=(Answer(status=200, description="The explanation", body=api.Explanation),),
        errors=(404,),
    ),
    Operation(
        id="listDeadLetters",
        method="GET",
        path="/v1/dead-letters",
        tag="tasks",
        summary="List dead letters, newest first",
        description="Tasks that used up their attempts, each with its last error. `GET /v1/tasks?state=dead` pages through"
        " all of them.",
        answers=(Answer(status=200, description="The newest", body=api.DeadLetters),),
        errors=(422,),
        params=(LIMIT,),
    ),
    Operation(
        id="redriveDeadLetters",
        method="POST",
        path="/v1/dead-letters/redrive",
        tag="tasks",
        summary="Queue dead letters again",
        description="Named ones, or all: at most 1,000 a call. Attempts are counted anew.",
        request=api.RedriveRequest,
        answers=(Answer(status=200, description="Which went, and why others did not", body=api.Redriven),),
        errors=(400, 413, 422),
    ),
    Operation(
        id="listTaskTypes",
        method="GET",
        path="/v1/task-types",
        tag="tasks",
        summary="Task types with the schemas of their payloads and results",
        answers=(Answer(status=200, description="All types", body=api.TypeList),),
    ),
    Operation(
        id="getQueue",
        method="GET",
        path="/v1/queue",
        tag="platform",
        summary="What waits and runs, by stream and priority",
        answers=(Answer(status=200, description="The queue now", body=api.QueueView),),
    ),
    Operation(
        id="listPoison",
        method="GET",
        path="/v1/poison",
        tag="platform",
        summary="Queue entries that could not be decoded, newest first",
        description="They belong to no tenant, so this is for operators. About the last thousand are kept.",
        answers=(Answer(status=200, description="How many, and the newest", body=api.PoisonList),),
        errors=(422,),
        params=(LIMIT,),
        operator=True,
    ),
    Operation(
        id="getPools",
        method="GET",
        path="/v1/pools",
        tag="platform",
        summary="Pools and their instances",
        answers=(Answer(status=200, description="As the pool manager last saw them", body=api.PoolsView),),
    ),
    Operation(
        id="orderPool",
        method="POST",
        path="/v1/pools/{pool}/orders",
        tag="platform",
        summary="Drain, terminate or launch an instance, cordon a pool",
        description="For operators. The pool manager carries it out, or answers why not. A cordoned pool launches nothing"
        " until it is uncordoned.",
        request=api.PoolOrderRequest,
        answers=(Answer(status=200, description="What the pool manager says", body=api.PoolOrderView),),
        errors=(400, 404, 413, 422),
        operator=True,
    ),
    Operation(
        id="listSchedules",
        method="GET",
        path="/v1/schedules",
        tag="platform",
        summary="Your schedules with their next and last occurrence",
        description="They are defined under `schedules` in sophia.yaml. Their tasks carry the label `schedule`.",
        answers=(Answer(status=200, description="All of them", body=api.ScheduleList),),
    ),
    Operation(
        id="getBudgets",
        method="GET",
        path="/v1/budgets",
        tag="platform",
        summary="Your budgets: what is spent, reserved and left, and when each resets",
        description="As the queue counts them at this moment. They are defined under `tenants` in sophia.yaml.",
        answers=(Answer(status=200, description="Every cap of the tenant", body=api.BudgetsView),),
        errors=(403, 422),
        params=(text("tenant", "Another tenant's, for operators."),),
    ),
    Operation(
        id="createChatCompletion",
        method="POST",
        path="/v1/chat/completions",
        tag="openai",
        summary="Chat, as OpenAI's API has it",
        description="The request passes to the model's server unchanged but for the model's name. When the client goes"
        " away, generation stops.",
        request=openai.ChatRequest,
        answers=(
            Answer(status=200, description="The answer", body=openai.ChatCompletion),
            Answer(status=200, description="With `stream: true`", media="text/event-stream"),
        ),
        errors=(400, 404, 413, 429),
    ),
    Operation(
        id="createEmbedding",
        method="POST",
        path="/v1/embeddings",
        tag="openai",
        summary="Embeddings, as OpenAI's API has them",
        request=openai.EmbeddingRequest,
        answers=(Answer(status=200, description="One vector for each input", body=openai.EmbeddingResponse),),
        errors=(400, 404, 413, 429),
    ),
    Operation(
        id="listModels",
        method="GET",
        path="/v1/models",
        tag="openai",
        summary="Models that can be used now",
        answers=(Answer(status=200, description="All models", body=openai.ModelInfoList),),
    ),
    Operation(
        id="getModel",
        method="GET",
        path="/v1/models/{model}",
        tag="openai",
        summary="One model",
        answers=(Answer(status=200, description="The model", body=openai.ModelInfo),),
        errors=(404,),
    ),
    Operation(
        id="createKey",
        method="POST",
        path="/v1/keys",
        tag="keys",
        summary="Make a virtual key",
        description="Its text is in this answer and nowhere else. It is good in every gateway within 2 s.",
        request=access.KeyRequest,
        answers=(Answer(status=201, description="The key", body=access.KeyCreated),),
        errors=(400, 413, 422),
    ),
    Operation(
        id="listKeys",
        method="GET",
        path="/v1/keys",
        tag="keys",
        summary="List virtual keys, newest first",
        description="Those of the asking key's tenant; an operator's key sees all.",
        answers=(Answer(status=200, description="Keys, revoked ones too", body=access.KeyList),),
        params=(text("tenant", "Only keys of this tenant."),),
    ),
    Operation(
        id="revokeKey",
        method="DELETE",
        path="/v1/keys/{key_id}",
        tag="keys",
        summary="Revoke a virtual key",
        description="It is refused everywhere within 2 s. Revoking again changes nothing.",
        answers=(Answer(status=200, description="The key", body=access.KeyView),),
        errors=(404,),
    ),
    Operation(
        id="getUsage",
        method="GET",
        path="/v1/usage",
        tag="keys",
        summary="What was used, and what it cost",
        description="Of the asking key's tenant; an operator's key sees all. Exact to the last call that has ended.",
        answers=(Answer(status=200, description="Sums", body=access.UsageReport),),
        errors=(422,),
        params=(
            text("from", "First UTC day; default: 30 days up to `to`.", format="date"),
            text("to", "Last UTC day; default: today.", format="date"),
            several("by", "What to split by; default: day and model.", ["day", "tenant", "key", "model", "provider"]),
            text("tenant", "Only of this tenant."),
        ),
    ),
    Operation(
        id="health",
        method="GET",
        path="/health",
        tag="service",
        summary="Whether the process lives",
        answers=(Answer(status=200, description="It does", body=api.Health),),
        auth=False,
    ),
    Operation(
        id="joinHost",
        method="POST",
        path="/v1/hosts/join",
        tag="service",
        summary="Exchange a GPU host's join token for its credentials",
        description="The token is good for one host and a short time. Attempts are limited: 20 a minute from one address.",
        request=api.JoinHost,
        answers=(Answer(status=200, description="It has joined", body=api.HostJoined),),
        errors=(400, 401, 413, 422, 429, 503),
        auth=False,
    ),
    Operation(
        id="ready",
        method="GET",
        path="/ready",
        tag="service",
        summary="Whether all that it depends on answers",
        answers=(
            Answer(status=200, description="Ready", body=api.Readiness),
            Answer(status=503, description="Not ready; the failed checks say why", body=api.Readiness),
        ),
        auth=False,
    ),
    Operation(
        id="clientConfig",
        method="GET",
        path="/config.json",
        tag="service",
        summary="What the page needs before it has a key",
        answers=(Answer(status=200, description="Addresses and version", body=api.ClientConfig),),
        auth=False,
    ),
)

TAGS = {
    "tasks": "Submit, follow and cancel tasks.",
    "platform": "What waits, what runs it.",
    "openai": "The paths of OpenAI's API, for its unmodified clients. Errors have OpenAI's shape here.",
    "keys": "Virtual keys and what was used. For keys with the scope `admin`, and those of `sophia.yaml`.",
    "service": "For load balancers, the page, and hosts that join; no key needed.",
}
