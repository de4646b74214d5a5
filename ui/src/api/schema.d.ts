// Generated from the gateway's OpenAPI document by "npm run types". Do not edit.

export interface paths {
    "/config.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What the page needs before it has a key */
        get: operations["clientConfig"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/health": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether the process lives */
        get: operations["health"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/ready": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether all that it depends on answers */
        get: operations["ready"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/batches": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List batches, newest first */
        get: operations["listBatches"];
        put?: never;
        /**
         * Make a batch of the requests in a file
         * @description They are carried out within 24 hours at a lower price, when there is capacity.
         */
        post: operations["createBatch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/batches/{batch_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One batch */
        get: operations["getBatch"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/batches/{batch_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a batch
         * @description What has not begun is stopped; what is done is kept.
         */
        post: operations["cancelBatch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/budgets": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Your budgets: what is spent, reserved and left, and when each resets
         * @description As the queue counts them at this moment. They are defined under `tenants` in sophia.yaml.
         */
        get: operations["getBudgets"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/chat/completions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Chat, as OpenAI's API has it
         * @description The request passes to the model's server unchanged but for the model's name. When the client goes away, generation stops.
         */
        post: operations["createChatCompletion"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/dead-letters": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List dead letters, newest first
         * @description Tasks that used up their attempts, each with its last error. `GET /v1/tasks?state=dead` pages through all of them.
         */
        get: operations["listDeadLetters"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/dead-letters/redrive": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Queue dead letters again
         * @description Named ones, or all: at most 1,000 a call. Attempts are counted anew.
         */
        post: operations["redriveDeadLetters"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/embeddings": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Embeddings, as OpenAI's API has them */
        post: operations["createEmbedding"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/files": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List files */
        get: operations["listFiles"];
        put?: never;
        /** Upload a file of requests for a batch */
        post: operations["uploadFile"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/files/{file_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One file */
        get: operations["getFile"];
        put?: never;
        post?: never;
        /**
         * Delete a file
         * @description A batch that reads it goes on. Its content goes within two days.
         */
        delete: operations["deleteFile"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/files/{file_id}/content": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The content of a file */
        get: operations["getFileContent"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/hosts/join": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Exchange a GPU host's join token for its credentials
         * @description The token is good for one host and a short time. Attempts are limited: 20 a minute from one address.
         */
        post: operations["joinHost"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/keys": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List virtual keys, newest first
         * @description Those of the asking key's tenant; an operator's key sees all.
         */
        get: operations["listKeys"];
        put?: never;
        /**
         * Make a virtual key
         * @description Its text is in this answer and nowhere else. It is good in every gateway within 2 s.
         */
        post: operations["createKey"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/keys/{key_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Revoke a virtual key
         * @description It is refused everywhere within 2 s. Revoking again changes nothing.
         */
        delete: operations["revokeKey"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Models that can be used now */
        get: operations["listModels"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/models/{model}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** One model */
        get: operations["getModel"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/poison": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Queue entries that could not be decoded, newest first
         * @description They belong to no tenant, so this is for operators. About the last thousand are kept.
         */
        get: operations["listPoison"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/pools": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Pools and their instances */
        get: operations["getPools"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/pools/{pool}/orders": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Drain, terminate or launch an instance, cordon a pool
         * @description For operators. The pool manager carries it out, or answers why not. A cordoned pool launches nothing until it is uncordoned.
         */
        post: operations["orderPool"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/queue": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** What waits and runs, by stream and priority */
        get: operations["getQueue"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/schedules": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Your schedules with their next and last occurrence
         * @description They are defined under `schedules` in sophia.yaml. Their tasks carry the label `schedule`.
         */
        get: operations["listSchedules"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/task-types": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Task types with the schemas of their payloads and results */
        get: operations["listTaskTypes"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List tasks, newest first
         * @description Read from the ledger, which follows the queue within about a second.
         */
        get: operations["listTasks"];
        put?: never;
        /**
         * Submit a task
         * @description Accepted is durable: the task runs, or ends in a final state that says why.
         */
        post: operations["submitTask"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks/{task_id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read a task
         * @description With its payload and result in full, however large. A 410 says that one of them is lost.
         */
        get: operations["getTask"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks/{task_id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a task
         * @description What waits is cancelled at once; the worker of what runs is asked to stop. A task that is final already stays as it is.
         */
        post: operations["cancelTask"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks/{task_id}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Follow a task (server-sent events)
         * @description Replays the task's log after the given position, then follows it live, and ends after the final event. Each event has `id` (its `seq`, the position to resume from), `event` (its kind) and `data` (an `EventView`). A comment every 15 s keeps the connection alive.
         */
        get: operations["taskEvents"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks/{task_id}/explain": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Say why a task is where it is */
        get: operations["explainTask"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/tasks/batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Submit several tasks: all or none */
        post: operations["submitBatch"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/usage": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What was used, and what it cost
         * @description Of the asking key's tenant; an operator's key sees all. Exact to the last call that has ended.
         */
        get: operations["getUsage"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** Accepted */
        Accepted: {
            /** @description The idempotency key was known: this is the task it made. */
            duplicate: boolean;
            id: string;
            route: components["schemas"]["RouteView"];
            state: components["schemas"]["TaskState"];
        };
        /**
         * AttemptOutcome
         * @enum {unknown}
         */
        AttemptOutcome: "cancelled" | "dead" | "failed" | "handed_back" | "lost" | "retrying" | "running" | "succeeded";
        /** AttemptView */
        AttemptView: {
            ended_at: string | null;
            error: components["schemas"]["ErrorView"] | null;
            number: number;
            outcome: components["schemas"]["AttemptOutcome"];
            pool: string;
            /** Format: date-time */
            started_at: string;
            usage: components["schemas"]["UsageView"];
            worker: string;
        };
        /** BatchAccepted */
        BatchAccepted: {
            tasks: components["schemas"]["Accepted"][];
        };
        /** BatchEmbedding */
        BatchEmbedding: {
            /**
             * @description `float`: lists of numbers; `base64`: little-endian float32, about a quarter of the size.
             * @default float
             */
            encoding?: string;
            /** @default null */
            model?: string | null;
            texts: string[];
        };
        /** BatchErrors */
        BatchErrors: {
            data: components["schemas"]["BatchErrorView"][];
            /** @enum {unknown} */
            object: "list";
        };
        /** BatchErrorView */
        BatchErrorView: {
            code: string;
            /** @description Of the input file, counted from 1. */
            line: number | null;
            message: string;
            param: string | null;
        };
        /**
         * BatchObject
         * @description OpenAI's batch. Times are seconds since the epoch.
         */
        BatchObject: {
            cancelled_at: number | null;
            cancelling_at: number | null;
            completed_at: number | null;
            completion_window: string;
            created_at: number;
            endpoint: string;
            error_file_id: string | null;
            errors: components["schemas"]["BatchErrors"] | null;
            expired_at: number | null;
            expires_at: number;
            failed_at: number | null;
            finalizing_at: number | null;
            id: string;
            in_progress_at: number | null;
            input_file_id: string;
            metadata: {
                [key: string]: string;
            } | null;
            /** @description The one that all requests name, if there is one. */
            model: string | null;
            /** @enum {unknown} */
            object: "batch";
            output_file_id: string | null;
            request_counts: components["schemas"]["RequestCounts"];
            status: string;
            usage: components["schemas"]["BatchUsage"];
            /** @description Sophia's own: why no more of it is queued now, such as a budget that is used up. */
            waits_for: string | null;
        };
        /** BatchObjects */
        BatchObjects: {
            data: components["schemas"]["BatchObject"][];
            first_id: string | null;
            has_more: boolean;
            last_id: string | null;
            /** @enum {unknown} */
            object: "list";
        };
        /** BatchRequest */
        BatchRequest: {
            /** @enum {unknown} */
            completion_window: "24h";
            /** @enum {unknown} */
            endpoint: "/v1/chat/completions" | "/v1/embeddings";
            input_file_id: string;
            /** @default null */
            metadata?: {
                [key: string]: string;
            } | null;
            /**
             * @description Of the files that the batch makes, from their making.
             * @default null
             */
            output_expires_after?: components["schemas"]["ExpiresAfter"] | null;
        };
        /**
         * BatchSubmission
         * @description All are accepted or none.
         */
        BatchSubmission: {
            tasks: components["schemas"]["Submission"][];
        };
        /** BatchUsage */
        BatchUsage: {
            input_tokens: number;
            input_tokens_details: components["schemas"]["InputTokenDetails"];
            output_tokens: number;
            output_tokens_details: components["schemas"]["OutputTokenDetails"];
            total_tokens: number;
        };
        /**
         * Budget
         * @description Caps of one task; `None` means no cap of that kind.
         */
        Budget: {
            /** @default null */
            max_run_s?: number | null;
            /** @default null */
            max_tokens?: number | null;
            /** @default null */
            max_usd?: number | null;
        };
        /** BudgetsView */
        BudgetsView: {
            /** Format: date-time */
            at: string;
            /** @description Empty: nothing caps what this tenant's tasks spend. */
            budgets: components["schemas"]["BudgetView"][];
            /** @description The queue is new or was lost, and what was spent is being read from the ledger: until then no task is accepted. */
            rebuilding: boolean;
            /** @description In words, one sentence. */
            summary: string;
            tenant: string;
        };
        /**
         * BudgetView
         * @description One cap on what a tenant's tasks may spend, by the UTC day or month of their admission.
         */
        BudgetView: {
            cap: number;
            /** @description A task that may cost more than this is refused. */
            left: number | null;
            /** @enum {unknown} */
            name: "tokens_per_day" | "tokens_per_month" | "usd_per_day" | "usd_per_month";
            /** @description The day or month that is meant: `2026-11-23` or `2026-11`. */
            period: string;
            /** @description Held by tasks that wait or run, until each has ended. */
            reserved: number | null;
            /** Format: date-time */
            resets_at: string;
            /** @description `null`, as the next two: it is being rebuilt. */
            spent: number | null;
            /** @enum {unknown} */
            unit: "tokens" | "usd";
        };
        /**
         * CallLine
         * @description What the report is not split by is `null`.
         */
        CallLine: {
            cached: number;
            cost_usd: number;
            day: string | null;
            embedding_tokens: number;
            input_tokens: number;
            /** @description A virtual key's id; `config`: keys of `sophia.yaml`. */
            key: string | null;
            model: string | null;
            output_tokens: number;
            provider: string | null;
            requests: number;
            saved_usd: number;
            tenant: string | null;
        };
        /** CallSums */
        CallSums: {
            /** @description Of them, answered from a cache. */
            cached: number;
            cost_usd: number;
            embedding_tokens: number;
            input_tokens: number;
            output_tokens: number;
            requests: number;
            /** @description What cached answers would have cost. */
            saved_usd: number;
        };
        /** CancelRequest */
        CancelRequest: {
            /** @default cancelled by user */
            reason?: string;
        };
        /** ChatChoice */
        ChatChoice: {
            finish_reason: string | null;
            index: number;
            message: Record<string, unknown>;
        };
        /**
         * ChatCompletion
         * @description OpenAI's chat completion; a stream has `chat.completion.chunk` events instead, then `[DONE]`.
         */
        ChatCompletion: {
            choices: components["schemas"]["ChatChoice"][];
            created: number;
            id: string;
            model: string;
            /** @enum {unknown} */
            object: "chat.completion";
            usage: components["schemas"]["TokenUsage"];
        };
        /**
         * ChatRequest
         * @description OpenAI's chat completion request. Parameters that are not listed here reach the model's server unchanged.
         */
        ChatRequest: {
            messages: Record<string, unknown>[];
            /** @description A known model, or a tier: `fast`, `balanced`, `quality`. */
            model: string;
            /**
             * @description Send the answer as server-sent events while it is written.
             * @default null
             */
            stream?: boolean | null;
            /** @default null */
            stream_options?: components["schemas"]["StreamOptions"] | null;
        };
        /** Check */
        Check: {
            detail: string;
            name: string;
            ok: boolean;
        };
        /**
         * ClientConfig
         * @description What the page needs to know before it has a key.
         */
        ClientConfig: {
            version: string;
            websocket_url: string;
        };
        /** CodeGeneration */
        CodeGeneration: {
            /** @default  */
            context?: string;
            /** @default python */
            language?: string;
            /** @default null */
            max_tokens?: number | null;
            /** @default null */
            model?: string | null;
            prompt: string;
            /** @default null */
            temperature?: number | null;
        };
        /**
         * DeadLetters
         * @description Tasks that used up their attempts, newest first. They stay until they are redriven.
         */
        DeadLetters: {
            /** @description There are more than `limit`. */
            more: boolean;
            tasks: components["schemas"]["TaskSummary"][];
        };
        /**
         * DeploymentInfo
         * @description A model at one provider, as this gateway sees it.
         */
        DeploymentInfo: {
            in_flight: number;
            /** @description As the header `x-sophia-provider` gives it. */
            name: string;
            order: number;
            provider: string;
            /** @description It asked for a pause: it is asked only when nobody else can be. */
            resting: boolean;
            /** @description `closed`: calls pass; `open`: it failed and is left alone; `half_open`: one call is to decide. */
            state: string;
            weight: number;
        };
        /**
         * Durability
         * @description What an accepted task survives: a crash of the queue's server, or its loss together with its disk.
         * @enum {unknown}
         */
        Durability: "ledger" | "queue";
        /** EmbeddingData */
        EmbeddingData: {
            /** @description Numbers, or with `encoding_format: base64` little-endian float32 in base64. */
            embedding: string | number[];
            index: number;
            /** @enum {unknown} */
            object: "embedding";
        };
        /**
         * EmbeddingRequest
         * @description OpenAI's embedding request. Parameters that are not listed here reach the model's server unchanged.
         */
        EmbeddingRequest: {
            /** @default null */
            encoding_format?: ("base64" | "float") | null;
            /** @description A text, texts, a list of token numbers, or lists of them. */
            input: string | unknown[];
            /** @description A known embedding model, or a tier: `fast`, `balanced`, `quality`. */
            model: string;
        };
        /** EmbeddingResponse */
        EmbeddingResponse: {
            data: components["schemas"]["EmbeddingData"][];
            model: string;
            /** @enum {unknown} */
            object: "list";
            usage: components["schemas"]["TokenUsage"];
        };
        /** Embeddings */
        Embeddings: {
            count: number;
            dimensions: number;
            encoding: string;
            model: string;
            tokens: number;
            /** @description How many texts were cut at the model's length. */
            truncated: number;
            /** @description In the order of the texts: `list[float]` or base64 strings, by `encoding`. */
            vectors: unknown[];
        };
        /** ErrorView */
        ErrorView: {
            code: string;
            message: string;
            retryable: boolean;
        };
        /**
         * EventView
         * @description One event, on SSE and WebSocket alike.
         */
        EventView: {
            /** Format: date-time */
            at: string;
            /** @description Where to go on. SSE: the `id` (a task's `seq`); WebSocket: an opaque position in the whole log. */
            cursor: string;
            data: Record<string, unknown>;
            kind: string;
            /** @description Within a task's log; 0 for events of pools and queue. */
            seq: number;
            /** @description The task's id, `pool/instance`, or a stream's name. */
            subject: string;
            /** @enum {unknown} */
            topic: "pools" | "queue" | "tasks";
        };
        /** ExpiresAfter */
        ExpiresAfter: {
            /** @enum {unknown} */
            anchor: "created_at";
            seconds: number;
        };
        /**
         * Explanation
         * @description Why a task is where it is.
         */
        Explanation: {
            /** @description What the expectation rests on. */
            basis: string;
            expected_start_at: string | null;
            id: string;
            /** @description Tasks ahead of it; `None` when it does not wait or it is unknown. */
            position: number | null;
            route: components["schemas"]["RouteView"];
            state: components["schemas"]["TaskState"];
            /** @description In words, one paragraph. */
            summary: string;
            /** @description What would change it. */
            would_help: string[];
        };
        /** FileDeleted */
        FileDeleted: {
            deleted: boolean;
            id: string;
            /** @enum {unknown} */
            object: "file";
        };
        /** FileObject */
        FileObject: {
            bytes: number;
            /** @description Seconds since the epoch. */
            created_at: number;
            expires_at: number | null;
            filename: string;
            id: string;
            /** @enum {unknown} */
            object: "file";
            purpose: string;
            /** @enum {unknown} */
            status: "processed";
            /** @default null */
            status_details?: null;
        };
        /** FileObjects */
        FileObjects: {
            data: components["schemas"]["FileObject"][];
            first_id: string | null;
            has_more: boolean;
            last_id: string | null;
            /** @enum {unknown} */
            object: "list";
        };
        /**
         * FileUpload
         * @description A form. `expires_after[anchor]` (`created_at`) and `expires_after[seconds]` (3,600 to 2,592,000) may be fields of it too.
         */
        FileUpload: {
            /**
             * Format: binary
             * @description JSONL: a request on each line.
             */
            file: string;
            /** @enum {unknown} */
            purpose: "batch";
        };
        /** GeneratedCode */
        GeneratedCode: {
            code: string;
            explanation: string;
            language: string;
            model: string;
            /** @description Whether the code was parsed (Python only); code that does not parse is never returned as parsed. */
            syntax_checked: boolean;
            syntax_error: string | null;
        };
        /** Health */
        Health: {
            /** @enum {unknown} */
            status: "ok";
            version: string;
        };
        /** HostJoined */
        HostJoined: {
            /** @description Credentials, for the environment of its worker. */
            environment: {
                [key: string]: string;
            };
            instance_id: string;
            pool: string;
            /** @description The platform's sophia.yaml, which holds no secret. */
            settings: Record<string, unknown>;
        };
        /** InputTokenDetails */
        InputTokenDetails: {
            cached_tokens: number;
        };
        /** InstanceView */
        InstanceView: {
            busy: number | null;
            /** @description What it has cost so far, by the started minute. */
            cost_usd: number;
            id: string;
            instance_type: string;
            pool: string;
            price_usd_per_hour: number;
            ready_at: string | null;
            reason: string;
            region: string;
            /** Format: date-time */
            requested_at: string;
            slots: number;
            /** @enum {unknown} */
            state: "booting" | "draining" | "ready" | "requested" | "terminated" | "working";
        };
        /** JoinHost */
        JoinHost: {
            /** @description Made by the host. It binds the token: the same host may ask again when an answer was lost. */
            host_key: string;
            /** @description Of the host's set-up document. */
            token: string;
        };
        /** KeyCreated */
        KeyCreated: {
            budget: components["schemas"]["TenantBudget"];
            burst: number | null;
            /** Format: date-time */
            created_at: string;
            created_by: string;
            expires_at: string | null;
            id: string;
            /** @description Its text, shown this once. */
            key: string;
            models: string[];
            name: string;
            prefix: string;
            requests_per_minute: number | null;
            revoked_at: string | null;
            scopes: components["schemas"]["Scope"][];
            tenant: string;
            token_burst: number | null;
            tokens_per_minute: number | null;
        };
        /** KeyList */
        KeyList: {
            keys: components["schemas"]["KeyView"][];
        };
        /** KeyRequest */
        KeyRequest: {
            /**
             * @description Of this key alone, besides its tenant's.
             * @default {}
             */
            budget?: components["schemas"]["TenantBudget"];
            /**
             * @description Requests at once after a pause.
             * @default null
             */
            burst?: number | null;
            /** @default null */
            expires_at?: string | null;
            /**
             * @description Only these; none: all.
             * @default []
             */
            models?: string[];
            /** @description What it is for. */
            name: string;
            /**
             * @description Default: `limits` of the settings.
             * @default null
             */
            requests_per_minute?: number | null;
            /** @description `inference`: the OpenAI-compatible paths; `tasks`: the rest of the tenant's; `admin`: both, and its keys. */
            scopes?: components["schemas"]["Scope"][];
            /**
             * @description Another than the asking key's is for operators.
             * @default null
             */
            tenant?: string | null;
            /** @default null */
            token_burst?: number | null;
            /**
             * @description Of prompts and answers together; none: no limit.
             * @default null
             */
            tokens_per_minute?: number | null;
        };
        /** KeyView */
        KeyView: {
            budget: components["schemas"]["TenantBudget"];
            burst: number | null;
            /** Format: date-time */
            created_at: string;
            /** @description The id of the key that made it; `config`: one of `sophia.yaml`. */
            created_by: string;
            expires_at: string | null;
            id: string;
            models: string[];
            name: string;
            /** @description The beginning of its text. */
            prefix: string;
            requests_per_minute: number | null;
            revoked_at: string | null;
            scopes: components["schemas"]["Scope"][];
            tenant: string;
            token_burst: number | null;
            tokens_per_minute: number | null;
        };
        /** Light */
        Light: {
            /** @default null */
            max_tokens?: number | null;
            /** @default null */
            model?: string | null;
            prompt: string;
            /** @default  */
            system?: string;
            /** @default null */
            temperature?: number | null;
        };
        /** LightAnswer */
        LightAnswer: {
            finish_reason: string;
            model: string;
            text: string;
        };
        /**
         * LongPlanning
         * @description A goal that becomes an ordered plan.
         */
        LongPlanning: {
            /** @default  */
            context?: string;
            goal: string;
            /** @default 8 */
            max_steps?: number;
            /** @default null */
            max_tokens?: number | null;
            /** @default null */
            model?: string | null;
            /** @default null */
            temperature?: number | null;
        };
        /**
         * ModelInfo
         * @description OpenAI's model object with what Sophia knows besides.
         */
        ModelInfo: {
            context_tokens: number | null;
            created: number;
            /** @description Who serves it, in the order in which they are asked. */
            deployments: components["schemas"]["DeploymentInfo"][];
            dimensions: number | null;
            id: string;
            /** @description `chat` or `embedding`. */
            kind: string;
            /** @enum {unknown} */
            object: "model";
            /** @description The provider that serves it. */
            owned_by: string;
            tiers: string[];
        };
        /** ModelInfoList */
        ModelInfoList: {
            data: components["schemas"]["ModelInfo"][];
            /** @enum {unknown} */
            object: "list";
        };
        /** NotRedriven */
        NotRedriven: {
            /**
             * @description `budget_exceeded`: it stays a dead letter until its tenant's budget has room; `unavailable`: try again.
             * @default null
             */
            code?: string | null;
            id: string;
            reason: string;
            /** @default null */
            retry_after_s?: number | null;
        };
        /** OpenAIError */
        OpenAIError: {
            code: string | null;
            message: string;
            param: string | null;
            type: string;
        };
        /**
         * OpenAIProblem
         * @description An error under the OpenAI paths.
         */
        OpenAIProblem: {
            error: components["schemas"]["OpenAIError"];
        };
        /** OutputTokenDetails */
        OutputTokenDetails: {
            reasoning_tokens: number;
        };
        /** Plan */
        Plan: {
            goal: string;
            model: string;
            /** @description In an order in which every step comes after those it depends on. */
            steps: components["schemas"]["PlanStep"][];
        };
        /** PlanStep */
        PlanStep: {
            /** @description Ids of earlier steps. */
            depends_on: number[];
            description: string;
            id: number;
            title: string;
        };
        /**
         * PoisonList
         * @description Newest first.
         */
        PoisonList: {
            entries: components["schemas"]["PoisonView"][];
            total: number;
        };
        /**
         * PoisonView
         * @description An entry that is no task, as it was found.
         */
        PoisonView: {
            /** @description The beginning, as text; bytes that are none are replaced. */
            content: string;
            id: string;
            /** @enum {unknown} */
            priority: "critical" | "high" | "low" | "normal";
            /** Format: date-time */
            set_aside_at: string;
            stream: string;
        };
        /**
         * PoolOrderRequest
         * @description What the pool manager shall do.
         */
        PoolOrderRequest: {
            /**
             * @description Only say what would be done, and at which price.
             * @default false
             */
            dry_run?: boolean;
            /**
             * @description For `drain` and `terminate`.
             * @default null
             */
            instance?: string | null;
            /** @enum {unknown} */
            verb: "cordon" | "drain" | "launch" | "terminate" | "uncordon";
        };
        /** PoolOrderView */
        PoolOrderView: {
            dry_run: boolean;
            /** @description What was done, or why not. */
            message: string;
            ok: boolean;
        };
        /** PoolsView */
        PoolsView: {
            /** @description When the pool manager last looked; `null` while none has. */
            at: string | null;
            pools: components["schemas"]["PoolView"][];
        };
        /** PoolView */
        PoolView: {
            /** @description An operator wants no launches. */
            cordoned: boolean;
            desired: number | null;
            idle_timeout_s: number | null;
            instances: components["schemas"]["InstanceView"][];
            max: number;
            max_usd_per_day: number | null;
            max_usd_per_month: number | null;
            min: number;
            name: string;
            provider: string;
            /** @description Why that many are desired, in words. */
            reason: string;
            running: number | null;
            /** @description Of this UTC day and month. */
            spent_usd_month: number;
            spent_usd_today: number;
            streams: string[];
            /** @description What its instances cost at this moment. */
            usd_per_hour: number;
            waiting: number | null;
        };
        /**
         * Problem
         * @description An error (RFC 9457).
         */
        Problem: {
            code: string;
            detail: string;
            /**
             * @description The input at fault, as a path: `payload.texts[3]`.
             * @default null
             */
            field?: string | null;
            /**
             * @description What would be accepted.
             * @default null
             */
            mend?: string | null;
            /** @default null */
            retry_after_s?: number | null;
            status: number;
            title: string;
            type: string;
        };
        /** QueueView */
        QueueView: {
            /** Format: date-time */
            at: string;
            dead: number | null;
            delayed: number | null;
            /** @description Entries set aside because they could not be decoded. */
            poison: number | null;
            retrying: number | null;
            running: number | null;
            streams: components["schemas"]["StreamView"][];
            waiting: number | null;
        };
        /** Readiness */
        Readiness: {
            checks: components["schemas"]["Check"][];
            ready: boolean;
        };
        /**
         * Redriven
         * @description What went back into the queue, its attempts counted anew, and what did not.
         */
        Redriven: {
            /** @description With `all`: dead letters are left. */
            more: boolean;
            not_redriven: components["schemas"]["NotRedriven"][];
            redriven: string[];
        };
        /**
         * RedriveRequest
         * @description Either `ids` or `all`.
         */
        RedriveRequest: {
            /**
             * @description The newest 1,000; ask again while `more`.
             * @default false
             */
            all?: boolean;
            /** @default null */
            ids?: string[] | null;
        };
        /** RequestCounts */
        RequestCounts: {
            completed: number;
            failed: number;
            total: number;
        };
        /** ResearchAnswer */
        ResearchAnswer: {
            answer: string;
            /** @description Numbers of the sources that the answer cites. */
            citations: number[];
            model: string;
            sources: components["schemas"]["Source"][];
        };
        /** RouteView */
        RouteView: {
            reason: string;
            /** @description `stream:planning` and the like. */
            stream: string;
            target: components["schemas"]["Target"];
        };
        /** ScheduleList */
        ScheduleList: {
            schedules: components["schemas"]["ScheduleView"][];
        };
        /**
         * ScheduleView
         * @description A task that is submitted again and again.
         */
        ScheduleView: {
            /** @description Of occurrences missed while no router ran, that many of the latest are made up for. */
            catch_up: number;
            cron: string;
            enabled: boolean;
            /** @description The occurrence that ran last; `null` while none has. */
            last_at: string | null;
            /** @description Why that occurrence was refused. */
            last_error: components["schemas"]["ErrorView"] | null;
            last_task_id: string | null;
            name: string;
            /** @description `null`: disabled, or it never comes. */
            next_at: string | null;
            /** @enum {unknown} */
            priority: "critical" | "high" | "low" | "normal";
            time_zone: string;
            type: string;
        };
        /**
         * Scope
         * @enum {unknown}
         */
        Scope: "admin" | "inference" | "tasks";
        /**
         * SearchEndpoint
         * @description A JSON search API that lists results with a URL (SearxNG's form, for one).
         */
        SearchEndpoint: {
            /** @description May contain `{query}`; else `q=` is appended. */
            url: string;
        };
        /** Source */
        Source: {
            characters: number;
            /** @description Why it could not be used. */
            error: string | null;
            excerpt: string;
            /** @description What `[1]` in the answer refers to. */
            number: number;
            title: string;
            url: string;
        };
        /** StreamOptions */
        StreamOptions: {
            /** @default false */
            include_usage?: boolean;
        };
        /**
         * StreamView
         * @description One stream and priority. `null` is unknown, not zero.
         */
        StreamView: {
            backlog: number | null;
            delayed: number | null;
            first_entry: string | null;
            groups: string[];
            last_entry: string | null;
            oldest_age_s: number | null;
            /** @enum {unknown} */
            priority: "critical" | "high" | "low" | "normal";
            retrying: number | null;
            running: number | null;
            stream: string;
            waiting: number | null;
        };
        /**
         * Submission
         * @description A task to run. `payload` has the fields of its type.
         */
        Submission: {
            /** @default {} */
            budget?: components["schemas"]["Budget"];
            /**
             * @description Fail when it cannot start by then.
             * @default null
             */
            deadline_at?: string | null;
            /**
             * @description `ledger`: accepted only once the ledger has it too, so that not even the loss of the queue loses it.
             * @default queue
             */
            durability?: components["schemas"]["Durability"];
            /** @default {} */
            labels?: {
                [key: string]: string;
            };
            /** @default null */
            max_attempts?: number | null;
            payload: Record<string, unknown>;
            /**
             * @default normal
             * @enum {unknown}
             */
            priority?: "critical" | "high" | "low" | "normal";
            /**
             * @description Not before this time (RFC 3339).
             * @default null
             */
            run_at?: string | null;
            /** @default fast */
            tier?: components["schemas"]["Tier"];
            /** @default null */
            timeout_s?: number | null;
            type: string;
        };
        /**
         * Target
         * @enum {unknown}
         */
        Target: "cpu" | "gpu" | "hosted";
        /**
         * TaskLine
         * @description Tasks of a type, by the days on which their attempts ended.
         */
        TaskLine: {
            cost_usd: number;
            embedding_tokens: number;
            input_tokens: number;
            output_tokens: number;
            tasks: number;
            type: string;
        };
        /** TaskList */
        TaskList: {
            next_cursor: string | null;
            tasks: components["schemas"]["TaskSummary"][];
        };
        /**
         * TaskState
         * @enum {unknown}
         */
        TaskState: "cancelled" | "dead" | "failed" | "queued" | "retrying" | "running" | "scheduled" | "succeeded";
        /**
         * TaskSummary
         * @description A row of the task list.
         */
        TaskSummary: {
            attempts: number;
            error: components["schemas"]["ErrorView"] | null;
            finished_at: string | null;
            id: string;
            labels: {
                [key: string]: string;
            };
            /** @enum {unknown} */
            priority: "critical" | "high" | "low" | "normal";
            route: components["schemas"]["RouteView"];
            state: components["schemas"]["TaskState"];
            /** Format: date-time */
            submitted_at: string;
            tenant: string;
            tier: components["schemas"]["Tier"];
            /** @description The beginning of the goal, prompt or question, or the number of texts. */
            title: string;
            type: string;
            /** Format: date-time */
            updated_at: string;
            usage: components["schemas"]["UsageView"];
        };
        /**
         * TaskView
         * @description A task in full.
         */
        TaskView: {
            attempts: components["schemas"]["AttemptView"][];
            budget: components["schemas"]["Budget"];
            cancel_requested: boolean;
            deadline_at: string | null;
            due_at: string | null;
            durability: components["schemas"]["Durability"];
            error: components["schemas"]["ErrorView"] | null;
            finished_at: string | null;
            id: string;
            labels: {
                [key: string]: string;
            };
            max_attempts: number;
            payload: Record<string, unknown>;
            /** @enum {unknown} */
            priority: "critical" | "high" | "low" | "normal";
            result: unknown;
            route: components["schemas"]["RouteView"];
            state: components["schemas"]["TaskState"];
            /** Format: date-time */
            submitted_at: string;
            tenant: string;
            tier: components["schemas"]["Tier"];
            title: string;
            type: string;
            /** Format: date-time */
            updated_at: string;
            usage: components["schemas"]["UsageView"];
        };
        /**
         * TenantBudget
         * @description Caps on what a tenant's tasks may spend, by the UTC day and month of their admission; `None` means no cap.
         */
        TenantBudget: {
            /** @default null */
            tokens_per_day?: number | null;
            /** @default null */
            tokens_per_month?: number | null;
            /** @default null */
            usd_per_day?: number | null;
            /** @default null */
            usd_per_month?: number | null;
        };
        /**
         * Tier
         * @enum {unknown}
         */
        Tier: "balanced" | "fast" | "quality";
        /** TokenUsage */
        TokenUsage: {
            /** @default 0 */
            completion_tokens?: number;
            /** @default 0 */
            prompt_tokens?: number;
            /** @default 0 */
            total_tokens?: number;
        };
        /**
         * TypeInfo
         * @description A task type with the JSON Schemas (2020-12) of its payload and its result.
         */
        TypeInfo: {
            description: string;
            payload_schema: Record<string, unknown>;
            result_schema: Record<string, unknown>;
            type: string;
        };
        /** TypeList */
        TypeList: {
            types: components["schemas"]["TypeInfo"][];
        };
        /** UsageReport */
        UsageReport: {
            by: string[];
            from_day: string;
            /** @description Calls over the OpenAI-compatible paths. */
            rows: components["schemas"]["CallLine"][];
            tasks: components["schemas"]["TaskLine"][];
            to_day: string;
            total: components["schemas"]["CallSums"];
        };
        /** UsageView */
        UsageView: {
            cost_usd: number;
            embedding_tokens: number;
            input_tokens: number;
            model_calls: number;
            output_tokens: number;
            run_s: number;
        };
        /** WebResearch */
        WebResearch: {
            /** @default 5 */
            max_sources?: number;
            /** @default null */
            max_tokens?: number | null;
            /** @default null */
            model?: string | null;
            question: string;
            /** @default null */
            search?: components["schemas"]["SearchEndpoint"] | null;
            /** @default [] */
            urls?: string[];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    clientConfig: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Addresses and version */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ClientConfig"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    health: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It does */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Health"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    ready: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Ready */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Readiness"];
                };
            };
            /** @description Not ready; the failed checks say why */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Readiness"];
                };
            };
        };
    };
    listBatches: {
        parameters: {
            query?: {
                /** @description The last id of the page before. */
                after?: string;
                /** @description At most that many. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of batches */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchObjects"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    createBatch: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["BatchRequest"];
            };
        };
        responses: {
            /** @description The batch */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchObject"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    getBatch: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                batch_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The batch */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchObject"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    cancelBatch: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                batch_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The batch after that */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchObject"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Conflict */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    getBudgets: {
        parameters: {
            query?: {
                /** @description Another tenant's, for operators. */
                tenant?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Every cap of the tenant */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BudgetsView"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    createChatCompletion: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["ChatRequest"];
            };
        };
        responses: {
            /** @description The answer */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ChatCompletion"];
                    "text/event-stream": string;
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Too Many Requests */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    listDeadLetters: {
        parameters: {
            query?: {
                /** @description At most that many. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The newest */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["DeadLetters"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    redriveDeadLetters: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["RedriveRequest"];
            };
        };
        responses: {
            /** @description Which went, and why others did not */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Redriven"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    createEmbedding: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["EmbeddingRequest"];
            };
        };
        responses: {
            /** @description One vector for each input */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["EmbeddingResponse"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Too Many Requests */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    listFiles: {
        parameters: {
            query?: {
                /** @description The last id of the page before. */
                after?: string;
                /** @description At most that many. */
                limit?: number;
                /** @description By time of making. */
                order?: "asc" | "desc";
                /** @description Only files of this purpose. */
                purpose?: "batch" | "batch_output";
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of files */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileObjects"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    uploadFile: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "multipart/form-data": components["schemas"]["FileUpload"];
            };
        };
        responses: {
            /** @description The file */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileObject"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Request Timeout */
            408: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    getFile: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                file_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The file */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileObject"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    deleteFile: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                file_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It is deleted */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FileDeleted"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    getFileContent: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                file_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Its bytes */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": string;
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Gone */
            410: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    joinHost: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["JoinHost"];
            };
        };
        responses: {
            /** @description It has joined */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HostJoined"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Too Many Requests */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    listKeys: {
        parameters: {
            query?: {
                /** @description Only keys of this tenant. */
                tenant?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Keys, revoked ones too */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["KeyList"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    createKey: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["KeyRequest"];
            };
        };
        responses: {
            /** @description The key */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["KeyCreated"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    revokeKey: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                key_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The key */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["KeyView"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    listModels: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All models */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelInfoList"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    getModel: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                model: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The model */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelInfo"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["OpenAIProblem"];
                };
            };
        };
    };
    listPoison: {
        parameters: {
            query?: {
                /** @description At most that many. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description How many, and the newest */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PoisonList"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getPools: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description As the pool manager last saw them */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PoolsView"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    orderPool: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                pool: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["PoolOrderRequest"];
            };
        };
        responses: {
            /** @description What the pool manager says */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["PoolOrderView"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getQueue: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The queue now */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["QueueView"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    listSchedules: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All of them */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ScheduleList"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    listTaskTypes: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description All types */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TypeList"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    listTasks: {
        parameters: {
            query?: {
                /** @description `next_cursor` of the page before. */
                cursor?: string;
                /** @description At most that many. */
                limit?: number;
                /** @description Only these states; repeat it or separate with commas. */
                state?: ("scheduled" | "queued" | "running" | "retrying" | "succeeded" | "failed" | "cancelled" | "dead")[];
                /** @description Only these streams, such as `planning` or `stream:planning`. */
                stream?: string[];
                /** @description Only tasks submitted at or after this time. */
                submitted_after?: string;
                /** @description Only tasks submitted before this time. */
                submitted_before?: string;
                /** @description Only these task types. */
                type?: ("long_planning" | "code_generation" | "batch_embedding" | "web_research" | "light" | "openai_batch")[];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of tasks */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskList"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    submitTask: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key with the same body gives the same task again (`duplicate: true`, status 202 as the first time); with another body it is refused with 409. A batch's tasks are compared one by one, by their index. */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["Submission"];
            };
        };
        responses: {
            /** @description Accepted */
            202: {
                headers: {
                    /** @description Where the task can be read */
                    Location?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Accepted"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Conflict */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getTask: {
        parameters: {
            query?: {
                /** @description Answer when the task is final, or after that many seconds with its state then. */
                wait?: number;
            };
            header?: never;
            path: {
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The task */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskView"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Gone */
            410: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    cancelTask: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                "application/json": components["schemas"]["CancelRequest"];
            };
        };
        responses: {
            /** @description The task after that */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["TaskView"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Gone */
            410: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    taskEvents: {
        parameters: {
            query?: {
                /** @description The `seq` of the last event seen; 0 or absent: from the start. */
                after?: string;
            };
            header?: {
                /** @description As `after`; browsers send it when they reconnect. `after` wins. */
                "Last-Event-ID"?: string;
            };
            path: {
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A stream of events */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": components["schemas"]["EventView"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    explainTask: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                task_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The explanation */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Explanation"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Not Found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    submitBatch: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same key with the same body gives the same task again (`duplicate: true`, status 202 as the first time); with another body it is refused with 409. A batch's tasks are compared one by one, by their index. */
                "Idempotency-Key"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["BatchSubmission"];
            };
        };
        responses: {
            /** @description All accepted, in the order given */
            202: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["BatchAccepted"];
                };
            };
            /** @description Bad Request */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Conflict */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Request Entity Too Large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    getUsage: {
        parameters: {
            query?: {
                /** @description What to split by; default: day and model. */
                by?: ("day" | "tenant" | "key" | "model" | "provider")[];
                /** @description First UTC day; default: 30 days up to `to`. */
                from?: string;
                /** @description Only of this tenant. */
                tenant?: string;
                /** @description Last UTC day; default: today. */
                to?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Sums */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["UsageReport"];
                };
            };
            /** @description Unauthorized */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Unprocessable Entity */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            /** @description Service Unavailable */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
}
