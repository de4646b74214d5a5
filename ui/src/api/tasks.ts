/** Tasks: the list, one task, its explanation, submitting and cancelling. */
import { keepPreviousData, queryOptions } from '@tanstack/react-query'
import { request } from './http'
import { recentChanges } from './recentChanges'
import type { Accepted, Explanation, Submission, TaskList, TaskState, TaskType, TaskView } from './types'

export const PAGE_SIZE = 50

const FINAL: ReadonlySet<TaskState> = new Set(['succeeded', 'failed', 'cancelled', 'dead'])

export function isFinal(state: TaskState): boolean {
  return FINAL.has(state)
}

export interface TaskFilter {
  state?: TaskState | undefined
  type?: TaskType | undefined
  cursor?: string | undefined
}

export const taskKeys = {
  lists: ['tasks', 'list'] as const,
  list: (filter: TaskFilter) => ['tasks', 'list', filter] as const,
  ones: ['tasks', 'one'] as const,
  one: (id: string) => ['tasks', 'one', id] as const,
  explain: (id: string) => ['tasks', 'explain', id] as const,
}

export function tasksQuery(filter: TaskFilter) {
  const search = new URLSearchParams({ limit: String(PAGE_SIZE) })
  if (filter.state !== undefined) search.set('state', filter.state)
  if (filter.type !== undefined) search.set('type', filter.type)
  if (filter.cursor !== undefined) search.set('cursor', filter.cursor)
  return queryOptions({
    queryKey: taskKeys.list(filter),
    queryFn: async ({ signal }) =>
      recentChanges.apply(await request<TaskList>(`/v1/tasks?${search}`, { signal })),
    placeholderData: keepPreviousData,
  })
}

export function taskQuery(id: string) {
  return queryOptions({
    queryKey: taskKeys.one(id),
    queryFn: ({ signal }) => request<TaskView>(`/v1/tasks/${encodeURIComponent(id)}`, { signal }),
  })
}

export function explainQuery(id: string) {
  return queryOptions({
    queryKey: taskKeys.explain(id),
    queryFn: ({ signal }) => request<Explanation>(`/v1/tasks/${encodeURIComponent(id)}/explain`, { signal }),
  })
}

/** `idempotencyKey` makes a repeated click or a retry after a lost answer give the same task. */
export function submitTask(submission: Submission, idempotencyKey: string): Promise<Accepted> {
  return request<Accepted>('/v1/tasks', {
    method: 'POST',
    body: submission,
    headers: { 'Idempotency-Key': idempotencyKey },
  })
}

export function cancelTask(id: string): Promise<TaskView> {
  return request<TaskView>(`/v1/tasks/${encodeURIComponent(id)}/cancel`, {
    method: 'POST',
    body: { reason: 'cancelled on the page' },
  })
}
