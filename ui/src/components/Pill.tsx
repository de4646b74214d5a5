import type { ReactNode } from 'react'
import classes from './tone.module.css'

export type Tone = 'neutral' | 'waiting' | 'active' | 'good' | 'warn' | 'bad'

const CLASS_OF_TONE: Record<Tone, string | undefined> = {
  neutral: undefined,
  waiting: classes['waiting'],
  active: classes['active'],
  good: classes['good'],
  warn: classes['warn'],
  bad: classes['bad'],
}

interface Props {
  tone: Tone
  children: ReactNode
  /** Something is going on. */
  pulse?: boolean
  /** Nothing is there yet, or no longer. */
  hollow?: boolean
  title?: string | undefined
}

/** A state: a coloured dot, always with its word. */
export function Pill({ tone, children, pulse = false, hollow = false, title }: Props) {
  const dot = [classes['dot'], pulse && classes['pulse'], hollow && classes['hollow']]
    .filter(Boolean)
    .join(' ')
  return (
    <span
      className={[classes['tone'], CLASS_OF_TONE[tone], classes['pill']].filter(Boolean).join(' ')}
      title={title}
    >
      <span className={dot} aria-hidden />
      {children}
    </span>
  )
}
