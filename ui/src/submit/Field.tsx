import { NumberInput, Select, Textarea, TextInput } from '@mantine/core'
import { plural } from '../format/numbers'
import type { FieldSpec } from './fields'

interface Props {
  spec: FieldSpec
  value: string
  error: string | undefined
  onChange: (value: string) => void
}

/** One input of the form. */
export function Field({ spec, value, error, onChange }: Props) {
  const shared = {
    label: spec.label,
    description: spec.description,
    placeholder: spec.placeholder ?? '',
    error,
    withAsterisk: spec.required ?? false,
    'aria-required': spec.required ?? false,
  }
  switch (spec.kind) {
    case 'number':
      return (
        <NumberInput
          {...shared}
          value={value}
          onChange={(next) => onChange(String(next))}
          {...(spec.min !== undefined && { min: spec.min })}
          {...(spec.max !== undefined && { max: spec.max })}
          step={spec.step ?? 1}
          decimalScale={6}
        />
      )
    case 'choice':
      return (
        <Select
          {...shared}
          data={spec.choices ?? []}
          value={value || (spec.choices?.[0] ?? null)}
          allowDeselect={false}
          onChange={(next) => onChange(next ?? '')}
        />
      )
    case 'line':
      return <TextInput {...shared} value={value} onChange={(event) => onChange(event.currentTarget.value)} />
    case 'text':
    case 'lines':
      return (
        <Textarea
          {...shared}
          description={spec.kind === 'lines' ? counted(spec, value) : spec.description}
          autosize
          minRows={spec.required ? 4 : 2}
          maxRows={16}
          value={value}
          onChange={(event) => onChange(event.currentTarget.value)}
        />
      )
  }
}

function counted(spec: FieldSpec, value: string): string | undefined {
  const count = value.split('\n').filter((line) => line.trim() !== '').length
  return count === 0 ? spec.description : `${spec.description ?? ''} · ${plural(count, 'line')}`
}
