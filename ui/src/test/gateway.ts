/** A stand-in for the gateway in unit tests: answers by method and path. The real one is used in tests/ui. */
import { vi } from 'vitest'

type Answer = (request: { url: URL; init: RequestInit }) => Response | Promise<Response>

export interface Call {
  method: string
  path: string
  search: string
  headers: Headers
  body: unknown
}

/** Replaces `fetch`; returns the calls made. `routes` are keyed like `GET /v1/tasks`. */
export function stubGateway(routes: Record<string, Answer>): Call[] {
  const calls: Call[] = []
  vi.stubGlobal('fetch', async (input: string, init: RequestInit = {}) => {
    const url = new URL(input, 'http://gateway.test')
    const method = init.method ?? 'GET'
    const body: unknown = typeof init.body === 'string' ? JSON.parse(init.body) : undefined
    calls.push({ method, path: url.pathname, search: url.search, headers: new Headers(init.headers), body })
    const answer = routes[`${method} ${url.pathname}`]
    return answer === undefined ? problem(404, 'not_found', 'There is no such thing') : answer({ url, init })
  })
  return calls
}

export function json(body: unknown, status = 200): Response {
  return new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json' } })
}

export function problem(status: number, code: string, detail: string, more: object = {}): Response {
  const body = { type: 'about:blank', title: code, status, detail, code, ...more }
  return new Response(JSON.stringify(body), {
    status,
    headers: { 'Content-Type': 'application/problem+json' },
  })
}

/** A stream of events that stays open, as the gateway's does, until `end` is called. */
export function openStream(signal: AbortSignal | null | undefined) {
  const encoder = new TextEncoder()
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  const body = new ReadableStream<Uint8Array>({
    start: (given) => {
      controller = given
      signal?.addEventListener('abort', () => given.error(new DOMException('aborted', 'AbortError')))
    },
  })
  return {
    response: new Response(body, { headers: { 'Content-Type': 'text/event-stream' } }),
    write: (text: string) => controller?.enqueue(encoder.encode(text)),
    end: () => controller?.close(),
  }
}
