import { screen, waitFor, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, expect, it } from 'vitest'
import type { EventView, TaskView } from '../api/types'
import { setKey } from '../auth/key'
import { json, openStream, stubGateway } from '../test/gateway'
import { renderPage } from '../test/render'
import { event, task, usage } from '../test/shapes'

beforeEach(() => setKey('k'))

const line = (given: Partial<EventView>) => `id: ${given.seq}\ndata: ${JSON.stringify(event(given))}\n\n`

function serve(view: TaskView) {
  const streams: ReturnType<typeof openStream>[] = []
  const calls = stubGateway({
    'GET /v1/tasks/task-000001': () => json(view),
    'GET /v1/tasks/task-000001/events': ({ init }) => {
      const stream = openStream(init.signal)
      streams.push(stream)
      return stream.response
    },
    'GET /v1/tasks/task-000001/explain': () =>
      json({
        id: view.id,
        state: view.state,
        summary: 'It waits for a worker of cpu-workers.',
        position: 3,
        expected_start_at: null,
        basis: 'unknown: no task of its stream has finished lately',
        would_help: ['a higher priority'],
        route: view.route,
      }),
    'POST /v1/tasks/task-000001/cancel': () => json({ ...view, state: 'cancelled' }),
  })
  return { calls, stream: () => streams.at(-1) }
}

it('shows output as it comes, then the result', async () => {
  const view = task({ state: 'running', type: 'light' })
  const { stream } = serve(view)
  renderPage('/tasks/task-000001')
  await waitFor(() => expect(stream()).toBeDefined())
  stream()?.write(line({ seq: 1, kind: 'task.output', data: { attempt: 1, offset: 0, text: 'Hel' } }))
  expect(await screen.findByRole('log')).toHaveTextContent('Hel')
  stream()?.write(line({ seq: 2, kind: 'task.output', data: { attempt: 1, offset: 3, text: 'lo' } }))
  await waitFor(() => expect(screen.getByRole('log')).toHaveTextContent('Hello'))
  view.state = 'succeeded'
  view.result = { text: 'Hello', finish_reason: 'stop', model: 'small' }
  stream()?.write(line({ seq: 3, kind: 'task.succeeded', data: { attempt: 1 } }))
  expect(await screen.findByText('Written by small')).toBeInTheDocument()
  expect(screen.getByTestId('task-state')).toHaveTextContent('succeeded')
})

it('says why a task waits, and cancels it after asking', async () => {
  const { calls } = serve(task())
  renderPage('/tasks/task-000001')
  expect(await screen.findByText('It waits for a worker of cpu-workers.')).toBeInTheDocument()
  expect(screen.getByText(/Expected start unknown: no task of its stream has finished/)).toBeInTheDocument()
  await userEvent.click(screen.getByRole('button', { name: 'Cancel task' }))
  const dialog = await screen.findByRole('dialog')
  expect(calls.some(({ method }) => method === 'POST')).toBe(false)
  await userEvent.click(within(dialog).getByRole('button', { name: 'Cancel task' }))
  await waitFor(() => expect(screen.getByTestId('task-state')).toHaveTextContent('cancelled'))
})

it('lists every attempt with what went wrong', async () => {
  const attempt = {
    number: 1,
    worker: 'w1',
    pool: 'cpu-workers',
    started_at: '2026-03-01T12:00:01Z',
    ended_at: '2026-03-01T12:00:04Z',
    outcome: 'lost' as const,
    error: { code: 'lease_lost', message: 'its worker went away', retryable: true },
    usage: { ...usage, output_tokens: 12, cost_usd: 0.00001 },
  }
  serve(
    task({
      state: 'running',
      attempts: [attempt, { ...attempt, number: 2, outcome: 'running', error: null, ended_at: null }],
    }),
  )
  renderPage('/tasks/task-000001')
  const table = await screen.findByRole('table', { name: 'Attempts' })
  expect(within(table).getByText(/its worker went away/)).toBeInTheDocument()
  expect(within(table).getByText('3 s')).toBeInTheDocument()
})

it.each([
  [
    'long_planning',
    {
      goal: 'g',
      model: 'm',
      steps: [
        { id: 1, title: 'First', description: 'd', depends_on: [] },
        { id: 2, title: 'Then', description: '', depends_on: [1] },
      ],
    },
    ['First', 'Then', /after step/],
  ],
  [
    'code_generation',
    {
      language: 'python',
      code: 'x = 1',
      explanation: 'Sets x.',
      syntax_checked: true,
      syntax_error: null,
      model: 'm',
    },
    ['parses', 'Sets x.'],
  ],
  [
    'batch_embedding',
    {
      model: 'm',
      dimensions: 384,
      count: 2000,
      encoding: 'float',
      vectors: [[0.125, 0.5]],
      tokens: 9,
      truncated: 1,
    },
    ['2,000 × 384', /1 text cut/],
  ],
  [
    'web_research',
    {
      answer: 'So it is [1].',
      citations: [1],
      sources: [
        { number: 1, url: 'https://a.example/x', title: 'A page', excerpt: 'e', characters: 9, error: null },
      ],
      model: 'm',
    },
    ['A page', 'a.example'],
  ],
  ['some_later_type', { anything: [1, 2] }, [/"anything"/]],
])('shows a result of %s in its own way', async (type, result, texts) => {
  serve(task({ state: 'succeeded', type, result }))
  renderPage('/tasks/task-000001')
  for (const text of texts) expect((await screen.findAllByText(text)).length).toBeGreaterThan(0)
})

it('tells an unknown task from a broken server', async () => {
  stubGateway({})
  renderPage('/tasks/gone')
  expect(await screen.findByText('There is no such task')).toBeInTheDocument()
})
