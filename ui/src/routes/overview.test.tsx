import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import axe from 'axe-core'
import { beforeEach, expect, it, vi } from 'vitest'
import { setKey } from '../auth/key'
import { FakeSocket } from '../test/FakeSocket'
import { json, problem, stubGateway } from '../test/gateway'
import { renderPage } from '../test/render'
import { budget, budgets, event, instance, pool, queue, summary } from '../test/shapes'

const config = { websocket_url: 'ws://gateway.test/ws', version: '0.1.0' }

beforeEach(() => {
  setKey('k')
  FakeSocket.opened = []
  vi.stubGlobal('WebSocket', FakeSocket)
})

function serve(tasks = [summary()], next_cursor: string | null = null, spending = budgets()) {
  return stubGateway({
    'GET /v1/budgets': () => json(spending),
    'GET /config.json': () => json(config),
    'GET /v1/queue': () => json(queue()),
    'GET /v1/pools': () =>
      json({ pools: [pool({ instances: [instance({ state: 'draining' })] })], at: null }),
    'GET /v1/tasks': () => json({ tasks, next_cursor }),
  })
}

it('shows tasks, queue and pools, and is accessible', async () => {
  serve()
  const { container } = renderPage('/')
  const row = await screen.findByRole('row', { name: /Say hello/ })
  expect(within(row).getByText('queued')).toBeInTheDocument()
  expect(await screen.findByText(/draining/)).toBeInTheDocument()
  // Contrast needs layout; the browser test looks at it.
  const found = await axe.run(container, { rules: { 'color-contrast': { enabled: false } } })
  expect(found.violations.map(({ id, nodes }) => [id, nodes[0]?.html])).toEqual([])
})

it('shows what is left of each budget, and says where there is none', async () => {
  const tokens = budget({
    name: 'tokens_per_month',
    unit: 'tokens',
    cap: 50_000,
    spent: 50_000,
    reserved: 0,
    left: 0,
  })
  serve([], null, budgets(budget(), tokens))
  const { unmount } = renderPage('/')
  const dollars = await screen.findByRole('article', { name: 'Dollars today' })
  expect(dollars).toHaveTextContent('$1.25 left of $2.00')
  expect(dollars).toHaveTextContent('$0.500 spent · $0.250 reserved · resets')
  expect(screen.getByRole('article', { name: 'Tokens this month' })).toHaveTextContent('0 left of 50K')
  unmount()
  serve()
  renderPage('/')
  expect(await screen.findByText(/No budget caps what your tasks spend/)).toBeInTheDocument()
})

it('says that budgets are being rebuilt, and reads them again after a task has changed', async () => {
  const unknown = budget({ spent: null, reserved: null, left: null })
  const calls = serve([summary()], null, { ...budgets(unknown), rebuilding: true })
  renderPage('/')
  expect(await screen.findByText(/is being read from the ledger/)).toBeInTheDocument()
  expect(screen.getByRole('article', { name: 'Dollars today' })).toHaveTextContent('? left of $2.00')
  await waitFor(() => expect(FakeSocket.opened.length).toBeGreaterThan(0))
  FakeSocket.last.accept()
  FakeSocket.last.says({ op: 'subscribed', cursor: '1-0' })
  const read = () => calls.filter(({ path }) => path === '/v1/budgets').length
  const before = read()
  FakeSocket.last.says({ op: 'event', event: event({ kind: 'task.succeeded' }) })
  await waitFor(() => expect(read()).toBeGreaterThan(before))
})

it('changes a row when an event says so', async () => {
  serve()
  renderPage('/')
  await screen.findByRole('row', { name: /Say hello/ })
  await waitFor(() => expect(FakeSocket.opened.length).toBeGreaterThan(0))
  FakeSocket.last.accept()
  FakeSocket.last.says({ op: 'subscribed', cursor: '1-0' })
  FakeSocket.last.says({ op: 'event', event: event({ kind: 'task.running' }) })
  expect(await screen.findByText('live')).toBeInTheDocument()
  const row = screen.getByRole('row', { name: /Say hello/ })
  expect(await within(row).findByText('running')).toBeInTheDocument()
})

it('keeps the filter in the address and sends it', async () => {
  const calls = serve()
  const { router } = renderPage('/?state=failed')
  await screen.findByText('No task matches')
  expect(calls.some(({ search }) => search.includes('state=failed'))).toBe(true)
  await userEvent.click(screen.getByRole('combobox', { name: 'Type' }))
  await userEvent.click(await screen.findByRole('option', { name: 'Planning', hidden: true }))
  await waitFor(() =>
    expect(router.state.location.search).toEqual({ state: 'failed', type: 'long_planning' }),
  )
})

it('turns pages by cursor', async () => {
  const calls = serve([summary()], 'next-page')
  renderPage('/')
  await userEvent.click(await screen.findByRole('link', { name: 'Older' }))
  await waitFor(() => expect(calls.some(({ search }) => search.includes('cursor=next-page'))).toBe(true))
  expect(await screen.findByRole('link', { name: 'Newest' })).toBeInTheDocument()
})

it('teaches the first command when there is nothing yet', async () => {
  serve([])
  renderPage('/')
  expect(await screen.findByText(/sophia submit/)).toBeInTheDocument()
})

it('asks for another key when the gateway refuses this one, and goes on with it', async () => {
  let known = 'good'
  const guard = (body: unknown) => () =>
    known === 'good' ? json(body) : problem(401, 'unauthorized', 'Unknown key')
  known = 'other'
  const calls = stubGateway({
    'GET /config.json': () => json(config),
    'GET /v1/queue': ({ init }) => {
      if (new Headers(init.headers).get('Authorization') === 'Bearer good') known = 'good'
      return guard(queue())()
    },
    'GET /v1/pools': () => guard({ pools: [], at: null })(),
    'GET /v1/tasks': () => guard({ tasks: [summary()], next_cursor: null })(),
  })
  renderPage('/')
  const dialog = await screen.findByRole('dialog', { name: 'API key' })
  await userEvent.type(within(dialog).getByLabelText('Key'), 'bad')
  await userEvent.click(within(dialog).getByRole('button', { name: 'Open' }))
  expect(await within(dialog).findByText('Sophia does not know this key.')).toBeInTheDocument()
  await userEvent.clear(within(dialog).getByLabelText('Key'))
  await userEvent.type(within(dialog).getByLabelText('Key'), 'good')
  await userEvent.click(within(dialog).getByRole('button', { name: 'Open' }))
  expect(await screen.findByRole('row', { name: /Say hello/ })).toBeInTheDocument()
  expect(calls.at(-1)?.headers.get('Authorization')).toBe('Bearer good')
})
