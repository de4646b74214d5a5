/** The one way to call the gateway: bearer key in, JSON or a typed error out. */
import { currentKey, refuseKey } from '../auth/key'
import type { Problem } from './types'

/** The gateway answered with an error; `problem` is its explanation. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.detail)
    this.problem = problem
  }

  get status(): number {
    return this.problem.status
  }
}

/** The gateway did not answer at all. */
export class NetworkError extends Error {
  override readonly name = 'NetworkError'

  constructor(cause: unknown) {
    super('Sophia does not answer. Is it running?', { cause })
  }
}

interface Options {
  method?: 'GET' | 'POST' | 'DELETE'
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
  /** Tried instead of the stored key; a refusal is then only thrown. */
  key?: string
}

/** Sends a request and returns the response, which is always a success. Throws `ApiError`, `NetworkError`, or an abort. */
export async function send(path: string, options: Options = {}): Promise<Response> {
  const key = options.key ?? currentKey().key
  const headers = new Headers(options.headers)
  if (key !== null) headers.set('Authorization', `Bearer ${key}`)
  const init: RequestInit = { method: options.method ?? 'GET', headers }
  if (options.signal) init.signal = options.signal
  if (options.body !== undefined) {
    headers.set('Content-Type', 'application/json')
    init.body = JSON.stringify(options.body)
  }
  let response: Response
  try {
    response = await fetch(path, init)
  } catch (error) {
    if (options.signal?.aborted) throw error
    throw new NetworkError(error)
  }
  if (response.ok) return response
  if (response.status === 401 && options.key === undefined) refuseKey(key)
  throw new ApiError(await problemOf(response))
}

export async function request<T>(path: string, options?: Options): Promise<T> {
  const response = await send(path, options)
  return (await response.json()) as T
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    const body: unknown = await response.json()
    if (isProblem(body)) return body
  } catch {
    // Something between the page and the gateway answered; its status is all there is.
  }
  return {
    type: 'about:blank',
    title: response.statusText,
    status: response.status,
    detail: `The server answered with status ${response.status}.`,
    code: 'unexpected_response',
  }
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'detail' in body && 'status' in body && 'code' in body
}
