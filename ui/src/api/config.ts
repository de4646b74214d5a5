/** What the page has to know before it can ask for anything. */
import { queryOptions } from '@tanstack/react-query'
import { request } from './http'
import type { PageConfig } from './types'

export const configQuery = queryOptions({
  queryKey: ['config'] as const,
  queryFn: ({ signal }) => request<PageConfig>('/config.json', { signal }),
  staleTime: Infinity,
  gcTime: Infinity,
})
