import { Text } from '@mantine/core'
import type { Results } from '../../api/types'
import { splitCitations } from './citations'
import classes from './results.module.css'

type Research = Results['web_research']

/** An answer whose citations lead to its sources. */
export function ResearchResult({ result }: { result: Research }) {
  const known = new Set(result.sources.map((source) => source.number))
  return (
    <>
      <Text className="prose">
        <Answer text={result.answer} known={known} />
      </Text>
      <Text component="h3" size="sm" fw={600} mt="md" mb={4}>
        Sources
      </Text>
      <ol className={classes['sources']}>
        {result.sources.map((source) => (
          <Source key={source.number} source={source} cited={result.citations.includes(source.number)} />
        ))}
      </ol>
      <Text size="xs" c="dimmed" mt="sm">
        Written by {result.model}
      </Text>
    </>
  )
}

function Source({ source, cited }: { source: Research['sources'][number]; cited: boolean }) {
  return (
    <li id={`source-${source.number}`} className={classes['source']}>
      <span className={classes['number']}>{source.number}</span>
      <div>
        <a href={safeUrl(source.url)} target="_blank" rel="noreferrer noopener">
          {source.title || source.url}
        </a>{' '}
        <span className="faint">
          {host(source.url)}
          {source.error === null && !cited && ' · not cited'}
        </span>
        <Text size="sm" c="dimmed" lineClamp={2}>
          {source.error === null ? source.excerpt : `Could not be used: ${source.error}`}
        </Text>
      </div>
    </li>
  )
}

/** The answer's text, with `[1]` and `[1, 2]` as links where there is such a source. */
function Answer({ text, known }: { text: string; known: ReadonlySet<number> }) {
  return splitCitations(text).map((part, index) =>
    typeof part === 'string' ? part : <Citation key={index} numbers={part} known={known} />,
  )
}

function Citation({ numbers, known }: { numbers: number[]; known: ReadonlySet<number> }) {
  return (
    <>
      [
      {numbers.map((number, place) => (
        <span key={number}>
          {place > 0 && ', '}
          {known.has(number) ? <a href={`#source-${number}`}>{number}</a> : number}
        </span>
      ))}
      ]
    </>
  )
}

/** Addresses come from the web: only those of the web are made links. */
function safeUrl(url: string): string | undefined {
  return /^https?:\/\//i.test(url) ? url : undefined
}

function host(url: string): string {
  return URL.canParse(url) ? new URL(url).host : ''
}
