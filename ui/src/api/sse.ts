/** Parses a `text/event-stream` body. EventSource cannot send the bearer header, so the body is read by hand. */

export interface SseMessage {
  id: string | null
  event: string | null
  data: string
}

/** Feed it text as it comes; it gives back the messages that are complete. */
export class SseParser {
  #rest = ''
  #id: string | null = null
  #event: string | null = null
  #data: string[] = []

  feed(text: string): SseMessage[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/)
    this.#rest = lines.pop() ?? ''
    const messages: SseMessage[] = []
    for (const line of lines) {
      if (line === '') this.#dispatch(messages)
      else this.#field(line)
    }
    return messages
  }

  #field(line: string): void {
    const colon = line.indexOf(':')
    if (colon === 0) return
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (name === 'data') this.#data.push(value)
    else if (name === 'event') this.#event = value
    else if (name === 'id') this.#id = value
  }

  #dispatch(messages: SseMessage[]): void {
    if (this.#data.length > 0) {
      messages.push({ id: this.#id, event: this.#event, data: this.#data.join('\n') })
    }
    this.#event = null
    this.#data = []
  }
}
