import { screen, waitFor } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { beforeEach, expect, it } from 'vitest'
import { setKey } from '../auth/key'
import { json, problem, stubGateway } from '../test/gateway'
import { renderPage } from '../test/render'
import { task } from '../test/shapes'

const accepted = {
  id: 'task-000001',
  state: 'queued',
  duplicate: false,
  route: { stream: 'stream:light', target: 'cpu', reason: 'light' },
}

beforeEach(() => setKey('k'))

it('submits what was filled in and opens the task', async () => {
  const calls = stubGateway({
    'POST /v1/tasks': () => json(accepted, 202),
    'GET /v1/tasks/task-000001': () => json(task()),
  })
  const { router } = renderPage('/new')
  await userEvent.click(await screen.findByText('Light'))
  await userEvent.type(screen.getByRole('textbox', { name: /Prompt$/ }), 'Say hello')
  await userEvent.click(screen.getByRole('button', { name: 'Submit' }))
  await waitFor(() => expect(router.state.location.pathname).toBe('/tasks/task-000001'))
  const sent = calls.find(({ method }) => method === 'POST')
  expect(sent?.body).toEqual({
    type: 'light',
    payload: { prompt: 'Say hello' },
    priority: 'normal',
    tier: 'fast',
  })
  expect(sent?.headers.get('Authorization')).toBe('Bearer k')
  expect(sent?.headers.get('Idempotency-Key')).toMatch(/^[0-9a-f]{32}$/)
})

it('says at the input what is missing, without asking the server', async () => {
  const calls = stubGateway({})
  renderPage('/new')
  await userEvent.click(await screen.findByRole('button', { name: 'Submit' }))
  expect(screen.getByRole('textbox', { name: /Goal/ })).toBeInvalid()
  expect(calls.some(({ method }) => method === 'POST')).toBe(false)
})

it('shows a refusal at the input that it is about, and the same key when sent again', async () => {
  const calls = stubGateway({
    'POST /v1/tasks': () =>
      problem(422, 'invalid_request', 'The goal is too long.', {
        field: 'payload.goal',
        mend: 'At most 200,000 characters.',
      }),
  })
  renderPage('/new')
  await userEvent.type(await screen.findByRole('textbox', { name: /Goal/ }), 'x')
  await userEvent.click(screen.getByRole('button', { name: 'Submit' }))
  expect(await screen.findByText('The goal is too long. At most 200,000 characters.')).toBeInTheDocument()
  await userEvent.click(screen.getByRole('button', { name: 'Submit' }))
  await waitFor(() => expect(calls.filter(({ method }) => method === 'POST')).toHaveLength(2))
  const keys = calls
    .filter(({ method }) => method === 'POST')
    .map(({ headers }) => headers.get('Idempotency-Key'))
  expect(keys[0]).toBe(keys[1])
})

it('shows a refusal that belongs to no input above the button', async () => {
  stubGateway({ 'POST /v1/tasks': () => problem(503, 'storage_full', 'No space is left.') })
  renderPage('/new')
  await userEvent.type(await screen.findByRole('textbox', { name: /Goal/ }), 'x')
  await userEvent.click(screen.getByRole('button', { name: 'Submit' }))
  expect(await screen.findByRole('alert')).toHaveTextContent('No space is left.')
})
