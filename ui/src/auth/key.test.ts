import { afterEach, expect, it } from 'vitest'
import { currentKey, forgetKey, loadKey, refuseKey, setKey } from './key'

afterEach(() => {
  forgetKey()
  window.history.replaceState(null, '', '/')
})

it('takes the key from the link, keeps it, and clears the address', () => {
  window.history.replaceState(null, '', '/pools?x=1#key=sk-123')
  loadKey()
  expect(currentKey()).toEqual({ key: 'sk-123', refused: false })
  expect(localStorage.getItem('sophia.key')).toBe('sk-123')
  expect(window.location.pathname + window.location.search + window.location.hash).toBe('/pools?x=1')
})

it('uses the stored key when the address has none', () => {
  localStorage.setItem('sophia.key', 'kept')
  loadKey()
  expect(currentKey().key).toBe('kept')
})

it('ignores the refusal of a key that was replaced meanwhile', () => {
  setKey('new')
  refuseKey('old')
  expect(currentKey().refused).toBe(false)
  refuseKey('new')
  expect(currentKey().refused).toBe(true)
})
