import { Group, Text } from '@mantine/core'
import { lazy, Suspense } from 'react'
import type { Results } from '../../api/types'
import { Copy } from '../../components/Copy'
import { Pill } from '../../components/Pill'
import classes from './results.module.css'

const Highlighted = lazy(() => import('./Highlighted'))

type Code = Results['code_generation']

/** Generated code, coloured, with what was checked about it. */
export function CodeResult({ result }: { result: Code }) {
  return (
    <>
      <Group justify="space-between" mb={6}>
        <Group gap="xs">
          <Text size="sm" fw={550}>
            {result.language}
          </Text>
          <Syntax result={result} />
        </Group>
        <Copy value={result.code} what="code" />
      </Group>
      <pre className={classes['code']} tabIndex={0} aria-label="Code">
        <Suspense fallback={<code>{result.code}</code>}>
          <Highlighted code={result.code} language={result.language} />
        </Suspense>
      </pre>
      {result.explanation !== '' && (
        <Text size="sm" mt="sm" className="prose">
          {result.explanation}
        </Text>
      )}
      <Text size="xs" c="dimmed" mt="sm">
        Written by {result.model}
      </Text>
    </>
  )
}

function Syntax({ result }: { result: Code }) {
  if (result.syntax_error !== null) return <Pill tone="bad">{result.syntax_error}</Pill>
  return result.syntax_checked ? <Pill tone="good">parses</Pill> : <Pill tone="neutral">not parsed</Pill>
}
