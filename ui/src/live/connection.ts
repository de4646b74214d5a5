/**
 * The one live connection of the page: subscribes to topics, hands events on in order, and comes back by itself
 * from the last cursor, so that nothing is missed or seen twice.
 */
import type { EventView } from '../api/types'
import { backoffMs } from './backoff'

export type LiveState = 'connecting' | 'live' | 'reconnecting' | 'offline'

export interface LiveHandlers {
  onState: (state: LiveState) => void
  onEvent: (event: EventView) => void
  /** What is on the page may be incomplete: fetch it again. */
  onGap: () => void
}

export interface LiveOptions extends LiveHandlers {
  url: string
  key: string
  topics: readonly string[]
}

type ServerMessage =
  | { op: 'subscribed'; cursor: string }
  | { op: 'event'; event: EventView }
  | { op: 'gap'; cursor?: string }
  | { op: 'error' }

/** Failures in a row after which the page calls itself offline. It keeps trying. */
const OFFLINE_AFTER = 4
/** A server that accepts the connection and then says nothing is as good as none. */
const SUBSCRIBE_TIMEOUT_MS = 10_000

export class LiveConnection {
  readonly #options: LiveOptions
  #socket: WebSocket | null = null
  #cursor: string | null = null
  #failures = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #stopped = false

  constructor(options: LiveOptions) {
    this.#options = options
  }

  start(): void {
    window.addEventListener('online', this.#retryNow)
    document.addEventListener('visibilitychange', this.#retryWhenSeen)
    this.#options.onState('connecting')
    this.#connect()
  }

  stop(): void {
    this.#stopped = true
    window.removeEventListener('online', this.#retryNow)
    document.removeEventListener('visibilitychange', this.#retryWhenSeen)
    clearTimeout(this.#timer)
    this.#drop()
  }

  #connect(): void {
    clearTimeout(this.#timer)
    this.#drop()
    const { url, key, topics } = this.#options
    let socket: WebSocket
    try {
      socket = new WebSocket(url, ['sophia.v1', `bearer.${key}`])
    } catch {
      // The URL is not allowed or the key cannot be sent as a subprotocol; HTTP calls will say more.
      this.#failed()
      return
    }
    this.#socket = socket
    this.#timer = setTimeout(() => this.#lost(socket), SUBSCRIBE_TIMEOUT_MS)
    socket.onopen = () => socket.send(JSON.stringify({ op: 'subscribe', topics, after: this.#cursor }))
    socket.onmessage = (message: MessageEvent<unknown>) => this.#receive(socket, message.data)
    socket.onclose = () => this.#lost(socket)
  }

  #receive(socket: WebSocket, data: unknown): void {
    if (socket !== this.#socket || typeof data !== 'string') return
    const message = JSON.parse(data) as ServerMessage
    switch (message.op) {
      case 'subscribed':
        this.#subscribed(message.cursor)
        break
      case 'event':
        this.#cursor = message.event.cursor
        this.#options.onEvent(message.event)
        break
      case 'gap':
        this.#cursor = message.cursor ?? this.#cursor
        this.#options.onGap()
        break
      case 'error':
        // A cursor that the server no longer understands must not be sent for ever.
        this.#cursor = null
        this.#lost(socket)
        break
    }
  }

  #subscribed(cursor: string): void {
    clearTimeout(this.#timer)
    const first = this.#cursor === null
    if (first) this.#cursor = cursor
    this.#failures = 0
    this.#options.onState('live')
    // What changed between the first fetches and this moment was seen by neither.
    if (first) this.#options.onGap()
  }

  #lost(socket: WebSocket): void {
    if (socket !== this.#socket) return
    this.#drop()
    this.#failed()
  }

  #failed(): void {
    if (this.#stopped) return
    this.#failures += 1
    const offline = this.#failures >= OFFLINE_AFTER || !navigator.onLine
    this.#options.onState(offline ? 'offline' : 'reconnecting')
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#connect(), backoffMs(this.#failures))
  }

  #drop(): void {
    const socket = this.#socket
    this.#socket = null
    if (socket === null) return
    socket.onopen = null
    socket.onmessage = null
    socket.onclose = null
    socket.close()
  }

  readonly #retryNow = (): void => {
    if (this.#socket === null) this.#connect()
  }

  readonly #retryWhenSeen = (): void => {
    if (document.visibilityState === 'visible') this.#retryNow()
  }
}
