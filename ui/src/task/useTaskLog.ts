import { useDocumentVisibility } from '@mantine/hooks'
import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useEffectEvent, useRef, useState } from 'react'
import { taskKeys } from '../api/tasks'
import { followTask } from '../api/taskEvents'
import type { EventView, TaskView } from '../api/types'
import { EMPTY_LOG, takeIn, type TaskLog } from './log'

/** Tokens come one by one; the page is drawn a few times a second. */
const FLUSH_MS = 80

interface Followed {
  log: TaskLog
  /** The stream is broken and is being restored, or cannot be read at all. */
  trouble: Error | null
}

/**
 * Replays and follows a task's log. A hidden tab lets the stream go and resumes it later from where it was:
 * browsers allow only a few streams to one server, over all tabs.
 */
export function useTaskLog(id: string, over: boolean): Followed {
  const client = useQueryClient()
  const visible = useDocumentVisibility() === 'visible'
  const [log, setLog] = useState(EMPTY_LOG)
  const [trouble, setTrouble] = useState<Error | null>(null)
  const seen = useRef(0)
  const isOver = useEffectEvent(() => over)
  const readTask = useEffectEvent((state: TaskLog['state']) => {
    const task = client.getQueryData<TaskView>(taskKeys.one(id))
    if (state !== null && task !== undefined && task.state !== state) {
      void client.invalidateQueries({ queryKey: taskKeys.one(id) })
    }
  })

  useEffect(() => {
    if (!visible) return
    const stop = new AbortController()
    let pending: EventView[] = []
    let timer: ReturnType<typeof setTimeout> | undefined
    const flush = () => {
      timer = undefined
      const events = pending
      pending = []
      setLog((before) => takeIn(before, events))
      readTask(takeIn(EMPTY_LOG, events).state)
    }
    followTask({
      id,
      after: seen.current,
      signal: stop.signal,
      isOver: () => isOver(),
      onEvents: (events) => {
        seen.current = events.at(-1)?.seq ?? seen.current
        pending.push(...events)
        timer ??= setTimeout(flush, FLUSH_MS)
      },
      onTrouble: setTrouble,
    }).catch((error: unknown) => setTrouble(error instanceof Error ? error : new Error(String(error))))
    return () => {
      stop.abort()
      clearTimeout(timer)
      // What was read counts as seen: it must not get lost with the timer.
      if (pending.length > 0) setLog((before) => takeIn(before, pending))
    }
  }, [id, visible])

  return { log, trouble }
}
