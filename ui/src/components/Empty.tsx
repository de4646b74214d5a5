import { Code, Stack, Text } from '@mantine/core'
import type { ReactNode } from 'react'

interface Props {
  title: string
  children?: ReactNode
  /** A command that would fill the place. */
  command?: string
}

/** Nothing is here yet: says why, and what would change it. */
export function Empty({ title, children, command }: Props) {
  return (
    <Stack align="center" gap="xs" py="xl" ta="center">
      <Text fw={600}>{title}</Text>
      {children !== undefined && (
        <Text c="dimmed" size="sm" maw={460}>
          {children}
        </Text>
      )}
      {command !== undefined && <Code fz="sm">{command}</Code>}
    </Stack>
  )
}
