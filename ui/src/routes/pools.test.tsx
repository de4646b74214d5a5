import { screen, within } from '@testing-library/react'
import { beforeEach, expect, it, vi } from 'vitest'
import { setKey } from '../auth/key'
import { FakeSocket } from '../test/FakeSocket'
import { json, stubGateway } from '../test/gateway'
import { renderPage } from '../test/render'
import { instance, pool } from '../test/shapes'

const config = { websocket_url: 'ws://gateway.test/ws', version: '0.1.0' }

beforeEach(() => {
  setKey('k')
  FakeSocket.opened = []
  vi.stubGlobal('WebSocket', FakeSocket)
})

function serve(shown = pool()) {
  stubGateway({
    'GET /config.json': () => json(config),
    'GET /v1/pools': () => json({ pools: [shown], at: null }),
  })
}

it('says what a pool costs now, today and this month, beside its caps', async () => {
  const gpu = instance({ instance_type: 'gpu_1x_a6000', price_usd_per_hour: 1.09, cost_usd: 0.127 })
  serve(
    pool({
      name: 'embedding',
      instances: [gpu],
      usd_per_hour: 1.09,
      spent_usd_today: 0.127,
      spent_usd_month: 3.5,
      max_usd_per_day: 20,
    }),
  )
  renderPage('/pools')
  const cost = await screen.findByLabelText('Cost of embedding')
  expect(cost).toHaveTextContent('$1.09/h now · $0.127 of $20.00 today · $3.50 this month')
  const row = screen.getByRole('row', { name: /gpu_1x_a6000/ })
  expect(within(row).getByText('$0.127')).toBeInTheDocument()
})

it('says nothing of costs where there are none', async () => {
  serve()
  renderPage('/pools')
  await screen.findByRole('region', { name: 'Pool cpu-workers' })
  expect(screen.queryByLabelText('Cost of cpu-workers')).not.toBeInTheDocument()
})

it('says that a pool is cordoned', async () => {
  serve(pool({ cordoned: true }))
  renderPage('/pools')
  expect(await screen.findByText(/cordoned: nothing is launched/)).toBeInTheDocument()
})
