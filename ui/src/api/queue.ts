/** Depth of the queue by stream and priority. */
import { queryOptions } from '@tanstack/react-query'
import { request } from './http'
import type { QueueView } from './types'

export const queueKey = ['queue'] as const

export const queueQuery = queryOptions({
  queryKey: queueKey,
  queryFn: ({ signal }) => request<QueueView>('/v1/queue', { signal }),
})

/** Throws when the gateway refuses `key`. */
export async function checkKey(key: string): Promise<void> {
  await request<QueueView>('/v1/queue', { key })
}
