import { createTheme, type CSSVariablesResolver } from '@mantine/core'

const SANS =
  'ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif'
const MONO =
  'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace'

export const theme = createTheme({
  colors: {
    dark: [
      '#e6e8eb',
      '#c3c8ce',
      '#a0a7b0',
      '#8b929b',
      '#3a4047',
      '#2c3036',
      '#22252a',
      '#191b1f',
      '#15171a',
      '#121417',
    ],
  },
  primaryColor: 'indigo',
  primaryShade: { light: 7, dark: 7 },
  fontFamily: SANS,
  fontFamilyMonospace: MONO,
  fontSizes: { xs: '12px', sm: '13px', md: '14px', lg: '16px', xl: '19px' },
  headings: {
    fontFamily: SANS,
    fontWeight: '650',
    sizes: {
      h1: { fontSize: '20px', lineHeight: '1.3' },
      h2: { fontSize: '14px', lineHeight: '1.4' },
      h3: { fontSize: '13px', lineHeight: '1.4' },
    },
  },
  defaultRadius: 'md',
  cursorType: 'pointer',
  respectReducedMotion: true,
  components: {
    Tooltip: { defaultProps: { openDelay: 300, withArrow: true } },
    Paper: { defaultProps: { radius: 'md' } },
  },
})

/** Mantine's dimmed text is too pale to read at our sizes: these reach a contrast of at least 4.5. */
export const cssVariables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#5a626b',
    '--mantine-color-placeholder': '#6b737c',
    '--mantine-color-text': '#16191d',
    '--mantine-color-error': '#b42318',
    '--mantine-color-default-border': '#dde1e6',
    '--page': '#f6f7f9',
    '--line': '#e7eaee',
    '--meter': '#8f97f0',
  },
  dark: {
    '--mantine-color-dimmed': '#a0a7b0',
    '--mantine-color-placeholder': '#8b929b',
    '--mantine-color-text': '#e6e8eb',
    '--mantine-color-error': '#ff8a80',
    '--page': '#121417',
    '--line': '#2a2e33',
    '--meter': '#6d76e8',
  },
})
