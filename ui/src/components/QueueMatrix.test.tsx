import { screen, within } from '@testing-library/react'
import { expect, it } from 'vitest'
import { renderPart } from '../test/render'
import { queue, streamCell } from '../test/shapes'
import { QueueMatrix } from './QueueMatrix'

it('shows depth by stream and priority, and unknown as a question mark', () => {
  const streams = [
    streamCell({ waiting: 12, running: 2, oldest_age_s: 61 }),
    streamCell({ priority: 'high', waiting: null, running: null }),
    streamCell({ stream: 'stream:planning', waiting: 0 }),
  ]
  renderPart(<QueueMatrix queue={queue({ streams })} />)
  const cells = (name: string) =>
    within(screen.getByRole('row', { name: new RegExp(`^${name}`) }))
      .getAllByRole('cell')
      .map((cell) => cell.textContent)
  expect(cells('light')).toEqual(['–', '?', '12', '–', '?', '1 min 1 s'])
  expect(cells('planning')).toEqual(['–', '–', '0', '–', '0', '–'])
})
