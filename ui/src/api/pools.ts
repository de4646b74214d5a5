/** Pools and their instances. */
import { queryOptions } from '@tanstack/react-query'
import { request } from './http'
import type { PoolsView } from './types'

export const poolsKey = ['pools'] as const

export const poolsQuery = queryOptions({
  queryKey: poolsKey,
  queryFn: ({ signal }) => request<PoolsView>('/v1/pools', { signal }),
})
