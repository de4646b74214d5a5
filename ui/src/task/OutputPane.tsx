import { Button } from '@mantine/core'
import { useLayoutEffect, useRef, useState } from 'react'
import { DownIcon } from '../components/icons'
import classes from './OutputPane.module.css'

/** How near to the end counts as being there. */
const NEAR_PX = 24

/** Text as it comes. It stays at the end until the reader scrolls away, and comes back when asked. */
export function OutputPane({ text, label }: { text: string; label: string }) {
  const pane = useRef<HTMLDivElement>(null)
  const [following, setFollowing] = useState(true)

  useLayoutEffect(() => {
    const element = pane.current
    if (following && element) element.scrollTop = element.scrollHeight
  }, [following, text])

  const onScroll = () => {
    const element = pane.current
    if (element) setFollowing(element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX)
  }
  return (
    <div className={classes['frame']}>
      {/* Scrollable with the keyboard too. */}
      <div
        ref={pane}
        className={classes['pane']}
        onScroll={onScroll}
        role="log"
        aria-label={label}
        tabIndex={0}
      >
        {text}
      </div>
      {!following && (
        <Button
          size="compact-xs"
          variant="default"
          leftSection={<DownIcon />}
          className={classes['jump'] ?? ''}
          onClick={() => setFollowing(true)}
        >
          Follow
        </Button>
      )}
    </div>
  )
}
