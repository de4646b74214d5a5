import { Group, Paper, Title } from '@mantine/core'
import { useId, type ReactNode } from 'react'

interface Props {
  title: ReactNode
  /** Beside the title, at the end of its line. */
  aside?: ReactNode
  children: ReactNode
}

/** A titled part of a page. */
export function Panel({ title, aside, children }: Props) {
  const id = useId()
  return (
    <Paper component="section" withBorder p="md" h="100%" aria-labelledby={id}>
      <Group justify="space-between" mb="sm" gap="xs">
        <Title order={2} id={id}>
          {title}
        </Title>
        {aside}
      </Group>
      {children}
    </Paper>
  )
}
