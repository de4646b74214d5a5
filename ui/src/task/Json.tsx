import { Text } from '@mantine/core'
import { Copy } from '../components/Copy'
import classes from './Json.module.css'
import { shorten } from './shorten'

/** A value as JSON, with long lists shortened. */
export function Json({ value, label }: { value: unknown; label: string }) {
  return (
    <div className={classes['frame']}>
      <div className={classes['copy']}>
        <Copy value={JSON.stringify(value, null, 2)} what="JSON" />
      </div>
      <pre className={classes['json']} tabIndex={0} aria-label={label}>
        {JSON.stringify(shorten(value), null, 2)}
      </pre>
      <Text size="xs" c="dimmed" mt={4}>
        Long lists are shortened here; the copy is complete.
      </Text>
    </div>
  )
}
