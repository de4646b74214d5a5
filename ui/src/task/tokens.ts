import type { Usage } from '../api/types'
import { formatCompact } from '../format/numbers'

export function totalTokens(usage: Usage): number {
  return usage.input_tokens + usage.output_tokens + usage.embedding_tokens
}

export function describeTokens(usage: Usage): string {
  const parts = [
    [usage.input_tokens, 'read'],
    [usage.output_tokens, 'written'],
    [usage.embedding_tokens, 'embedded'],
  ] as const
  const said = parts.filter(([count]) => count > 0).map(([count, word]) => `${formatCompact(count)} ${word}`)
  return said.length > 0 ? said.join(', ') : 'none'
}
