import { expect, it } from 'vitest'
import { SseParser } from './sse'

it('joins messages that come in pieces, and leaves out comments', () => {
  const parser = new SseParser()
  expect(parser.feed(': keep alive\n\nid: 1\nevent: task.out')).toEqual([])
  expect(parser.feed('put\ndata: {"a":\ndata: 1}\n')).toEqual([])
  expect(parser.feed('\nid: 2\r\ndata: x\r\n\r\n')).toEqual([
    { id: '1', event: 'task.output', data: '{"a":\n1}' },
    { id: '2', event: null, data: 'x' },
  ])
})

it('is not confused by a line end that is cut in two', () => {
  const parser = new SseParser()
  expect([...parser.feed('data: x\r'), ...parser.feed('\n\r'), ...parser.feed('\n')]).toEqual([
    { id: null, event: null, data: 'x' },
  ])
})
