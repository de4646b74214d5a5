import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useState, type ReactNode } from 'react'
import { configQuery } from '../api/config'
import { useKey } from '../auth/useKey'
import { CacheUpdater, refreshAll } from './cache'
import { LiveConnection, type LiveState } from './connection'
import { LiveContext } from './context'

const TOPICS = ['tasks', 'pools', 'queue'] as const
/** While nothing comes live, the page asks. */
const POLL_MS = 5_000
/** Ages, idle times and the like change without an event. */
const LIVE_POLL_MS = 15_000

/** Holds the live connection while a key is known, and keeps the query cache current. */
export function LiveProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient()
  const { key, refused } = useKey()
  const config = useQuery(configQuery)
  const [state, setState] = useState<LiveState>('connecting')
  const url = config.data?.websocket_url
  const usable = key !== null && !refused

  useEffect(() => {
    if (!usable || url === undefined) return
    const cache = new CacheUpdater(client)
    const connection = new LiveConnection({
      url,
      key,
      topics: TOPICS,
      onState: setState,
      onEvent: (event) => cache.push(event),
      onGap: () => void refreshAll(client),
    })
    connection.start()
    return () => {
      connection.stop()
      cache.stop()
    }
  }, [client, key, url, usable])

  useEffect(() => {
    if (!usable) return
    const period = state === 'live' ? LIVE_POLL_MS : POLL_MS
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') void refreshAll(client)
    }, period)
    return () => clearInterval(timer)
  }, [client, state, usable])

  return <LiveContext value={config.isError ? 'offline' : state}>{children}</LiveContext>
}
