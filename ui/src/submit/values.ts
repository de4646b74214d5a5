/** From what was typed to what is sent, and from a refused field back to its input. */
import type { Priority, Submission, TaskType, Tier } from '../api/types'
import { BUDGET_FIELDS, RUN_FIELDS, TYPES, type FieldSpec } from './fields'

/** What was typed, by path. */
export type Values = Readonly<Partial<Record<string, string>>>

/** What is wrong with an input, by its path. */
export type Faults = Partial<Record<string, string>>

export interface Draft {
  type: TaskType
  priority: Priority
  tier: Tier
  /** By type, so that changing one's mind loses nothing. */
  payloads: Readonly<Partial<Record<TaskType, Values>>>
  common: Values
}

export const EMPTY_DRAFT: Draft = {
  type: 'long_planning',
  priority: 'normal',
  tier: 'fast',
  payloads: {},
  common: {},
}

/** Paths of required inputs that are empty, and of numbers that are none, each with what to do. */
export function findFaults(draft: Draft): Faults {
  const faults: Faults = {}
  const check = (fields: readonly FieldSpec[], values: Values) => {
    for (const field of fields) {
      const text = (values[field.path] ?? '').trim()
      if (field.required && text === '') faults[field.path] = 'This is needed.'
      if (field.kind === 'number' && text !== '' && !Number.isFinite(Number(text))) {
        faults[field.path] = 'This must be a number.'
      }
    }
  }
  check(payloadFields(draft.type), draft.payloads[draft.type] ?? {})
  check([...BUDGET_FIELDS, ...RUN_FIELDS], draft.common)
  return faults
}

/** The request; what was left empty is left out, so that the server's defaults hold. */
export function toSubmission(draft: Draft): Submission {
  const payload = collect(payloadFields(draft.type), draft.payloads[draft.type] ?? {})
  const common = collect([...BUDGET_FIELDS, ...RUN_FIELDS], draft.common)
  return { type: draft.type, payload, priority: draft.priority, tier: draft.tier, ...common }
}

/** The input that a problem's `field` is about; `null` when the form has none for it. */
export function inputOf(type: TaskType, field: string): string | null {
  const path = field.replace(/^payload\./, '').replace(/\[\d+\].*$/, '')
  const paths = [...payloadFields(type), ...BUDGET_FIELDS, ...RUN_FIELDS].map((spec) => spec.path)
  return paths.find((known) => known === path) ?? paths.find((known) => known.startsWith(`${path}.`)) ?? null
}

function payloadFields(type: TaskType): readonly FieldSpec[] {
  return [...TYPES[type].fields, ...TYPES[type].options]
}

function collect(fields: readonly FieldSpec[], values: Values): Record<string, unknown> {
  const collected: Record<string, unknown> = {}
  for (const field of fields) {
    const value = convert(field, values[field.path] ?? '')
    if (value === undefined) continue
    const [first = '', second] = field.path.split('.')
    collected[first] =
      second === undefined ? value : { ...(collected[first] as object | undefined), [second]: value }
  }
  return collected
}

function convert(field: FieldSpec, text: string): unknown {
  if (text.trim() === '') return undefined
  if (field.kind === 'number') return Number(text)
  if (field.kind === 'lines') {
    return text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '')
  }
  return field.kind === 'line' ? text.trim() : text
}
