import { useSyncExternalStore } from 'react'
import { currentKey, onKeyChange, type KeyState } from './key'

export function useKey(): KeyState {
  return useSyncExternalStore(onKeyChange, currentKey)
}
