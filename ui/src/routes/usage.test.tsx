import { screen, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, expect, it, vi } from 'vitest'
import type { CallLine, VirtualKey } from '../api/types'
import { setKey } from '../auth/key'
import { FakeSocket } from '../test/FakeSocket'
import { json, problem, stubGateway } from '../test/gateway'
import { renderPage } from '../test/render'

const config = { websocket_url: 'ws://gateway.test/ws', version: '0.1.0' }
const AT = '2026-03-01T12:00:00.000Z'
const sums = {
  requests: 12,
  cached: 2,
  input_tokens: 300,
  output_tokens: 45,
  embedding_tokens: 0,
  cost_usd: 0.5,
  saved_usd: 0.25,
}
const line: CallLine = { ...sums, day: null, tenant: null, key: 'k1', model: 'm', provider: 'p' }
const report = {
  from_day: '2026-02-01',
  to_day: '2026-03-01',
  by: ['key'],
  rows: [line],
  total: sums,
  tasks: [],
}
const held: VirtualKey = {
  id: 'k1',
  tenant: 'default',
  name: 'chat widget',
  prefix: 'sk-sophia-k1…',
  scopes: ['inference'],
  models: [],
  requests_per_minute: 100,
  burst: 200,
  tokens_per_minute: null,
  token_burst: null,
  budget: { usd_per_day: 5 },
  created_at: AT,
  created_by: 'config',
  expires_at: null,
  revoked_at: null,
}

beforeEach(() => {
  setKey('k')
  FakeSocket.opened = []
  vi.stubGlobal('WebSocket', FakeSocket)
})

function serve() {
  const keys = [held]
  return stubGateway({
    'GET /config.json': () => json(config),
    'GET /v1/usage': () => json(report),
    'GET /v1/keys': () => json({ keys }),
    'POST /v1/keys': () => {
      keys.push({ ...held, id: 'k2', name: 'cron' })
      return json({ ...held, id: 'k2', name: 'cron', key: 'sk-sophia-the-text' }, 201)
    },
    'DELETE /v1/keys/k1': () => json({ ...held, revoked_at: AT }),
  })
}

it('shows what was used by which key, and what the cache has saved', async () => {
  serve()
  renderPage('/usage')
  expect(await screen.findByText(/12 calls · \$0.500 · \$0.250 saved by the cache/)).toBeInTheDocument()
  const row = await screen.findByRole('row', { name: /chat widget m p 12 300 45/ })
  expect(within(row).getByText('$0.500')).toBeInTheDocument()
  expect(screen.getByText(/inference · all models · 100 requests\/min · \$5.00 a day/)).toBeInTheDocument()
})

it('makes a key and shows it once', async () => {
  const calls = serve()
  const user = userEvent.setup({ delay: null })
  renderPage('/usage')
  await user.click(await screen.findByRole('button', { name: 'New key' }))
  await user.type(await screen.findByLabelText(/What it is for/), 'cron')
  await user.click(screen.getByRole('button', { name: 'Make it' }))
  expect(await screen.findByText('sk-sophia-the-text')).toBeInTheDocument()
  expect(calls.find((call) => call.method === 'POST')?.body).toEqual({ name: 'cron', budget: {} })
  await user.click(screen.getByRole('button', { name: 'Done' }))
  expect(await screen.findByRole('button', { name: 'Revoke cron' })).toBeInTheDocument()
})

it('revokes a key', async () => {
  serve()
  const user = userEvent.setup({ delay: null })
  renderPage('/usage')
  await user.click(await screen.findByRole('button', { name: 'Revoke chat widget' }))
  expect(await screen.findByText('revoked')).toBeInTheDocument()
})

it('says that a key without the right cannot see this', async () => {
  stubGateway({
    'GET /config.json': () => json(config),
    'GET /v1/usage': () => problem(403, 'forbidden', 'this key has no scope'),
    'GET /v1/keys': () => problem(403, 'forbidden', 'this key has no scope'),
  })
  renderPage('/usage')
  expect(await screen.findAllByText('this key has no scope')).toHaveLength(2)
})
