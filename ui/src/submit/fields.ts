/** What the form asks for, by task type. */
import type { Payloads, TaskType } from '../api/types'

export interface FieldSpec {
  /** Where it goes in the payload; a dot goes one level deeper. */
  path: string
  label: string
  kind: 'line' | 'text' | 'lines' | 'number' | 'choice'
  required?: boolean
  description?: string
  placeholder?: string
  choices?: readonly string[]
  min?: number
  max?: number
  step?: number
}

export interface TypeSpec {
  about: string
  fields: readonly FieldSpec[]
  /** Shown when more options are asked for. */
  options: readonly FieldSpec[]
}

/** Field paths are checked against the payload's type; `search.url` counts as `search`. */
type Path<T> = Extract<keyof T, string> | `${Extract<keyof T, string>}.${string}`

interface Checked<T> extends TypeSpec {
  fields: readonly (FieldSpec & { path: Path<T> })[]
  options: readonly (FieldSpec & { path: Path<T> })[]
}

const MODEL = {
  path: 'model',
  label: 'Model',
  kind: 'line',
  description: 'Empty: the one configured for this type and tier',
} as const
const MAX_TOKENS = {
  path: 'max_tokens',
  label: 'Longest answer, tokens',
  kind: 'number',
  min: 1,
  max: 128_000,
} as const
const TEMPERATURE = {
  path: 'temperature',
  label: 'Temperature',
  kind: 'number',
  min: 0,
  max: 2,
  step: 0.1,
} as const

export const TYPES: { [T in TaskType]: Checked<Payloads[T]> } = {
  long_planning: {
    about: 'Turns a goal into an ordered plan with dependencies.',
    fields: [
      {
        path: 'goal',
        label: 'Goal',
        kind: 'text',
        required: true,
        placeholder: 'Plan a small conference for 80 people',
      },
      {
        path: 'context',
        label: 'Context',
        kind: 'text',
        description: 'What the plan has to take into account',
      },
      {
        path: 'max_steps',
        label: 'At most so many steps',
        kind: 'number',
        min: 1,
        max: 50,
        placeholder: '8',
      },
    ],
    options: [MODEL, MAX_TOKENS, TEMPERATURE],
  },
  code_generation: {
    about: 'Writes code in a language, with an explanation. Python is parsed before it is returned.',
    fields: [
      {
        path: 'prompt',
        label: 'What to write',
        kind: 'text',
        required: true,
        placeholder: 'A function that merges two sorted lists',
      },
      { path: 'language', label: 'Language', kind: 'line', placeholder: 'python' },
      { path: 'context', label: 'Context', kind: 'text', description: 'Code or rules that it has to fit' },
    ],
    options: [MODEL, MAX_TOKENS, TEMPERATURE],
  },
  batch_embedding: {
    about: 'Turns any number of texts into vectors.',
    fields: [
      { path: 'texts', label: 'Texts', kind: 'lines', required: true, description: 'One on each line' },
      {
        path: 'encoding',
        label: 'Encoding',
        kind: 'choice',
        choices: ['float', 'base64'],
        description: 'base64 takes about a quarter of the space',
      },
    ],
    options: [MODEL],
  },
  web_research: {
    about: 'Reads web pages and answers a question with citations.',
    fields: [
      { path: 'question', label: 'Question', kind: 'text', required: true },
      {
        path: 'urls',
        label: 'Pages to read',
        kind: 'lines',
        description: 'One address on each line, 20 at most',
        placeholder: 'https://…',
      },
      {
        path: 'search.url',
        label: 'Search API',
        kind: 'line',
        description: 'Address of a JSON search API; {query} stands for the question',
        placeholder: 'https://search.example/search?format=json&q={query}',
      },
      {
        path: 'max_sources',
        label: 'At most so many sources',
        kind: 'number',
        min: 1,
        max: 20,
        placeholder: '5',
      },
    ],
    options: [MODEL, MAX_TOKENS],
  },
  light: {
    about: 'Answers a prompt.',
    fields: [
      { path: 'prompt', label: 'Prompt', kind: 'text', required: true },
      { path: 'system', label: 'System prompt', kind: 'text', description: 'How it should answer' },
    ],
    options: [MODEL, MAX_TOKENS, TEMPERATURE],
  },
}

/** Caps on what the task may spend, and how it runs. */
export const BUDGET_FIELDS: readonly FieldSpec[] = [
  { path: 'budget.max_usd', label: 'At most, USD', kind: 'number', min: 0, step: 0.01 },
  { path: 'budget.max_tokens', label: 'At most, tokens', kind: 'number', min: 1 },
  { path: 'budget.max_run_s', label: 'At most, seconds of running', kind: 'number', min: 0 },
]

export const RUN_FIELDS: readonly FieldSpec[] = [
  { path: 'timeout_s', label: 'Longest attempt, seconds', kind: 'number', min: 0, max: 86_400 },
  { path: 'max_attempts', label: 'Attempts', kind: 'number', min: 1, max: 100 },
]
