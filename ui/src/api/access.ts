/** Virtual keys, and what was used. */
import { queryOptions } from '@tanstack/react-query'
import { request } from './http'
import type { KeyRequest, NewKey, UsageReport, VirtualKey } from './types'

export const keysKey = ['keys'] as const

export const keysQuery = queryOptions({
  queryKey: keysKey,
  queryFn: async ({ signal }) => (await request<{ keys: VirtualKey[] }>('/v1/keys', { signal })).keys,
})

export const usageQuery = queryOptions({
  queryKey: ['usage'] as const,
  queryFn: ({ signal }) => request<UsageReport>('/v1/usage?by=key,model,provider', { signal }),
})

export function createKey(body: Partial<KeyRequest> & { name: string }): Promise<NewKey> {
  return request<NewKey>('/v1/keys', { method: 'POST', body })
}

export function revokeKey(id: string): Promise<VirtualKey> {
  return request<VirtualKey>(`/v1/keys/${encodeURIComponent(id)}`, { method: 'DELETE' })
}
