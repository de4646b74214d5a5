import { QueryClient } from '@tanstack/react-query'
import { ApiError } from '../api/http'

const RETRIES = 2

export function makeQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        // Events say when something has changed; until then what is here is current.
        staleTime: 10_000,
        retry: (failures, error) => failures < RETRIES && isPassing(error),
        // The browser's own idea of being online says nothing about a server on this machine.
        networkMode: 'always',
      },
      mutations: { networkMode: 'always', retry: false },
    },
  })
}

/** Whether the same request may succeed a moment later. */
function isPassing(error: Error): boolean {
  return !(error instanceof ApiError) || error.status >= 500 || error.status === 429
}
