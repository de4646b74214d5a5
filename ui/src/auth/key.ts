/**
 * The API key of this browser. `sophia up` prints a link with `#key=…`; the key moves from there to local
 * storage and leaves the address bar, so that it stays out of the history and of shared links.
 */
const STORAGE_NAME = 'sophia.key'

export interface KeyState {
  readonly key: string | null
  /** The gateway has refused this key; another one has to be asked for. */
  readonly refused: boolean
}

type Listener = () => void

let state: KeyState = { key: null, refused: false }
const listeners = new Set<Listener>()

function change(next: KeyState): void {
  if (next.key === state.key && next.refused === state.refused) return
  state = next
  for (const listener of listeners) listener()
}

function keyOfFragment(hash: string): string | null {
  const key = new URLSearchParams(hash.replace(/^#/, '')).get('key')?.trim()
  return key === undefined || key === '' ? null : key
}

function stored(): string | null {
  try {
    return localStorage.getItem(STORAGE_NAME)
  } catch {
    // Storage can be forbidden by the browser; the key then lives as long as the page.
    return null
  }
}

function store(key: string | null): void {
  try {
    if (key === null) localStorage.removeItem(STORAGE_NAME)
    else localStorage.setItem(STORAGE_NAME, key)
  } catch {
    // As above.
  }
}

/** Takes the key from the address or from storage. Call once, before anything is fetched. */
export function loadKey(): void {
  takeFromAddress()
  if (state.key === null) change({ key: stored(), refused: false })
  // A second link opened in the same tab changes only the fragment and loads nothing anew.
  window.addEventListener('hashchange', takeFromAddress)
}

function takeFromAddress(): void {
  const given = keyOfFragment(window.location.hash)
  if (given === null) return
  window.history.replaceState(window.history.state, '', window.location.pathname + window.location.search)
  setKey(given)
}

export function setKey(key: string): void {
  store(key)
  change({ key, refused: false })
}

export function forgetKey(): void {
  store(null)
  change({ key: null, refused: false })
}

/** Says that the gateway refused `key`; ignored when another key has been set since. */
export function refuseKey(key: string | null): void {
  if (key === state.key) change({ key, refused: true })
}

export function currentKey(): KeyState {
  return state
}

export function onKeyChange(listener: Listener): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}
