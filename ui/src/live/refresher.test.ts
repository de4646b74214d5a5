import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Refresher } from './refresher'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it('never overlaps, and fetches again when something changed meanwhile', async () => {
  let running = 0
  let most = 0
  let runs = 0
  const refresher = new Refresher(async () => {
    running += 1
    most = Math.max(most, running)
    runs += 1
    await new Promise((resolve) => setTimeout(resolve, 500))
    running -= 1
  }, 100)
  refresher.mark()
  await vi.advanceTimersByTimeAsync(200)
  refresher.mark()
  refresher.mark()
  await vi.advanceTimersByTimeAsync(2_000)
  expect([most, runs]).toEqual([1, 2])
  refresher.stop()
})
