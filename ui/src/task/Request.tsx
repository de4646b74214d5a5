import { Text } from '@mantine/core'
import { plural } from '../format/numbers'
import { Json } from './Json'
import classes from './Facts.module.css'

const TEXTS_SHOWN = 3

/** What was asked for: the payload, field by field. */
export function Request({ payload }: { payload: Record<string, unknown> }) {
  return (
    <dl className={classes['facts']}>
      {Object.entries(payload).map(([name, value]) => (
        <Field key={name} name={name} value={value} />
      ))}
    </dl>
  )
}

function Field({ name, value }: { name: string; value: unknown }) {
  return (
    <>
      <dt>{name.replaceAll('_', ' ')}</dt>
      <dd>
        <Value name={name} value={value} />
      </dd>
    </>
  )
}

function Value({ name, value }: { name: string; value: unknown }) {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
    return <div className="prose">{String(value)}</div>
  }
  if (isStrings(value)) {
    return (
      <>
        {value.slice(0, TEXTS_SHOWN).map((text, index) => (
          <Text key={index} lineClamp={2}>
            {text}
          </Text>
        ))}
        {value.length > TEXTS_SHOWN && <Text c="dimmed">… {plural(value.length, 'item')} in all</Text>}
      </>
    )
  }
  return <Json value={value} label={name} />
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}
