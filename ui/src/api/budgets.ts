/** What the tenant has spent of its budgets, and what is left. */
import { queryOptions } from '@tanstack/react-query'
import { request } from './http'
import type { BudgetsView } from './types'

const REBUILDING_MS = 2_000
const RESET_MS = 60_000

export const budgetsKey = ['budgets'] as const

export const budgetsQuery = queryOptions({
  queryKey: budgetsKey,
  queryFn: ({ signal }) => request<BudgetsView>('/v1/budgets', { signal }),
  // Neither the end of a day nor that of a rebuild is an event.
  refetchInterval: ({ state: { data } }) =>
    data === undefined || data.budgets.length === 0 ? false : data.rebuilding ? REBUILDING_MS : RESET_MS,
})
