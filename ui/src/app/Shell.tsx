import {
  ActionIcon,
  AppShell,
  Container,
  Group,
  Tooltip,
  useComputedColorScheme,
  useMantineColorScheme,
} from '@mantine/core'
import { Link, Outlet } from '@tanstack/react-router'
import { forgetKey } from '../auth/key'
import { KeyDialog } from '../auth/KeyDialog'
import { useKey } from '../auth/useKey'
import { KeyIcon, MoonIcon, PlusIcon, SunIcon } from '../components/icons'
import { LinkButton } from '../components/LinkButton'
import { LiveIndicator } from '../components/LiveIndicator'
import classes from './Shell.module.css'

/** What is around every page. Without a key there is nothing to show; with a refused one the page stays as it is. */
export function Shell() {
  const { key } = useKey()
  return (
    <AppShell header={{ height: 52 }}>
      <AppShell.Header className={classes['header'] ?? ''}>
        <Container size={1480} h="100%" px="md">
          <Group h="100%" justify="space-between" wrap="nowrap" gap="sm">
            <Group gap="lg" wrap="nowrap" h="100%" className={classes['bar'] ?? ''}>
              <Link to="/" className={classes['brand']} aria-label="Sophia, overview">
                Sophia
              </Link>
              <Navigation />
            </Group>
            <Group gap="xs" wrap="nowrap" className={classes['bar'] ?? ''}>
              {key !== null && <LiveIndicator />}
              <SchemeToggle />
              <KeyButton />
              <LinkButton
                to="/new"
                size="xs"
                leftSection={<PlusIcon />}
                className={classes['submit'] ?? ''}
                aria-label="New task"
              >
                <span className={classes['wide']}>New task</span>
              </LinkButton>
            </Group>
          </Group>
        </Container>
      </AppShell.Header>
      <AppShell.Main>
        <Container size={1480} px="md" py="md">
          {key !== null && <Outlet />}
        </Container>
      </AppShell.Main>
      <KeyDialog />
    </AppShell>
  )
}

function Navigation() {
  return (
    <nav aria-label="Pages" className={classes['nav']}>
      <Link to="/" activeOptions={{ exact: true, includeSearch: false }} className={classes['tab']}>
        Tasks
      </Link>
      <Link to="/pools" className={classes['tab']}>
        Pools
      </Link>
      <Link to="/usage" className={classes['tab']}>
        Usage
      </Link>
    </nav>
  )
}

function SchemeToggle() {
  const { setColorScheme } = useMantineColorScheme()
  const scheme = useComputedColorScheme('light')
  const other = scheme === 'dark' ? 'light' : 'dark'
  return (
    <Tooltip label={`Use ${other} colours`}>
      <ActionIcon
        variant="subtle"
        color="gray"
        onClick={() => setColorScheme(other)}
        aria-label={`Use ${other} colours`}
      >
        {scheme === 'dark' ? <SunIcon /> : <MoonIcon />}
      </ActionIcon>
    </Tooltip>
  )
}

function KeyButton() {
  return (
    <Tooltip label="Use another API key">
      <ActionIcon variant="subtle" color="gray" onClick={forgetKey} aria-label="Use another API key">
        <KeyIcon />
      </ActionIcon>
    </Tooltip>
  )
}
