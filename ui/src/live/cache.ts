/**
 * Brings events into the query cache. Events are gathered and applied together a few times a second, so that
 * thousands of them a second cost the page no more than a few: rows on screen change at once, and the lists,
 * which only the server can order and count, are fetched again at a bounded rate.
 */
import type { Query, QueryClient } from '@tanstack/react-query'
import { budgetsKey } from '../api/budgets'
import { configQuery } from '../api/config'
import { poolsKey } from '../api/pools'
import { queueKey } from '../api/queue'
import { recentChanges, stateOf } from '../api/recentChanges'
import { isFinal, taskKeys } from '../api/tasks'
import type { BudgetsView, EventView, TaskList, TaskView } from '../api/types'
import { Refresher } from './refresher'

const FLUSH_MS = 150
const LIST_REFRESH_MS = 1_000
const TASK_REFRESH_MS = 400
const LEDGER_LAG_MS = 2_500

/** Fetches everything on the page again, except what does not change without an event: it can be large. */
export function refreshAll(client: QueryClient): Promise<void> {
  return client.invalidateQueries({
    predicate: (query) => query.state.status === 'error' || !isSettled(query),
  })
}

function isSettled({ queryKey, state }: Query): boolean {
  if (queryKey[0] === configQuery.queryKey[0]) return true
  if (queryKey[0] !== taskKeys.ones[0] || queryKey[1] !== taskKeys.ones[1]) return false
  const task = state.data as TaskView | undefined
  return task !== undefined && isFinal(task.state)
}

export class CacheUpdater {
  readonly #client: QueryClient
  readonly #lists: Refresher
  readonly #queue: Refresher
  readonly #pools: Refresher
  readonly #budgets: Refresher
  readonly #tasks = new Map<string, Refresher>()
  #changed = new Set<string>()
  #poolsChanged = false
  #queueChanged = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #settle: ReturnType<typeof setTimeout> | undefined

  constructor(client: QueryClient) {
    this.#client = client
    const invalidate = (queryKey: readonly unknown[]) => () => client.invalidateQueries({ queryKey })
    this.#lists = new Refresher(invalidate(taskKeys.lists), LIST_REFRESH_MS)
    this.#queue = new Refresher(invalidate(queueKey), LIST_REFRESH_MS)
    this.#pools = new Refresher(invalidate(poolsKey), TASK_REFRESH_MS)
    this.#budgets = new Refresher(invalidate(budgetsKey), LIST_REFRESH_MS)
  }

  push(event: EventView): void {
    if (event.topic === 'pools') this.#poolsChanged = true
    else if (event.topic === 'queue') this.#queueChanged = true
    else if (stateOf(event) === undefined) return
    else {
      recentChanges.note(event)
      this.#changed.add(event.subject)
    }
    this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS)
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const changed = this.#changed
    this.#changed = new Set()
    if (changed.size > 0) {
      this.#client.setQueriesData<TaskList>(
        { queryKey: taskKeys.lists },
        (list) => list && recentChanges.apply(list),
      )
      for (const id of changed) this.#taskChanged(id)
      this.#lists.mark()
      this.#settleLists()
      if (this.#client.getQueryData<BudgetsView>(budgetsKey)?.budgets.length) this.#budgets.mark()
      this.#queueChanged = true
    }
    if (this.#queueChanged) this.#queue.mark()
    if (this.#poolsChanged) this.#pools.mark()
    this.#queueChanged = false
    this.#poolsChanged = false
  }

  stop(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#settle)
    const refreshers = [this.#lists, this.#queue, this.#pools, this.#budgets, ...this.#tasks.values()]
    for (const refresher of refreshers) refresher.stop()
  }

  /** One more fetch after the last change, once the ledger must have it. */
  #settleLists(): void {
    clearTimeout(this.#settle)
    this.#settle = setTimeout(() => this.#lists.mark(), LEDGER_LAG_MS)
  }

  #taskChanged(id: string): void {
    if (this.#client.getQueryData<TaskView>(taskKeys.one(id)) === undefined) {
      this.#tasks.delete(id)
      return
    }
    let refresher = this.#tasks.get(id)
    if (refresher === undefined) {
      refresher = new Refresher(() => this.#refreshTask(id), TASK_REFRESH_MS)
      this.#tasks.set(id, refresher)
    }
    refresher.mark()
  }

  async #refreshTask(id: string): Promise<void> {
    await Promise.all([
      this.#client.invalidateQueries({ queryKey: taskKeys.one(id) }),
      this.#client.invalidateQueries({ queryKey: taskKeys.explain(id) }),
    ])
  }
}
