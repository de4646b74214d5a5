/**
 * Refetches one kind of data at most once per interval, however often it is marked as changed. Runs never overlap,
 * and a change that comes while one is under way causes another, so the last state is always fetched.
 */
export class Refresher {
  readonly #refresh: () => Promise<unknown>
  readonly #intervalMs: number
  #dirty = false
  #busy = false
  #stopped = false
  #lastStart = -Infinity
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(refresh: () => Promise<unknown>, intervalMs: number) {
    this.#refresh = refresh
    this.#intervalMs = intervalMs
  }

  mark(): void {
    this.#dirty = true
    this.#planIfDirty()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #planIfDirty(): void {
    if (!this.#dirty || this.#busy || this.#stopped || this.#timer !== undefined) return
    const wait = Math.max(0, this.#lastStart + this.#intervalMs - performance.now())
    this.#timer = setTimeout(() => void this.#run(), wait)
  }

  async #run(): Promise<void> {
    this.#timer = undefined
    this.#dirty = false
    this.#busy = true
    this.#lastStart = performance.now()
    try {
      await this.#refresh()
    } finally {
      this.#busy = false
      this.#planIfDirty()
    }
  }
}
