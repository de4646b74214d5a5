import { createContext, use } from 'react'
import type { LiveState } from './connection'

export const LiveContext = createContext<LiveState>('connecting')

/** Whether what is on the page changes by itself right now. */
export function useLiveState(): LiveState {
  return use(LiveContext)
}
